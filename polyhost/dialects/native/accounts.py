"""``/native/v1/users``, ``/native/v1/keys``, and ``/native/v1/app-key-requests``: programs that ask for a key."""

import msgspec

from polyhost.core.errors import Malformed
from polyhost.core.user import ApiKey, Permission, Role, User
from polyhost.web.answers import Encoded, created, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Routes

routes = Routes(about_printer=False)


class NewUser(msgspec.Struct):
    name: str
    role: Role
    password: str


class ChangedUser(msgspec.Struct):
    """What is not given stays; `current` is the old password, for who changes their own."""

    role: Role | None = None
    active: bool | None = None
    password: str | None = None
    current: str | None = None


class NewKey(msgspec.Struct):
    """Without a `user` the caller's own, without a `role` the user's."""

    user: str | None = None
    role: Role | None = None
    app: str = ""
    printers: tuple[str, ...] = ()
    ends_at: float | None = None


class MadeKey(msgspec.Struct):
    """A key with its secret, which is told this once."""

    id: str
    user: str
    role: Role
    app: str
    printers: tuple[str, ...]
    created_at: float
    last_used_at: float | None
    ends_at: float | None
    secret: str


def made_key(key: ApiKey, secret: str) -> MadeKey:
    return MadeKey(
        *(key.id, key.user, key.role, key.app, key.printers, key.created_at, key.last_used_at, key.ends_at), secret
    )


@routes.get("/native/v1/users", needs=Permission.LOOK)
async def users(call: Call) -> Encoded:
    return encoded(call.host.accounts.users(by=call.caller))


@routes.post("/native/v1/users", needs=Permission.ACCOUNTS)
async def add_user(call: Call) -> Encoded:
    wanted = await call.body(NewUser)
    user = await call.host.accounts.add_user(wanted.name, wanted.role, wanted.password, by=call.caller)
    return encoded(user, status=201)


@routes.put("/native/v1/users/{name}", needs=Permission.LOOK)
async def change_user(call: Call) -> User:
    wanted = await call.body(ChangedUser)
    accounts, name, by = call.host.accounts, call.params["name"], call.caller
    if wanted.role is None and wanted.active is None and wanted.password is None:
        raise Malformed("give a role, active or a password")
    if wanted.role is None and wanted.active is None and wanted.password is not None:
        address = call.peer.address
        await accounts.set_password(name, wanted.password, by=by, current=wanted.current, address=address)
        return accounts.user(name)
    return await accounts.change_user(name, wanted.role, wanted.active, by=by, password=wanted.password)


@routes.delete("/native/v1/users/{name}", needs=Permission.ACCOUNTS)
async def remove_user(call: Call) -> Encoded:
    await call.host.accounts.remove_user(call.params["name"], by=call.caller)
    return no_content()


@routes.get("/native/v1/keys", needs=Permission.LOOK)
async def keys(call: Call) -> Encoded:
    return encoded(call.host.accounts.keys(by=call.caller, user=call.query.get("user")))


@routes.post("/native/v1/keys", needs=Permission.LOOK)
async def add_key(call: Call) -> Encoded:
    wanted = await call.body(NewKey)
    for slug in wanted.printers:
        call.host.printers.get(slug)
    key, secret = await call.host.accounts.add_key(
        *(wanted.user or call.caller.name, wanted.role, wanted.app, wanted.printers, wanted.ends_at), by=call.caller
    )
    return created(f"{call.base}/native/v1/keys/{key.id}", made_key(key, secret))


@routes.delete("/native/v1/keys/{id}", needs=Permission.LOOK)
async def revoke_key(call: Call) -> Encoded:
    await call.host.accounts.revoke_key(call.params["id"], by=call.caller)
    return no_content()


class KeyRequestView(msgspec.Struct):
    """`user` "" is whoever decides, `printer` "" is every one."""

    id: str
    app: str
    user: str
    printer: str
    address: str
    asked_at: float


class Decision(msgspec.Struct):
    """Whom the key acts as, and as what at the most, is said where it is not who decides as whatever they are."""

    allow: bool
    user: str | None = None
    role: Role | None = None


@routes.get("/native/v1/app-key-requests", needs=Permission.CONTROL)
async def app_key_requests(call: Call) -> Encoded:
    return encoded(
        [
            KeyRequestView(*(asked.id, asked.app, asked.user, asked.printer, asked.address, asked.asked_at))
            for asked in call.host.app_keys.requests(by=call.caller)
        ]
    )


@routes.post("/native/v1/app-key-requests/{id}", needs=Permission.CONTROL)
async def decide(call: Call) -> Encoded:
    said = await call.body(Decision)
    call.host.app_keys.decide(call.params["id"], said.allow, by=call.caller, user=said.user, role=said.role)
    return no_content()
