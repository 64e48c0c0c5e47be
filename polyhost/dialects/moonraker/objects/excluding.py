"""``exclude_object``: the things on the bed that the file names, and which are left out.

Klipper's names are words in capitals; slicers call their objects anything.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from polyhost.core.file import NamedObject
from polyhost.dialects.moonraker.objects.view import Fields, RunFile, View

_NO_WORD: Final = re.compile(r"\W+")


def by_shown_name(objects: Sequence[NamedObject]) -> Mapping[str, NamedObject]:
    """Each object by the name that clients see, and send in ``EXCLUDE_OBJECT NAME=…``; no two are the same.

    >>> list(by_shown_name([NamedObject("a b.stl", 0, 0, 1, 1, ()), NamedObject("A_B.STL", 0, 0, 1, 1, ())]))
    ['A_B_STL', 'A_B_STL_2']
    """
    shown: dict[str, NamedObject] = {}
    for one in objects:
        name = wanted = _NO_WORD.sub("_", one.name).strip("_").upper() or "OBJECT"
        number = 2
        while name in shown:
            name, number = f"{wanted}_{number}", number + 1
        shown[name] = one
    return shown


@functools.lru_cache(maxsize=64)
def objects_of(file: RunFile) -> tuple[list[Fields], Mapping[str, str]]:
    """``objects``, and their shown names by those in the file; made once, for there may be a thousand."""
    shown = by_shown_name(file.objects)
    told = [
        {
            "name": name,
            "center": [round((one.min_x + one.max_x) / 2, 3), round((one.min_y + one.max_y) / 2, 3)],
            "polygon": [
                [one.min_x, one.min_y],
                [one.max_x, one.min_y],
                [one.max_x, one.max_y],
                [one.min_x, one.max_y],
            ],
        }
        for name, one in shown.items()
    ]
    return told, {one.name: name for name, one in shown.items()}


def exclude_object_of(view: View) -> Fields:
    """``exclude_object``: nothing, where no file is printed or its objects are not read yet."""
    told, names = objects_of(view.file)
    progress = view.progress
    excluded = progress.excluded if progress is not None else ()
    drawn = view.file.drawn_at(progress.file_bytes) if progress is not None and not progress.ended else None
    return {
        "objects": told,
        "excluded_objects": [names[name] for name in excluded if name in names],
        "current_object": names[drawn] if drawn is not None else None,
    }
