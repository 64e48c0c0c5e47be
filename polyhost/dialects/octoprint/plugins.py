"""``/api/plugin/{id}``, ``/plugin/pluginmanager`` and ``/plugin/softwareupdate``: what upstream has in plugins.

Upstream: OctoPrint 1.11, docs/plugins/mixins.rst (SimpleApiPlugin) and docs/bundledplugins.  A client that finds an
id in the list may use what stands behind it; nothing can be installed, and nothing is updated from here.
"""

import platform
import sys
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec

from polyhost import __version__
from polyhost.core.errors import Malformed, NotFound
from polyhost.core.user import Permission
from polyhost.dialects.octoprint.commands import Commands
from polyhost.web.answers import Answer, Encoded, encoded, no_content
from polyhost.web.call import Call
from polyhost.web.routes import Handler, Routes

T = TypeVar("T", bound=msgspec.Struct)
Result = Answer | msgspec.Struct | None
Act = Callable[[Call, T], Awaitable[Result]]


class SimpleApi:
    """What ``/api/plugin/{id}`` answers for one id, under upstream's conventions.

    A module that has one makes it, decorates its functions with `get` and `command`, and includes `routes` in its own.
    ``POST`` judges content type (415), JSON, command and mandatory parameters (400), then values (400); a command
    that returns None is 204.  Without a `get`, ``GET`` is 405.
    """

    def __init__(self, key: str, *, reads: Permission, acts: Permission) -> None:
        """`reads` is what GET needs, `acts` what POST needs."""
        self.routes = Routes()
        self._path = f"/api/plugin/{key}"
        self._reads = reads
        self._acts: dict[type[Any], Act[Any]] = {}
        self.routes.post(self._path, needs=acts)(self._post)

    def get(self, handler: Handler) -> Handler:
        return self.routes.get(self._path, needs=self._reads)(handler)

    def command(self, kind: type[T]) -> Callable[[Act[T]], Act[T]]:
        """What `kind`, a struct tagged with the command's name in the field ``command``, leads to."""

        def added(act: Act[T]) -> Act[T]:
            self._acts[kind] = act
            return act

        return added

    @cached_property
    def _commands(self) -> Commands[Any]:
        return Commands(*self._acts)

    async def _post(self, call: Call) -> Answer:
        asked = await self._commands.asked(call)
        result = await self._acts[asked.kind](call, asked.values())
        if result is None:
            return no_content()
        return result if isinstance(result, Answer) else encoded(result)


class Plugin(msgspec.Struct, frozen=True):
    """An entry of the plugin manager's list; `version` is None for what comes with the host."""

    key: str
    name: str
    description: str | None = None
    enabled: bool = True
    version: str | None = None
    author: str | None = None
    license: str = "Apache-2.0"
    url: str | None = None
    origin: str = "module"
    bundled: bool = True
    managable: bool = False
    python: str = ">=3.11"
    attributes: tuple[str, ...] = ()
    notifications: None = None
    privacypolicy: None = None
    disabling_discouraged: bool = False
    blacklisted: bool = False
    forced_disabled: bool = False
    incompatible: bool = False
    safe_mode_victim: bool = False
    pending_enable: bool = False
    pending_disable: bool = False
    pending_install: bool = False
    pending_uninstall: bool = False


PROVIDED: Final = (
    Plugin("action_command_notification", "Action Command Notifications", "What the printer wants people to read"),
    Plugin("action_command_prompt", "Action Command Prompts", "Questions of the printer's that a person answers"),
    Plugin("appkeys", "Application Keys", "Programs ask for a key of their own, a person allows it"),
    Plugin("classicwebcam", "Classic Webcam", "The printer's webcam, by the addresses of its stream and snapshots"),
    Plugin("discovery", "Discovery", "Programs find this host by mDNS"),
    Plugin("logging", "Logging", "The host's logs"),
    Plugin("pluginmanager", "Plugin Manager", "This list; nothing can be installed"),
    Plugin("softwareupdate", "Software Update", "Which version this is; nothing is updated from here"),
    Plugin("tracking", "Usage Tracking", "This host reports to nobody", enabled=False),
    Plugin("virtual_printer", "Virtual Printer", "Printers that are simulated"),
)
"""Upstream's ids behind which something stands here; what a client may do with each is in its own module."""

_BY_KEY: Final = {plugin.key: plugin for plugin in PROVIDED}

routes = Routes()


class Pip(msgspec.Struct, frozen=True):
    """What upstream installs plugins with; none is used here."""

    available: bool = False
    version: str | None = None
    install_dir: str | None = None
    python: str | None = None
    additional_args: str | None = None
    use_user: bool = False
    virtual_env: bool = sys.prefix != sys.base_prefix


