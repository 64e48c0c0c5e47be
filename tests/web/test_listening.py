"""Ports: taken, near, of others, and whose they are."""

import os
import socket

import pytest

from polyhost.core.errors import Malformed, NotNow
from polyhost.web.listening import holder_of_port, listen, listen_near, port_of


def test_a_free_port_is_taken() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        assert port_of(listening) > 0


def test_a_port_in_use_names_the_program_that_has_it() -> None:
    with listen("127.0.0.1", 0) as first:
        assert holder_of_port(port_of(first)).endswith(f"(process {os.getpid()})")
        with pytest.raises(NotNow, match=rf"port {port_of(first)} is in use by .*\(process {os.getpid()}\)"):
            listen("127.0.0.1", port_of(first))


def test_the_next_free_port_is_taken_instead() -> None:
    with listen("127.0.0.1", 0) as first, listen_near("127.0.0.1", port_of(first)) as second:
        assert port_of(first) < port_of(second) < port_of(first) + 50


@pytest.mark.parametrize("address", ["no such host", "256.1.1.1", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_refused(address: str) -> None:
    with pytest.raises(Malformed, match="listen"):
        listen(address, 0)


def test_nobody_has_a_free_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert holder_of_port(port) == ""
