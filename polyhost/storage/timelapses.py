"""Pictures and movies of prints: ``<root>/<printer>/pictures/<recording>/`` and ``<root>/<printer>/movies/``.

Everything here blocks and is called from a thread.  A movie gets its place whole; pictures are written as they come,
and one that was cut short is the last of its recording.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from polyhost.core.disk import disk
from polyhost.core.errors import NotFound
from polyhost.core.file import checked_name
from polyhost.core.timelapse import MOVIE_SUFFIX, THUMBNAIL_SUFFIX, Movie, Recording

_ABOUT: Final = "about"
_SUFFIXES: Final = (MOVIE_SUFFIX, ".mpg", ".mpeg", ".m4v", ".mkv")
_PICTURE: Final = re.compile(r"[0-9]{6}\.(?:jpg|png|webp)")
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Recording).decode


class TimelapseFolder:
    """`core.ports.TimelapseStore`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def recordings(self, printer: str) -> list[Recording]:
        """The oldest first; a folder that tells nothing of itself is left alone."""
        found: list[Recording] = []
        with disk(f"reading the timelapses of {printer}"):
            for folder in _folders(self._root / printer / "pictures"):
                with suppress(OSError, msgspec.DecodeError):
                    recording = _decode((folder / _ABOUT).read_bytes())
                    sizes = [entry.stat().st_size for entry in os.scandir(folder) if _PICTURE.fullmatch(entry.name)]
                    found.append(
                        msgspec.structs.replace(recording, name=folder.name, count=len(sizes), size_bytes=sum(sizes))
                    )
        return sorted(found, key=lambda recording: (recording.started_at, recording.name))

    def movies(self, printer: str) -> list[Movie]:
        found: list[Movie] = []
        place = self._root / printer / "movies"
        with disk(f"reading the timelapses of {printer}"):
            names = {entry.name: entry for entry in os.scandir(place)} if place.is_dir() else {}
            for name, entry in names.items():
                if name.endswith(_SUFFIXES) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append(Movie(name, status.st_size, status.st_mtime, f"{name}{THUMBNAIL_SUFFIX}" in names))
        return sorted(found, key=lambda movie: movie.name)

    def begin(self, printer: str, recording: Recording) -> None:
        folder = self._pictures(printer, recording.name)
        with disk(f"the timelapse {recording.name}"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = folder / f"{_ABOUT}.new"
            partial.write_bytes(_encode(recording))
            os.replace(partial, folder / _ABOUT)

    def add_picture(self, printer: str, recording: Recording, data: bytes) -> None:
        """The next picture of `recording`, whole or not at all."""
        folder = self._pictures(printer, recording.name)
        with disk(f"a picture of {recording.name}"):
            partial = folder / "picture.new"
            try:
                partial.write_bytes(data)
                os.replace(partial, folder / f"{recording.count:06}{recording.suffix}")
            except OSError:
                with suppress(OSError):
                    partial.unlink()
                raise

    def drop_recording(self, printer: str, name: str) -> None:
        folder = self._pictures(printer, name)
        with disk(f"the timelapse {name}"):
            if folder.is_dir():
                shutil.rmtree(folder)

    def pictures(self, printer: str, name: str) -> Path:
        """The folder that has the pictures, ``000000.jpg`` and on."""
        return self._pictures(printer, name)

    def keep_movie(self, printer: str, made: Path, name: str) -> Movie:
        """Give the movie `made` its place, under `name` or one that nobody has, and its thumbnail if there is one."""
        folder = self._root / printer / "movies"
        stem, suffix = os.path.splitext(checked_name(name))
        number = 1
        with disk(f"the movie {name}"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while (folder / name).exists():
                number += 1
                name = f"{stem}_{number}{suffix}"
            with made.open("rb") as file:
                os.fsync(file.fileno())
            thumbnail = made.with_name(f"{made.name}{THUMBNAIL_SUFFIX}")
            has_thumbnail = thumbnail.is_file()
            if has_thumbnail:
                os.replace(thumbnail, folder / f"{name}{THUMBNAIL_SUFFIX}")
            os.replace(made, folder / name)
            status = (folder / name).stat()
        return Movie(name, status.st_size, status.st_mtime, has_thumbnail)

    def movie(self, printer: str, name: str) -> Path:
        """Where a movie, or the thumbnail of one, is; `NotFound` when it is neither."""
        place = self._root / printer / "movies" / checked_name(name)
        is_one = name.removesuffix(THUMBNAIL_SUFFIX).endswith(_SUFFIXES)
        if not is_one or place.is_symlink() or not place.is_file():
            raise NotFound(f"no timelapse {name!r}")
        return place

    def drop_movie(self, printer: str, name: str) -> None:
        place = self.movie(printer, name)
        with disk(f"the movie {name}"):
            place.unlink()
        with suppress(OSError):
            place.with_name(f"{name}{THUMBNAIL_SUFFIX}").unlink()

    def free_space(self) -> tuple[int, int]:
        """Bytes free and in all, of the disk that has them."""
        place = next(folder for folder in (self._root, *self._root.parents) if folder.is_dir())
        with disk("asking for free space"):
            found = os.statvfs(place)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def _pictures(self, printer: str, name: str) -> Path:
        return self._root / printer / "pictures" / checked_name(name)


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return [Path(entry.path) for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False)]
