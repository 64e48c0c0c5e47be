"""Every error that crosses a room, by what its catcher does next.

    PolyhostError
    ├── NotFound        the thing named is not there           look for another
    ├── NotAllowed      this caller may not                    ask somebody who may
    │   └── NotKnown      nobody is known to be calling        log in, or bring a key
    ├── NotNow          right request, wrong state             wait, or change the state first
    │   ├── InUse         a run reads the file               wait for its end
    │   ├── SetupNeeded   there is no administrator yet        go to /setup
    │   └── TooMany       too many tries                       wait `retry_after_s`
    ├── Malformed       the request itself is wrong            correct it
    │   ├── TooLarge      beyond a stated bound                send less
    │   ├── NotIntact     what arrived is not what was sent    send it again
    │   └── Unsupported   a kind of thing we do not take       send another kind
    ├── NoSpace         the disk refuses                       free some, then again
    ├── Damaged         stored data cannot be used           restore the backup it names
    ├── LinkLost        the port or socket is gone             reconnect
    ├── MachineFault    the firmware says no                   a person looks at the machine
    └── CommandFailed   a program of this computer failed      its owner reads what it said

A message names the thing and the way out: ``no port /dev/ttyUSB0; available: /dev/ttyACM0``.
Each dialect maps these classes to its statuses in one table.
"""


class PolyhostError(Exception):
    """The root; never raised itself."""


class NotFound(PolyhostError):
    """The thing named is not there."""


class NotAllowed(PolyhostError):
    """The caller is known, or is a guest, and may not do this."""


class WrongLogin(NotAllowed):
    """The name or the password is wrong; which of them, nobody is told."""


class NotKnown(NotAllowed):
    """The caller is a guest, and this is not for guests."""


class NotNow(PolyhostError):
    """A right request in the wrong state."""


class InUse(NotNow):
    """A run reads the file that is to be changed."""


class SetupNeeded(NotNow):
    """Nobody administers this host yet."""


class TooMany(NotNow):
    """Too many tries; `retry_after_s` seconds from now one more is heard."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Malformed(PolyhostError):
    """The request cannot mean anything."""


class TooLarge(Malformed):
    """Beyond a stated bound."""


class NotIntact(Malformed):
    """What arrived does not have the checksum that came with it."""


class Unsupported(Malformed):
    """A kind of thing that is not taken here."""


class NoSpace(PolyhostError):
    """The disk is full, read-only or failing."""


class Damaged(PolyhostError):
    """What was stored is damaged, missing, or of a newer version; nothing is started on top of it."""


class LinkLost(PolyhostError):
    """The port or socket to a machine, or to its engine, is gone."""


class MachineFault(PolyhostError):
    """The firmware reported something that a person must look at."""


class CommandFailed(PolyhostError):
    """A program that the host's owner named could not be run, or ended badly."""
