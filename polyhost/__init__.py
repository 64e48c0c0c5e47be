"""Polyhost: one 3D-printer host, every print-server API."""

__version__ = "0.1.0"
