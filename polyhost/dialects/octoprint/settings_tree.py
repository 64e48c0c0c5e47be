"""The tree of ``/api/settings``: every key that a 1.11.8 has, with what this host does where nothing else is said.

Upstream: OctoPrint 1.11, docs/api/settings.rst.  Keys whose value here is a constant tell what this host does, or
what upstream does by default where it has no such thing; to set them changes nothing.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from polyhost.core.controls import Control
from polyhost.dialects.octoprint.webcam import ClassicTree, WebcamTree

Number = int | float
Strings = tuple[str, ...]
Unknown = Any
"""A value that is told and never read."""


class _Camel(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    pass


class Api(_Camel, frozen=True, kw_only=True):
    """The key is never repeated."""

    key: str | None = None
    allow_cross_origin: bool


class AccessControl(_Camel, frozen=True, kw_only=True):
    autologin_local: bool = False
    autologin_headsup_acknowledged: bool = False


class Appearance(_Camel, frozen=True, kw_only=True):
    name: str
    color: str
    color_transparent: bool
    color_icon: bool
    default_language: str
    show_fahrenheit_also: bool
    fuzzy_times: bool
    close_modals_with_click: bool
    show_internal_filename: bool


class Feature(_Camel, frozen=True, kw_only=True):
    temperature_graph: bool
    sd_support: bool
    keyboard_control: bool
    poll_watched: bool = False
    model_size_detection: bool
    remember_file_folder: bool
    print_start_confirmation: bool
    print_cancel_confirmation: bool
    upload_overwrite_confirmation: bool
    file_delete_confirmation: bool
    g90_influences_extruder: bool = msgspec.field(default=False, name="g90InfluencesExtruder")
    auto_uppercase_blacklist: Strings
    enable_drag_drop_upload: bool


class GcodeAnalysis(_Camel, frozen=True, kw_only=True):
    run_at: Literal["idle", "always", "never"]
    bed_z: float = 0.0


class Serial(_Camel, frozen=True, kw_only=True):
    port: str | None
    baudrate: int | None
    exclusive: bool = True
    low_latency: bool = False
    port_options: list[str]
    baudrate_options: tuple[int, ...]
    autoconnect: bool
    timeout_connection: Number = 10.0
    timeout_detection_first: Number = 10.0
    timeout_detection_consecutive: Number = 2.0
    timeout_communication: Number = 30.0
    timeout_communication_busy: Number = 3.0
    timeout_temperature: Number = 5.0
    timeout_temperature_target_set: Number = 2.0
    timeout_temperature_autoreport: Number = 2.0
    timeout_sd_status: Number = 1.0
    timeout_sd_status_autoreport: Number = 1.0
    timeout_pos_autoreport: Number = 5.0
    timeout_baudrate_detection_pause: Number = 1.0
    timeout_position_log_wait: Number = 10.0
    log: bool
    additional_ports: Strings
    additional_baudrates: tuple[int, ...]
    blacklisted_ports: Strings
    blacklisted_baudrates: tuple[int, ...]
    long_running_commands: Strings = ("G4", "G28", "G29", "G30", "G32", "M400", "M226", "M600")
    checksum_requiring_commands: Strings = ("M110",)
    blocked_commands: Strings = ("M0", "M1")
    ignored_commands: Strings = ()
    pausing_commands: Strings = ("M0", "M1", "M25")
    sd_cancel_command: str = "M25"
    emergency_commands: Strings = ("M112", "M108", "M410")
    hello_command: str = "M110 N0"
    ignore_errors_from_firmware: bool
    disconnect_on_errors: bool
    trigger_ok_for_m29: bool = msgspec.field(default=True, name="triggerOkForM29")
    log_position_on_pause: bool
    log_position_on_cancel: bool
    abort_heatup_on_cancel: bool = True
    support_resends_without_ok: str = "detect"
    wait_for_start: bool = False
    wait_to_load_sd_file_list: bool = True
    always_send_checksum: bool = False
    never_send_checksum: bool = False
    send_checksum_with_unknown_commands: bool = False
    unknown_commands_need_ack: bool = False
    sd_relative_path: bool = False
    sd_always_available: bool = False
    sd_lower_case: bool = False
    swallow_ok_after_resend: bool = True
    repetier_target_temp: bool = False
    external_heatup_detection: bool = True
    ignore_identical_resends: bool = False
    firmware_detection: bool = True
    block_while_dwelling: bool = False
    use_parity_workaround: str = "detect"
    sanity_check_tools: bool = True
    notify_suppressed_commands: str = "warn"
    send_m112_on_error: bool = msgspec.field(default=True, name="sendM112OnError")
    disable_sd_printing_detection: bool = False
    ack_max: int
    max_timeouts_idle: int = 2
    max_timeouts_printing: int = 5
    max_timeouts_long: int = 5
    cap_autoreport_temp: bool = True
    cap_autoreport_sd_status: bool = True
    cap_autoreport_pos: bool = True
    cap_busy_protocol: bool = True
    cap_emergency_parser: bool = True
    cap_extended_m20: bool = msgspec.field(default=True, name="capExtendedM20")
    cap_lfn_write: bool = True
    resend_ratio_threshold: int = 10
    resend_ratio_start: int = 100
    ignore_empty_ports: bool = False
    encoding: str = "ascii"
    enable_shutdown_action_command: bool = False


class Folder(_Camel, frozen=True, kw_only=True):
    """Where things are on this host's disk is told to nobody."""

    uploads: str = ""
    timelapse: str = ""
    watched: str = ""