class Extensions(msgspec.Struct, frozen=True):
    archive: tuple[str, ...] = ()
    json: tuple[str, ...] = ()
    python: tuple[str, ...] = ()


class PluginList(msgspec.Struct):
    plugins: tuple[Plugin, ...]
    octoprint: str
    os: str = "linux"
    online: bool = False
    safe_mode: bool = False
    pip: Pip = Pip()
    supported_extensions: Extensions = Extensions()


class OnePlugin(msgspec.Struct):
    plugin: Plugin


class Repository(msgspec.Struct, frozen=True):
    available: bool = False
    plugins: tuple[()] = ()


class RepositoryAnswer(msgspec.Struct):
    repository: Repository = Repository()


class Orphans(msgspec.Struct):
    orphan_data: dict[str, int] = {}


class Manager(PluginList):
    repository: Repository = Repository()
    orphan_data: dict[str, int] = {}


@routes.get("/api/plugin/{plugin}", needs=Permission.LOOK)
async def no_data(call: Call) -> Encoded:
    """404: no plugin of this id has something to read."""
    raise NotFound(f"no plugin {call.params['plugin']!r} has data here")


@routes.post("/api/plugin/{plugin}", needs=Permission.LOOK)
async def no_commands(call: Call) -> Encoded:
    """400: no plugin of this id takes commands."""
    raise Malformed(f"no plugin {call.params['plugin']!r} takes commands here")


@routes.get("/plugin/pluginmanager/plugins", needs=Permission.SYSTEM)
async def plugins(call: Call) -> PluginList:
    return PluginList(PROVIDED, call.host.config.octoprint.compat_version)


@routes.get("/api/plugin/pluginmanager", needs=Permission.SYSTEM)
async def all_of_the_manager(call: Call) -> Manager:
    """The same with what could be installed, which is nothing."""
    return Manager(PROVIDED, call.host.config.octoprint.compat_version)


@routes.get("/plugin/pluginmanager/plugins/versions", needs=Permission.LOOK)
async def versions(call: Call) -> Encoded:
    return encoded({plugin.key: plugin.version for plugin in PROVIDED if plugin.enabled})


@routes.get("/plugin/pluginmanager/plugins/{plugin}", needs=Permission.SYSTEM)
async def plugin(call: Call) -> OnePlugin:
    found = _BY_KEY.get(call.params["plugin"])
    if found is None:
        raise NotFound(f"no plugin {call.params['plugin']!r}; there are {', '.join(_BY_KEY)}")
    return OnePlugin(found)


@routes.get("/plugin/pluginmanager/repository", needs=Permission.SYSTEM)
async def repository(call: Call) -> RepositoryAnswer:
    """There is none: nothing can be installed."""
    return RepositoryAnswer()


@routes.get("/plugin/pluginmanager/orphans", needs=Permission.SYSTEM)
async def orphans(call: Call) -> Orphans:
    return Orphans()


@routes.get("/plugin/pluginmanager/export", needs=Permission.SYSTEM)
async def export(call: Call) -> Encoded:
    """Plugins of third parties; there are none."""
    return encoded([])


class Value(msgspec.Struct):
    name: str
    value: str


class Remote(Value):
    release_notes: str | None = None


class VersionPair(msgspec.Struct):
    local: Value
    remote: Remote
    needs_online: bool = True


class Channels(msgspec.Struct, frozen=True):
    available: tuple[()] = ()
    current: str | None = None
    stable: str | None = None


class Component(msgspec.Struct, rename="camel"):
    display_name: str
    display_version: str
    information: VersionPair
    update_available: bool = False
    update_possible: bool = False
    compatible: bool = True
    online: bool = False
    disabled: bool = False
    error: str | None = None
    release_notes: str | None = None
    release_channels: Channels = Channels()
    released_version: bool = True


class Requirement(msgspec.Struct):
    name: str
    current: str
    minimum: str


class Environment(msgspec.Struct):
    versions: tuple[Requirement, ...]
    supported: bool = True


class Place(msgspec.Struct):
    """A folder that an update would write to; `free` is bytes."""

    name: str
    path: str
    free: int


class Storage(msgspec.Struct, frozen=True):
    free: tuple[Place, ...] = ()
    sufficient: bool = True


class Updates(msgspec.Struct):
    information: dict[str, Component]
    environment: Environment
    timestamp: float
    storage: Storage = Storage()
    status: str = "current"


@routes.get("/plugin/softwareupdate/check", needs=Permission.SYSTEM)
async def updates(call: Call) -> Updates:
    """What runs, and on what; whether there is something newer is not asked anywhere."""
    here = VersionPair(Value(__version__, __version__), Remote("?", "?"))
    python = Requirement("Python", platform.python_version(), "3.11")
    return Updates(
        {"octoprint": Component("Polyhost", __version__, here)}, Environment((python,)), call.host.clock.now()
    )
