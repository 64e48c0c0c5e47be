"""The command line: which commands there are.  What they do is in `polyhost.commands`, one module per noun."""

import typer

from polyhost.commands import accounts, demo, doctor, init, library, printers, queue, runs, serve, version, webcams
from polyhost.commands.client import by_itself, over_host

app = typer.Typer(
    name="polyhost",
    help="One 3D-printer host. Every print-server API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

by_itself(app, "demo", demo.demo)
by_itself(app, "serve", serve.serve)
by_itself(app, "init", init.init)

over_host(app, "upload", runs.upload)
over_host(app, "print", runs.print_)
over_host(app, "follow", runs.follow)
over_host(app, "pause", runs.pause)
over_host(app, "resume", runs.resume)
over_host(app, "cancel", runs.cancel)
over_host(app, "status", printers.status)
over_host(app, "history", runs.history)

_printers = typer.Typer(help="The machines of a host.", no_args_is_help=True)
over_host(_printers, "list", printers.list_)
over_host(_printers, "add", printers.add)
over_host(_printers, "show", printers.show_)
over_host(_printers, "remove", printers.remove)
over_host(_printers, "connect", printers.connect)
over_host(_printers, "disconnect", printers.disconnect)
over_host(_printers, "send", printers.send)
over_host(_printers, "console", printers.console)
over_host(_printers, "log", printers.log)
over_host(_printers, "temp", printers.temp)
over_host(_printers, "answer", printers.answer)
over_host(_printers, "stop", printers.stop)
app.add_typer(_printers, name="printers")

_queue = typer.Typer(help="What a printer prints next.", no_args_is_help=True)
over_host(_queue, "list", queue.list_)
over_host(_queue, "add", queue.add)
over_host(_queue, "remove", queue.remove)
over_host(_queue, "first", queue.first)
over_host(_queue, "start", queue.start)
over_host(_queue, "pause", queue.pause)
app.add_typer(_queue, name="queue")

_webcams = typer.Typer(help="The cameras that look at a printer.", no_args_is_help=True)
over_host(_webcams, "list", webcams.list_)
over_host(_webcams, "add", webcams.add)
over_host(_webcams, "remove", webcams.remove)
over_host(_webcams, "snapshot", webcams.snapshot)
app.add_typer(_webcams, name="webcams")

_files = typer.Typer(help="The library of stored G-code.", no_args_is_help=True)
over_host(_files, "list", library.list_)
over_host(_files, "show", library.show_)
over_host(_files, "move", library.move)
over_host(_files, "delete", library.delete)
over_host(_files, "download", library.download)
app.add_typer(_files, name="files")

_users = typer.Typer(help="People and programs with a password.", no_args_is_help=True)
over_host(_users, "list", accounts.list_users)
over_host(_users, "add", accounts.add_user)
over_host(_users, "password", accounts.change_password)
over_host(_users, "remove", accounts.remove_user)
app.add_typer(_users, name="user")

_keys = typer.Typer(help="API keys, for slicers, apps and scripts.", no_args_is_help=True)
over_host(_keys, "list", accounts.list_keys)
over_host(_keys, "add", accounts.add_key)
over_host(_keys, "revoke", accounts.revoke_key)
over_host(_keys, "requests", accounts.list_requests)
over_host(_keys, "allow", accounts.allow_request)
over_host(_keys, "deny", accounts.deny_request)
app.add_typer(_keys, name="key")

by_itself(app, "doctor", doctor.doctor)
by_itself(app, "version", version.version)


def main() -> None:
    """The entry point of the `polyhost` program."""
    app(prog_name="polyhost")


if __name__ == "__main__":
    main()
