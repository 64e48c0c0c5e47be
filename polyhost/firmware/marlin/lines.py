"""Numbered lines: ``N<number> <command>*<checksum>``, the form in which Marlin-family firmware can tell damage.

The checksum is the XOR of all bytes before the star, in decimal.
"""


def checksum(body: bytes) -> int:
    """XOR of all bytes of `body`, 0 to 255."""
    # Folding one big integer costs a few operations for any usual line; a loop over the bytes costs one for each.
    folded = int.from_bytes(body, "little")
    size = len(body)
    while size > 64:
        folded = (folded & ((1 << 512) - 1)) ^ (folded >> 512)
        size -= 64
    folded ^= folded >> 256
    folded ^= folded >> 128
    folded ^= folded >> 64
    folded ^= folded >> 32
    folded ^= folded >> 16
    folded ^= folded >> 8
    return folded & 255


def numbered(number: int, command: bytes) -> bytes:
    """`command` as line `number`, with its line end."""
    body = b"N%d %b" % (number, command)
    return b"%b*%d\n" % (body, checksum(body))
