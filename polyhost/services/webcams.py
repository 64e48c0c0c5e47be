"""The webcams of each printer, and their pictures.

A picture is fetched from nowhere but the address that an administrator named (S12).
"""

import asyncio
import uuid
from typing import Final

import msgspec

from polyhost.core.errors import LinkLost, Malformed, NotAllowed, NotFound, NotNow, TooMany
from polyhost.core.user import Caller, Permission
from polyhost.core.webcam import Webcam, checked_webcam
from polyhost.services.preferences import Preferences
from polyhost.services.printer import Printer
from polyhost.services.snapshots import Fetcher, Picture

MAX_WEBCAMS: Final = 16  # of one printer
MAX_WAITING: Final = 32  # for pictures of one webcam
_UNNAMED: Final = uuid.UUID("4d0a3b5e-6f0f-5c55-9d0b-1b7c9c2f5a11")


class PrinterWebcams(msgspec.Struct, frozen=True):
    """Preferences of one printer: its webcams, the main one first."""

    webcams: tuple[Webcam, ...] = ()


class _Shot:
    """The last picture of one webcam, and who waits for the next."""

    def __init__(self) -> None:
        self.taking = asyncio.Lock()
        self.waiting = 0
        self.taken = 0
        self.picture: Picture | None = None
        self.failure: LinkLost | None = None


class Webcams:
    def __init__(self, preferences: Preferences, fetcher: Fetcher) -> None:
        self._preferences = preferences
        self._fetcher = fetcher
        self._shots: dict[tuple[str, Webcam], _Shot] = {}
        self._changing = asyncio.Lock()

    # Looking

    def all(self, p: Printer) -> tuple[Webcam, ...]:
        return tuple(_with_uid(p, webcam) for webcam in self._preferences.get(PrinterWebcams, p.slug).webcams)

    def get(self, p: Printer, name: str) -> Webcam:
        for webcam in self.all(p):
            if webcam.name == name:
                return webcam
        there = ", ".join(webcam.name for webcam in self.all(p)) or "none"
        raise NotFound(f"{p.slug} has no webcam {name!r}; there are: {there}")

    def get_by_uid(self, p: Printer, uid: str) -> Webcam:
        for webcam in self.all(p):
            if webcam.uid == uid:
                return webcam
        raise NotFound(f"no webcam has the uid {uid}")

    def main(self, p: Printer) -> Webcam | None:
        """The one that clients with room for one see, and that pictures of a print come from."""
        webcams = self.all(p)
        return next((webcam for webcam in webcams if webcam.enabled), webcams[0] if webcams else None)

    async def snapshot(self, p: Printer, name: str, by: Caller) -> Picture:
        """A picture of now; `LinkLost` says what the camera did instead."""
        _needs(by, Permission.LOOK, p)
        return await self.picture(p, self.get(p, name))

    async def picture(self, p: Printer, webcam: Webcam) -> Picture:
        """The same, for this host itself.

        Whoever asks while a picture is on its way gets that one: a camera is asked for one at a time.
        """
        if not webcam.snapshot_url:
            raise NotNow(f"the webcam {webcam.name} of {p.slug} has no snapshot URL; give it one")
        key = p.slug, webcam
        shot = self._shots.setdefault(key, _Shot())
        if shot.waiting >= MAX_WAITING:
            raise TooMany(f"{MAX_WAITING} wait for a picture of {webcam.name} already", retry_after_s=5.0)
        before = shot.taken
        shot.waiting += 1
        try:
            async with shot.taking:
                if shot.taken == before:
                    await self._take(shot, webcam)
                if shot.failure is not None:
                    raise LinkLost(str(shot.failure)) from shot.failure
                assert shot.picture is not None
                return shot.picture
        finally:
            shot.waiting -= 1
            if not shot.waiting:
                self._shots.pop(key, None)

    async def _take(self, shot: _Shot, webcam: Webcam) -> None:
        shot.picture = shot.failure = None
        try:
            shot.picture = await self._fetcher.fetch(
                webcam.snapshot_url, webcam.snapshot_timeout_s, verify_tls=webcam.verify_tls
            )
        except LinkLost as error:
            shot.failure = LinkLost(f"the webcam {webcam.name}: {error}")
        shot.taken += 1

    # Changing

    async def put(self, p: Printer, webcam: Webcam, by: Caller) -> Webcam:
        """Add `webcam`, or put it in the place of the one of its uid (which may be called otherwise), else of its name.

        `Malformed` when another one has the name already.
        """
        _needs(by, Permission.SETTINGS, p)
        checked_webcam(webcam)
        async with self._changing:
            webcams = self.all(p)
            named = next((other for other in webcams if other.name == webcam.name), None)
            before = next((other for other in webcams if other.uid == webcam.uid), named)
            if named is not None and named is not before:
                raise Malformed(f"{p.slug} has another webcam {webcam.name!r} already; choose another name")
            uid = webcam.uid or (before.uid if before is not None else str(uuid.uuid4()))
            webcam = msgspec.structs.replace(webcam, uid=uid)
            if before is not None:
                webcams = tuple(webcam if other is before else other for other in webcams)
            elif len(webcams) >= MAX_WEBCAMS:
                raise NotNow(f"{p.slug} has {MAX_WEBCAMS} webcams, which is the limit; remove one first")
            else:
                webcams = (*webcams, webcam)
            await self._preferences.put(PrinterWebcams(webcams), p.slug)
        return webcam

    async def remove(self, p: Printer, name: str, by: Caller) -> None:
        _needs(by, Permission.SETTINGS, p)
        async with self._changing:
            gone = self.get(p, name)
            left = tuple(webcam for webcam in self.all(p) if webcam != gone)
            await self._preferences.put(PrinterWebcams(left), p.slug)


def _with_uid(p: Printer, webcam: Webcam) -> Webcam:
    """One that was kept before webcams had a uid has always the same one."""
    if webcam.uid:
        return webcam
    return msgspec.structs.replace(webcam, uid=str(uuid.uuid5(_UNNAMED, f"{p.slug}/{webcam.name}")))


def _needs(by: Caller, permission: Permission, p: Printer) -> None:
    if not by.may(permission, p.slug):
        raise NotAllowed(f"{by.name or 'a guest'} may not {permission.value} on {p.slug}")
