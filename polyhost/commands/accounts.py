"""`user …` and `key …`: who may do what."""

import time
from typing import Annotated, Any

import typer

from polyhost.commands.client import Client, decode, read_secret, segment, show_json
from polyhost.commands.runs import Yes
from polyhost.commands.terminal import clock_time, confirm, printable, say, show, table
from polyhost.commands.views import KeyRequestView, KeyView, UserView
from polyhost.core.errors import Malformed, NotFound
from polyhost.core.user import Role

UserName = Annotated[str, typer.Argument(help="The user's name.", metavar="NAME")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the first line of stdin.")]


def list_users(client: Client) -> None:
    """The people (and programs) with a password."""
    raw = client.get("/users")
    if client.json:
        show_json(raw)
    else:
        rows = [(user.name, user.role, "" if user.active else "no") for user in decode(raw, list[UserView])]
        show(table(("USER", "ROLE", "ACTIVE"), rows))


def add_user(
    client: Client,
    name: UserName,
    role: Annotated[Role, typer.Option("--role", help="What they may do.")] = Role.VIEWER,
    password_stdin: FromStdin = False,
) -> None:
    """Add a user."""
    password = read_secret(f"Password for {name}", password_stdin)
    raw = client.post("/users", {"name": name, "role": role.value, "password": password})
    if client.json:
        show_json(raw)
    else:
        say(f"{name} is added, as {role.value}")


def change_password(client: Client, name: UserName, password_stdin: FromStdin = False) -> None:
    """Give a user another password."""
    password = read_secret(f"New password for {name}", password_stdin)
    client.request("PUT", f"/users/{segment(name)}", {"password": password})
    say(f"{name} has a new password")


def remove_user(client: Client, name: UserName, yes: Yes = False) -> None:
    """Remove a user and their keys."""
    if name not in {user.name for user in client.fetch(list[UserView], "/users")}:
        raise NotFound(f"no user {name!r}")
    confirm(f"Remove {name} with all their keys? This cannot be undone.", yes, word=name)
    client.request("DELETE", f"/users/{segment(name)}")
    say(f"{name} is removed")


def list_keys(client: Client) -> None:
    """The API keys, without their secrets."""
    raw = client.get("/keys")
    if client.json:
        show_json(raw)
        return
    rows = [
        (
            key.id,
            key.user,
            key.role,
            key.app,
            ", ".join(key.printers) or "all",
            clock_time(key.last_used_at) if key.last_used_at else "never",
            clock_time(key.ends_at) if key.ends_at else "",
        )
        for key in decode(raw, list[KeyView])
    ]
    show(table(("KEY", "USER", "ROLE", "APP", "PRINTERS", "LAST USED", "UNTIL"), rows))


def add_key(
    client: Client,
    name: Annotated[str, typer.Argument(help="The user that the key acts as.", metavar="NAME")],
    app: Annotated[str, typer.Option("--app", help="What it is for: octoprint, cura, …")] = "",
    role: Annotated[Role, typer.Option("--role", help="What it may do, at the most what its user may.")] = (
        Role.OPERATOR
    ),
    printers: Annotated[
        list[str] | None, typer.Option("--printer", help="Only this printer; may be given again.", metavar="PRINTER")
    ] = None,
    until: Annotated[str, typer.Option("--until", help="The day it ends, as 2030-01-31.", metavar="DATE")] = "",
) -> None:
    """Make an API key.  It is shown once."""
    wanted: dict[str, Any] = {"user": name, "role": role.value, "app": app, "printers": printers or []}
    if until:
        wanted["ends_at"] = _day(until)
    raw = client.post("/keys", wanted)
    if client.json:
        show_json(raw)
        return
    made = decode(raw, _MadeKey)
    say(f"key {made.id} of {made.user}, {made.role}; it is not shown again:")
    show(made.secret)


class _MadeKey(KeyView, frozen=True, kw_only=True):
    secret: str


def _day(text: str) -> float:
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d"))
    except (ValueError, OverflowError):
        raise Malformed(f"{text!r} is no day; write 2030-01-31") from None


def revoke_key(
    client: Client, id_: Annotated[str, typer.Argument(help="The key's id, see `key list`.", metavar="ID")]
) -> None:
    """End a key at once."""
    client.request("DELETE", f"/keys/{segment(id_)}")
    say(f"key {id_} is revoked")


RequestId = Annotated[str, typer.Argument(help="The request's id, see `key requests`.", metavar="ID")]


def list_requests(client: Client) -> None:
    """The programs that ask for a key at this moment."""
    raw = client.get("/app-key-requests")
    if client.json:
        show_json(raw)
        return
    rows = [
        (asked.id, printable(asked.app), asked.user or "any", asked.printer or "all", asked.address)
        for asked in decode(raw, list[KeyRequestView])
    ]
    show(table(("REQUEST", "APP", "USER", "PRINTER", "FROM"), rows))


def allow_request(
    client: Client,
    id_: RequestId,
    user: Annotated[str | None, typer.Option("--user", help="The user that the key acts as.", metavar="NAME")] = None,
    role: Annotated[Role | None, typer.Option("--role", help="What it may do, at the most what its user may.")] = None,
) -> None:
    """Let a program have its key."""
    body = {"allow": True, "user": user, "role": role.value if role is not None else None}
    client.post(f"/app-key-requests/{segment(id_)}", body)
    say("allowed; the program has its key in a moment")


def deny_request(client: Client, id_: RequestId) -> None:
    """Give a program no key."""
    client.post(f"/app-key-requests/{segment(id_)}", {"allow": False})
    say("denied")
