"""Who a printer is to programs that look for it, and how they hear of it."""

import asyncio
import ipaddress
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from polyhost import config
from polyhost.core.printer import Snapshot
from polyhost.services import announcing
from polyhost.services.announcing import Announcer, addresses_at, name_of, services_of, shortened
from polyhost.services.discovery import is_announced, is_loopback
from polyhost.services.printer import Printer
from tests.services.world import ADMIN, World, living, until


async def test_a_printer_keeps_its_uuid_over_restarts(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        async with living(World(tmp_path, printers=("mk3", "ender"))) as world:
            seen.append([world.host.discovery.uuid_of(printer) for printer in world.printers.all()])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 2
    assert all(str(uuid.UUID(one)) == one for one in seen[0])


async def test_another_host_has_others(tmp_path: Path) -> None:
    found = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        async with living(World(tmp_path / name)) as world:
            found.add(world.host.discovery.uuid_of(world.printers.default()))
    assert len(found) == 2


@pytest.mark.parametrize(
    ("slug", "listen", "default", "port", "path"),
    [("mk3", 0, True, 8080, "/"), ("mk3", 0, False, 8080, "/p/mk3/"), ("mk3", 8181, False, 8181, "/")],
)
def test_what_is_told_of_a_printer(slug: str, listen: int, default: bool, port: int, path: str) -> None:
    printer = Printer(config.Printer(slug, "virtual", "Prusa MK3", listen=listen), _Silent(), locked=True)
    octoprint, http = services_of(
        *(printer, "Prusa MK3 on shed", "some-uuid"),
        port=8080,
        default=default,
        version="1.11.8",
        addresses=("192.168.1.9",),
    )
    assert dict(octoprint.properties) == {"path": path, "version": "1.11.8", "api": "0.1", "uuid": "some-uuid"}
    assert dict(http.properties) == {"path": path}
    info = octoprint.info("shed.local.")
    assert (info.name, info.port) == ("Prusa MK3 on shed._octoprint._tcp.local.", port)
    assert info.parsed_addresses() == ["192.168.1.9"]
    assert http.info("shed.local.").type == "_http._tcp.local."


class _Silent:
    snapshot = Snapshot("mk3")


@given(name=st.text(min_size=1, max_size=300), host=st.text(max_size=80))
def test_any_name_is_one_label(name: str, host: str) -> None:
    label = shortened(f"{name} on {host}")
    assert len(label.encode()) <= 63
    assert "." not in label
    assert label.isprintable()


def test_printers_of_one_name_are_told_apart() -> None:
    seen: list[str] = []
    for slug in ("a", "b", "c" * 64):
        printer = Printer(config.Printer(slug, "virtual", "Ender"), _Silent(), locked=True)
        seen.append(name_of(printer, "shed", seen))
    assert seen[:2] == ["Ender on shed", "Ender (b) on shed"]
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    ("listens_at", "interfaces", "addresses"),
    [
        ("127.0.0.1", (), ("127.0.0.1",)),
        ("192.168.1.9", (), ("192.168.1.9",)),
        ("0.0.0.0", ("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "10.0.0.2")),
        ("a name", (), ()),
    ],
)
def test_where_a_host_is_reached(listens_at: str, interfaces: tuple[str, ...], addresses: tuple[str, ...]) -> None:
    assert addresses_at(listens_at, interfaces) == addresses


def test_a_host_that_listens_everywhere_names_no_address_of_its_own_only() -> None:
    for listens_at, versions in (("0.0.0.0", {4}), ("::", {4, 6})):
        found = [ipaddress.ip_address(address) for address in addresses_at(listens_at, ())]
        assert not any(address.is_loopback or address.is_link_local for address in found)
        assert {address.version for address in found} <= versions


@pytest.mark.parametrize(
    ("address", "is_it"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_only_this_computer_hears(address: str, is_it: bool) -> None:
    assert is_loopback(address) is is_it


@pytest.mark.parametrize(
    ("settings", "listens_at", "is_it"),
    [
        (config.Discovery(), "0.0.0.0", True),
        (config.Discovery(), "192.168.1.9", True),
        (config.Discovery(), "127.0.0.1", False),
        (config.Discovery(interfaces=("127.0.0.1",)), "127.0.0.1", True),
        (config.Discovery(enabled=False), "0.0.0.0", False),
        (config.Discovery(enabled=False, interfaces=("127.0.0.1",)), "0.0.0.0", False),
    ],
)
def test_who_is_announced(settings: config.Discovery, listens_at: str, is_it: bool) -> None:
    assert is_announced(settings, listens_at) is is_it


async def test_a_printer_is_found_and_gone_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over real multicast, on the loopback interface alone."""
    monkeypatch.setattr(announcing, "LOOK_EVERY_S", 0.05)
    unique = uuid.uuid4().hex[:12]
    async with living(World(tmp_path, printers=(f"one-{unique}",))) as world:
        announcer = Announcer(
            *(world.printers, world.host.discovery),
            listens_at="127.0.0.1",
            port=12345,
            version="1.11.8",
            interfaces=("127.0.0.1",),
        )
        looking = AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
        heard: set[str] = set()

        def hear(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if unique in name:
                (heard.discard if state_change is ServiceStateChange.Removed else heard.add)(name)

        browser = AsyncServiceBrowser(looking.zeroconf, announcing.OCTOPRINT, handlers=[hear])
        task = asyncio.create_task(announcer.run())
        try:
            await until(lambda: len(heard) == 1, 10.0)
            await world.printers.add(config.Printer(f"two-{unique}", "virtual"), ADMIN)
            await until(lambda: len(heard) == 2, 10.0)
            name = next(name for name in heard if name.startswith("two-"))
            info = AsyncServiceInfo(announcing.OCTOPRINT, name)
            assert await info.async_request(looking.zeroconf, 3000)
            assert info.port == 12345
            assert "127.0.0.1" in info.parsed_addresses()  # others may have told of this computer, too
            printer = world.printers.get(f"two-{unique}")
            assert info.decoded_properties["uuid"] == world.host.discovery.uuid_of(printer)
            assert info.decoded_properties["path"] == f"/p/{printer.slug}/"
            await world.printers.remove(printer.slug, ADMIN)
            await until(lambda: len(heard) == 1, 10.0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: not heard, 10.0)
            await browser.async_cancel()
            await looking.async_close()


async def test_a_network_that_refuses_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(announcing, "RETRY_S", 0.0)
    tries = 0

    def refuse(**_: object) -> AsyncZeroconf:
        nonlocal tries
        tries += 1
        raise OSError(19, "No such device")

    monkeypatch.setattr(announcing, "AsyncZeroconf", refuse)
    async with living(World(tmp_path)) as world:
        announcer = Announcer(*(world.printers, world.host.discovery), listens_at="127.0.0.1", port=1, version="1.11.8")
        task = asyncio.create_task(announcer.run())
        await until(lambda: tries > 3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len([record for record in caplog.records if "mDNS" in record.getMessage()]) == 1
