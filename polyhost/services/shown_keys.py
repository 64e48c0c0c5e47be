"""The key that administrators may read again: one of the host, and one of each printer.

Nothing more is kept of it than of others: its secret follows from its id (`keys`).
"""

import asyncio
from typing import Final, Protocol

from polyhost.core.user import ApiKey, Caller, Role, User
from polyhost.services.keys import Keys
from polyhost.services.unbroken import unbroken

SHOWN: Final = "Moonraker"
"""The program that such a key is for; one that a person calls so does not follow from its id, and is not shown."""


class Owners(Protocol):
    """What `Accounts` knows of who may own one."""

    def require_management(self, by: Caller) -> None: ...

    def administrators(self) -> list[User]: ...

    async def revoke_key(self, key_id: str, by: Caller) -> None: ...


class ShownKeys:
    def __init__(self, keys: Keys, owners: Owners, changing: asyncio.Lock) -> None:
        """`changing` is held while users are, so that an owner does not go while a key of theirs is made."""
        self._keys = keys
        self._owners = owners
        self._changing = changing

    async def get(self, printer: str, by: Caller) -> str:
        """The secret of the one there is, made if there is none yet; `NotAllowed` unless `by` manages accounts.

        It may all that its maker may, an administrator; on `printer` alone if that is not "".
        """
        self._owners.require_management(by)
        async with self._changing:
            for key in self._all(printer):
                if (secret := self._keys.shown(key.id)) is not None:
                    return secret
            return await self._make(printer, by)

    async def renew(self, printer: str, by: Caller) -> str:
        """Another one in its place, which ends with this."""
        self._owners.require_management(by)
        async with self._changing:
            old = self._all(printer)
            secret = await self._make(printer, by)
            for key in old:
                await self._owners.revoke_key(key.id, by)
            return secret

    def _all(self, printer: str) -> list[ApiKey]:
        printers = (printer,) if printer else ()
        made = [key for key in self._keys if key.app == SHOWN and key.printers == printers]
        return [key for key in made if self._keys.shown(key.id) is not None]

    async def _make(self, printer: str, by: Caller) -> str:
        """In the name of `by`, or where that is nobody's of the first administrator."""
        owner = min(self._owners.administrators(), key=lambda user: (user.name != by.name, user.created_at))
        printers = (printer,) if printer else ()
        made = self._keys.make(owner.name, Role.ADMINISTRATOR, SHOWN, printers, None, shown_again=True)
        _, secret = await unbroken(made)
        return secret