class Preset(msgspec.Struct, frozen=True):
    name: str
    extruder: Number | None = None
    bed: Number | None = None
    chamber: Number | UnsetType | None = UNSET


class Temperature(_Camel, frozen=True, kw_only=True):
    profiles: tuple[Preset, ...]
    cutoff: int
    send_automatically: bool
    send_automatically_after: int


class Action(msgspec.Struct, frozen=True):
    """A command of the owner's; a divider has no name.  `command` is told to those who may run it."""

    action: str
    name: str | UnsetType = UNSET
    command: str | UnsetType = UNSET
    confirm: str | UnsetType = UNSET


class System(_Camel, frozen=True, kw_only=True):
    actions: tuple[Action, ...]
    events: Unknown = None


class Filter(msgspec.Struct, frozen=True):
    name: str
    regex: str


class Scripts(_Camel, frozen=True, kw_only=True):
    """Templates by name; a snippet's name begins with ``snippets/``."""

    gcode: dict[str, Unknown]


class ServerCommands(_Camel, frozen=True, kw_only=True):
    """What a client may do to this computer is told by ``/api/system/commands``."""

    system_shutdown_command: str | None = None
    system_restart_command: str | None = None
    server_restart_command: str | None = None


class DiskSpace(_Camel, frozen=True, kw_only=True):
    """In bytes."""

    warning: int
    critical: int


class OnlineCheck(_Camel, frozen=True, kw_only=True):
    enabled: bool = False
    interval: int = 15
    host: str = ""
    port: int = 53
    name: str = ""


class PluginBlacklist(_Camel, frozen=True, kw_only=True):
    enabled: bool = False
    url: str = ""
    ttl: int = 15


class Server(_Camel, frozen=True, kw_only=True):
    commands: ServerCommands = ServerCommands()
    diskspace: DiskSpace
    online_check: OnlineCheck = OnlineCheck()
    plugin_blacklist: PluginBlacklist = PluginBlacklist()
    allow_framing: bool = False


class Devel(_Camel, frozen=True, kw_only=True):
    plugin_timings: bool = False


class Slicing(_Camel, frozen=True, kw_only=True):
    default_slicer: str | None = None


