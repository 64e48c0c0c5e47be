"""Entries of file lists, and what is known of a file.

Upstream: OctoPrint 1.11, docs/api/datamodel.rst.  Lengths in mm, volumes in cm³, times in seconds.
"""

from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.file import Box, File, Thumbnail
from polyhost.core.job import Prints, Run, RunState

THUMBNAILS: Final = "plugin/prusaslicerthumbnails/thumbnail"
"""Where apps expect the pictures that slicers put into their files, relative to the printer's root."""


class Filament(msgspec.Struct, frozen=True):
    length: float | None = None
    volume: float | None = None


class Dimensions(msgspec.Struct):
    width: float
    height: float
    depth: float


class Area(msgspec.Struct, rename="camel"):
    min_x: float
    max_x: float
    min_y: float
    max_y: float
    min_z: float
    max_z: float


class GcodeAnalysis(msgspec.Struct, rename="camel"):
    estimated_print_time: float | UnsetType = UNSET
    filament: dict[str, Filament] | UnsetType = UNSET
    dimensions: Dimensions | UnsetType = UNSET
    printing_area: Area | UnsetType = UNSET
    travel_area: Area | UnsetType = UNSET
    travel_dimensions: Dimensions | UnsetType = UNSET


class LastPrint(msgspec.Struct, rename="camel"):
    success: bool
    date: float
    print_time: float | UnsetType = UNSET


class PrintCounts(msgspec.Struct):
    success: int
    failure: int
    last: LastPrint | UnsetType = UNSET


class Statistics(msgspec.Struct, rename="camel"):
    """By printer profile."""

    average_print_time: dict[str, float]
    last_print_time: dict[str, float]


class Refs(msgspec.Struct):
    resource: str
    download: str | UnsetType = UNSET


class FileEntry(msgspec.Struct, rename="camel"):
    name: str
    display: str
    path: str
    origin: str
    size: int
    date: int
    hash: str
    user: str
    refs: Refs
    type: str = "machinecode"
    type_path: tuple[str, ...] = ("machinecode", "gcode")
    gcode_analysis: GcodeAnalysis | UnsetType = UNSET
    prints: PrintCounts | UnsetType = UNSET
    statistics: Statistics | UnsetType = UNSET
    thumbnail: str | UnsetType = UNSET
    thumbnail_src: str | UnsetType = msgspec.field(default=UNSET, name="thumbnail_src")
    userdata: msgspec.Raw | UnsetType = UNSET


def resource_url(base: str, path: str) -> str:
    return f"{base}/api/files/local/{quote(path)}"


def download_url(base: str, path: str) -> str:
    return f"{base}/downloads/files/local/{quote(path)}"


def refs_of(base: str, path: str) -> Refs:
    return Refs(resource_url(base, path), download_url(base, path))


def entry_of(file: File, prints: Prints, base: str) -> FileEntry:
    """`base` is the root of the printer's URLs, without a slash at its end."""
    picture = largest(file.metadata.thumbnails) if file.metadata is not None else None
    last = prints.last
    return FileEntry(
        name=file.name,
        display=file.name,
        path=file.path,
        origin="local",
        size=file.size_bytes,
        date=int(file.modified_at),
        hash=file.sha1,
        user=file.by,
        refs=refs_of(base, file.path),
        gcode_analysis=analysis_of(file) or UNSET,
        prints=PrintCounts(prints.success, prints.failure, last_print_of(last)) if last is not None else UNSET,
        statistics=statistics_of(prints) if last is not None else UNSET,
        thumbnail=thumbnail_path(picture) if picture is not None else UNSET,
        thumbnail_src="prusaslicerthumbnails" if picture is not None else UNSET,
        userdata=msgspec.Raw(file.userdata.encode()) if file.userdata else UNSET,
    )


def analysis_of(file: File) -> GcodeAnalysis | None:
    """From our own reading of the file; before that, as far as its slicer says; None when neither says anything."""
    analysis, metadata = file.analysis, file.metadata
    if analysis is not None:
        printed, travelled = analysis.printed, analysis.travelled
        return GcodeAnalysis(
            analysis.duration_s,
            filament_of(file) or {},
            UNSET if printed is None else dimensions_of(printed),
            UNSET if printed is None else area_of(printed),
            UNSET if travelled is None else area_of(travelled),
            UNSET if travelled is None else dimensions_of(travelled),
        )
    if metadata is not None and metadata.estimated_time is not None:
        return GcodeAnalysis(metadata.estimated_time, filament_of(file) or UNSET)
    return None


def filament_of(file: File) -> dict[str, Filament] | None:
    """By ``tool0``, …; the slicer's total counts as the first tool's."""
    if file.analysis is not None:
        uses = sorted(file.analysis.filament.items())
        return {f"tool{tool}": Filament(use.length, use.volume) for tool, use in uses}
    if file.metadata is not None and file.metadata.filament_total is not None:
        return {"tool0": Filament(file.metadata.filament_total)}
    return None


def dimensions_of(box: Box) -> Dimensions:
    return Dimensions(box.max_x - box.min_x, box.max_z - box.min_z, box.max_y - box.min_y)


def area_of(box: Box) -> Area:
    return Area(box.min_x, box.max_x, box.min_y, box.max_y, box.min_z, box.max_z)


def last_print_of(run: Run) -> LastPrint:
    ended_at = run.ended_at if run.ended_at is not None else run.started_at + run.elapsed_s
    is_done = run.state is RunState.COMPLETED
    return LastPrint(is_done, ended_at, run.printing_s if is_done else UNSET)


def statistics_of(prints: Prints) -> Statistics:
    return Statistics(
        {profile: times.average_s for profile, times in prints.times.items()},
        {profile: times.last_s for profile, times in prints.times.items()},
    )


def largest(thumbnails: tuple[Thumbnail, ...]) -> Thumbnail | None:
    return max(thumbnails, key=lambda one: one.width * one.height, default=None)


def thumbnail_path(thumbnail: Thumbnail) -> str:
    return f"{THUMBNAILS}/{thumbnail.digest}.{thumbnail.format}"
