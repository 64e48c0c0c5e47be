"""The serial ports of this host, for a person to choose from."""

from polyhost.engine.ports import Port, ports

__all__ = ["Port", "ports"]