class Tracking(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is tracked; programs want the keys."""

    enabled: bool = False
    unique_id: str | None
    server: str | None = None
    ping: int | None = None
    pong: int = 86400


class Model(_Camel, frozen=True, kw_only=True):
    name: str | None = None
    description: str | None = None
    number: str | None = None
    url: str | None = None
    serial: str | None = None
    vendor: str | None = None
    vendor_url: str | None = None


class Discovery(_Camel, frozen=True, kw_only=True):
    """`upnp_uuid` is the same for as long as the printer is there: programs know it again by it."""

    upnp_uuid: str
    public_host: str | None = None
    public_port: int | None = None
    path_prefix: str | None = None
    http_username: str | None = None
    http_password: str | None = None
    zero_conf: tuple[Unknown, ...] = ()
    model: Model = Model()
    addresses: Unknown = None
    interfaces: Unknown = None
    ignored_addresses: Unknown = None
    ignored_interfaces: Unknown = None


class ActionCommandPrompt(msgspec.Struct, frozen=True):
    enable: str = "detected"
    command: str = "M876"
    enable_emergency_sending: bool = True
    enable_signal_support: bool = True


class ActionCommandNotification(msgspec.Struct, frozen=True):
    enable: bool = True
    enable_popups: bool = False
    filter: str = ""


class Announcements(msgspec.Struct, frozen=True):
    """There is nobody who announces anything."""

    channels: dict[str, Unknown] = {}
    enabled_channels: tuple[str, ...] = ()
    forced_channels: tuple[str, ...] = ()
    channel_order: tuple[str, ...] = ()
    ttl: int = 360
    display_limit: int = 3
    summary_limit: int = 300


class Logging(msgspec.Struct, frozen=True):
    serial_log_warning: bool = True
    plugintimings_log_warning: bool = True


class PluginManager(msgspec.Struct, frozen=True):
    """Nothing can be installed."""

    repository: str = ""
    repository_ttl: int = 1440
    notices: str = ""
    notices_ttl: int = 360
    pip_args: str | None = None
    pip_force_user: bool = False
    confirm_disable: bool = False
    dependency_links: bool = False
    hidden: tuple[str, ...] = ()
    ignore_throttled: bool = False


class SoftwareUpdate(msgspec.Struct, frozen=True):
    """Nothing is updated from here."""

    cache_ttl: int = 1440
    notify_users: bool = False
    ignore_throttled: bool = False
    minimum_free_storage: int = 150
    octoprint_release_channel: str = "master"
    octoprint_type: str = "github_release"
    octoprint_method: str = "pip"
    queued_updates: tuple[str, ...] = ()


class VirtualPrinter(msgspec.Struct, frozen=True):
    enabled: bool


class Plugins(msgspec.Struct, frozen=True, kw_only=True):
    """By upstream's ids, of those behind which something stands here."""

    action_command_notification: ActionCommandNotification = ActionCommandNotification()
    action_command_prompt: ActionCommandPrompt = ActionCommandPrompt()
    announcements: Announcements = Announcements()
    appkeys: dict[str, Unknown] = {}
    classicwebcam: ClassicTree
    discovery: Discovery
    logging: Logging = Logging()
    pluginmanager: PluginManager = PluginManager()
    softwareupdate: SoftwareUpdate = SoftwareUpdate()
    tracking: Tracking
    virtual_printer: VirtualPrinter


class Settable(_Camel, frozen=True, kw_only=True):
    """What is read as a whole when some of it is set; `Tree` has the rest."""

    api: Api
    appearance: Appearance
    controls: tuple[Control, ...]
    devel: Devel = Devel()
    feature: Feature
    folder: Folder = Folder()
    gcode_analysis: GcodeAnalysis
    scripts: Scripts
    serial: Serial
    server: Server
    slicing: Slicing = Slicing()
    system: System
    temperature: Temperature
    terminal_filters: tuple[Filter, ...]


class Tree(Settable, frozen=True, kw_only=True):
    access_control: AccessControl | UnsetType = UNSET
    plugins: Plugins
    webcam: WebcamTree


FILTERS: Final = (
    Filter("Temperatures", r"^Send: .*\bM105\b|^Recv: .*\b(T\d*|B|C):\s*-?\d"),
    Filter("Card", r"^Send: .*\bM27\b|^Recv: .*SD printing"),
    Filter("Positions", r"^Send: .*\bM114\b|^Recv: .*\bX:\s*-?\d.*\bY:\s*-?\d"),
    Filter("Waiting", r"^Recv: wait$"),
    Filter("Busy", r"^Recv: .*\bbusy:"),
)
"""What clients may leave out of the console until a person says otherwise."""
