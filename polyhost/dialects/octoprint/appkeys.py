"""``/plugin/appkeys``: a program asks for a key of its own, a person allows it; ``/api/plugin/appkeys``: those keys.

Upstream: OctoPrint 1.11, docs/bundledplugins/appkeys.rst.  The page where a person decides is `appkeys_page`.
"""

from urllib.parse import quote

import msgspec

from polyhost.core.errors import Malformed, NotAllowed, NotFound
from polyhost.core.user import ApiKey, Permission
from polyhost.dialects.octoprint.commands import Flag
from polyhost.dialects.octoprint.plugins import SimpleApi
from polyhost.services.accounts import PERSONAL
from polyhost.services.app_keys import AppKeyRequest
from polyhost.web.answers import Encoded, created, encoded, no_content
from polyhost.web.call import Call, truth_of
from polyhost.web.routes import Routes

routes = Routes()
api = SimpleApi("appkeys", reads=Permission.LOOK, acts=Permission.LOOK)


class Request(msgspec.Struct):
    app: str | None = None
    user: str | None = None


class Requested(msgspec.Struct):
    app_token: str
    auth_dialog: str


class Awaiting(msgspec.Struct):
    message: str = "Awaiting decision"


class Granted(msgspec.Struct):
    api_key: str


class Decision(msgspec.Struct):
    decision: Flag | msgspec.UnsetType = msgspec.UNSET


class Key(msgspec.Struct, frozen=True):
    app_id: str
    user_id: str


class OneKey(msgspec.Struct):
    """Upstream adds the secret for a while after a log-in; here nobody has it but the program."""

    key: Key


class Pending(msgspec.Struct):
    app_id: str
    user_id: str | None
    user_token: str
    remote_address: str


class Keys(msgspec.Struct):
    keys: list[Key]
    pending: dict[str, Pending]


class Generate(msgspec.Struct, tag_field="command", tag="generate"):
    app: str
    user: str | None = None


class Revoke(msgspec.Struct, tag_field="command", tag="revoke"):
    app: str | None = None
    user: str | None = None
    key: str | None = None


class Generated(msgspec.Struct):
    user_id: str
    app_id: str
    api_key: str


def keys_of(keys: list[ApiKey]) -> list[Key]:
    """One for each program and user, as upstream has it, whatever the case of the program's name."""
    found = {(key.app.casefold(), key.user): Key(key.app, key.user) for key in keys if key.app not in {"", PERSONAL}}
    return list(found.values())


def pending_of(request: AppKeyRequest) -> Pending:
    return Pending(request.app, request.user or None, request.id, request.address)


@routes.get("/plugin/appkeys/probe", open_door=True)
async def probe(call: Call) -> Encoded:
    return no_content()


@routes.post("/plugin/appkeys/request", open_door=True, any_page=True)
async def request_key(call: Call) -> Encoded:
    wanted = await call.body(Request)
    _, token = call.host.app_keys.ask(wanted.app or "", wanted.user or "", call.addressed or "", call.peer.address)
    here = f"{call.base}/plugin/appkeys"
    dialog = f"{here}/auth/{token}" + (f"?user={quote(wanted.user, safe='')}" if wanted.user else "")
    return created(f"{here}/request/{token}", Requested(token, dialog))


@routes.get("/plugin/appkeys/request/{token}", open_door=True)
async def poll(call: Call) -> Encoded:
    key = await call.host.app_keys.poll(call.params["token"], call.peer.address)
    if key is None:
        return encoded(Awaiting(), status=202)
    return encoded(Granted(key), headers=[(b"cache-control", b"no-store")])


@routes.post("/plugin/appkeys/decision/{request}", needs=Permission.CONTROL)
async def decide(call: Call) -> Encoded:
    decision = (await call.body(Decision)).decision
    if decision is msgspec.UNSET:
        raise Malformed("No decision provided")
    call.host.app_keys.decide(call.params["request"], truth_of(decision), by=call.caller)
    return no_content()


@api.get
async def keys(call: Call) -> Keys | OneKey:
    accounts, app, user = call.host.accounts, call.query.get("app"), call.query.get("user", call.caller.name)
    if app:
        if user != call.caller.name and not call.caller.may(Permission.ACCOUNTS):
            raise NotAllowed("only an administrator sees the keys of others")
        found = [key for key in keys_of(accounts.keys(by=call.caller, user=user)) if _same(key.app_id, app)]
        if not found:
            raise NotFound(f"{user!r} has no key of {app!r}")
        return OneKey(found[0])
    owner = None if call.flag("all") else call.caller.name
    return Keys(
        keys_of(accounts.keys(by=call.caller, user=owner)),
        {request.id: pending_of(request) for request in call.host.app_keys.requests(by=call.caller)},
    )


@api.command(Generate)
async def generate(call: Call, wanted: Generate) -> Generated:
    """A further key for the program; the ones it has stay, for their secrets cannot be told again."""
    app = wanted.app.strip()
    if not app:
        raise Malformed("app is empty")
    printers = (call.addressed,) if call.addressed is not None else ()
    key, secret = await call.host.accounts.add_key(
        wanted.user or call.caller.name, None, app, printers, None, by=call.caller
    )
    return Generated(key.user, wanted.app, secret)


@api.command(Revoke)
async def revoke(call: Call, wanted: Revoke) -> None:
    accounts, user = call.host.accounts, wanted.user or call.caller.name
    if wanted.key:
        await accounts.revoke_secret(wanted.key, by=call.caller)
        return
    ids = [key.id for key in accounts.keys(by=call.caller, user=user) if wanted.app and _same(key.app, wanted.app)]
    if not ids:
        raise Malformed("Need either app or key")
    for key_id in ids:
        await accounts.revoke_key(key_id, by=call.caller)


def _same(app: str, other: str) -> bool:
    return app.casefold() == other.strip().casefold()


routes.include(api.routes)
