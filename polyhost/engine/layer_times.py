"""Where in the layers and in the planned time of a file a byte of it lies."""

import bisect

from polyhost.core.file import LayerIndex


def layer_at(layers: LayerIndex, file_bytes: int) -> int:
    """The layer, counted from 1, that `file_bytes` have reached; 0 before the first."""
    return bisect.bisect_right(layers.offsets, file_bytes - 1) if file_bytes else 0


def time_at(layers: LayerIndex, file_bytes: int, size_bytes: int) -> float:
    """Planned seconds that lie behind at `file_bytes`: each layer's time is spread evenly over its bytes."""
    index = bisect.bisect_right(layers.offsets, file_bytes) - 1
    if index < 0:
        first, after, begin, end = 0, layers.offsets[0], 0.0, layers.times[0]
    else:
        first, begin = layers.offsets[index], layers.times[index]
        last = index + 1 == len(layers.offsets)
        after = size_bytes if last else layers.offsets[index + 1]
        end = layers.total_s if last else layers.times[index + 1]
    share = (file_bytes - first) / (after - first) if after > first else 1.0
    return begin + (end - begin) * min(1.0, share)
