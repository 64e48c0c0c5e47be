"""Whatever nobody signed: what the commands themselves say."""

from polyhost.core.file import Metadata
from polyhost.gcode.comments import BED, CHAMBER, HOTEND, MOVE_TO_Z, Comments, largest, searched, smallest


def read(comments: Comments) -> Metadata:
    return Metadata(
        object_height=largest(MOVE_TO_Z, comments.tail),
        first_layer_height=smallest(MOVE_TO_Z, comments.head),
        first_layer_extr_temp=searched(HOTEND, comments.head),
        first_layer_bed_temp=searched(BED, comments.head),
        chamber_temp=searched(CHAMBER, comments.head),
    )
