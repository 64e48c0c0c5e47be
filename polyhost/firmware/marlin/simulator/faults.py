"""What can go wrong on command, and a link that damages bytes."""

import random
from enum import Enum
from functools import reduce
from operator import xor
from typing import Final

_NEWLINE: Final = 0x0A
_STRAY: Final = 0x7F
_LONGEST_LINE: Final = 512


class Fault(Enum):
    """By the name it has on the wire.  The argument of each, 0 ends or is the plain case:

    Of `lose_ok`, `double_ok` and `resend` an argument below 1 is a chance, from 1 on it is how many more.
    """

    DROP = "drop"  # the fraction of bytes that get lost, either way
    CORRUPT = "corrupt"  # the fraction of bytes with a bit flipped, either way
    DELAY = "delay"  # seconds by which everything said is late
    RESET = "reset"  # the firmware starts anew
    THERMAL = "thermal"  # a heater runs away and the firmware stops: 0 and up the hotend, -1 the bed
    SILENCE = "silence"  # hears and says nothing any more, for so many seconds (0: until a reset)
    UNPLUG = "unplug"  # the link is gone
    LOSE_OK = "lose_ok"  # an `ok` is not said
    DOUBLE_OK = "double_ok"  # an `ok` is said twice
    CARD_FULL = "card_full"  # a file on the card has room for so many bytes
    CARD_OUT = "card_out"  # the card is taken out; of an argument above 0, put in
    RESEND = "resend"  # a sound line is refused as if damaged; never the same one twice in a row when counted


class BadCable:
    """One direction of a link that loses bytes and flips bits, the same ones however the bytes are cut.

    It never makes a wrong line that its checksum calls right (an exclusive-or misses two flips of the same bit): such a
    line gets a stray byte more.  So what arrives over it can be held against what was sent.
    """

    def __init__(self, seed: int) -> None:
        self.drop = 0.0
        self.corrupt = 0.0
        self._dice = random.Random(seed)
        self._line = bytearray()
        self._harmed = False

    def carry(self, data: bytes) -> bytes:
        """What arrives of `data`."""
        if not (self.drop or self.corrupt or self._harmed):
            return data
        arrived = bytearray()
        dice = self._dice.random
        for byte in data:
            if dice() < self.drop:
                self._harmed = True
                continue
            if dice() < self.corrupt:
                self._harmed = True
                byte ^= 1 << int(dice() * 8)
            if byte == _NEWLINE:
                if self._harmed and _sound(bytes(self._line)):
                    arrived.append(_STRAY)
                self._line.clear()
                self._harmed = False
            elif len(self._line) < _LONGEST_LINE:
                self._line.append(byte)
            arrived.append(byte)
        return bytes(arrived)


def _sound(line: bytes) -> bool:
    """Whether the checksum of `line` is right."""
    head, _, check = line.rpartition(b"*")
    try:
        return int(check) == reduce(xor, head, 0)
    except ValueError:
        return False


class Misfortune:
    """Something that befalls single lines: by chance (argument below 1), or a number of times."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._chance = 0.0
        self._left = 0

    @property
    def counted(self) -> bool:
        """Whether it has a number, and not a chance."""
        return self._left > 0

    def set(self, argument: float) -> None:
        self._chance, self._left = (argument, 0) if argument < 1.0 else (0.0, int(argument))

    def strikes(self, spread: float = 1.0) -> bool:
        """Whether it happens now; those with a number happen with the chance `spread` until they are used up."""
        if self._left:
            if spread < 1.0 and self._dice.random() >= spread:
                return False
            self._left -= 1
            return True
        return bool(self._chance) and self._dice.random() < self._chance
