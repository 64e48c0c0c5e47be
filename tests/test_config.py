"""Settings: read whole, or refused with the way out."""

from pathlib import Path

import pytest

from polyhost.config import Config, read_config
from polyhost.core.errors import Malformed

ROOT = Path(__file__).parent.parent
SHELLY = 'name = "a"\ntype = "shelly"\nurl = "http://x"'


def written(folder: Path, text: str) -> Path:
    path = folder / "polyhost.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "")) == Config()


def test_printers_and_their_profiles(tmp_path: Path) -> None:
    config = read_config(
        written(
            tmp_path,
            """
            [[printers]]
            slug = "mk3"
            name = "Prusa MK3"
            driver = "serial"
            port = "/dev/serial/by-id/usb-Prusa"
            [printers.profile]
            width = 250
            x.speed_mm_s = 200

            [[printers]]
            slug = "virtual"
            driver = "virtual"
            speed = 60
            """,
        )
    )
    assert [(p.slug, p.driver, p.baud, p.speed) for p in config.printers] == [
        ("mk3", "serial", 0, 1.0),
        ("virtual", "virtual", 0, 60.0),
    ]
    assert config.printers[0].profile.width == 250
    assert config.printers[0].profile.x.speed_mm_s == 200


def test_a_trusted_network_has_a_role(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, '[access.trusted]\n"192.168.1.0/24" = "operator"\n"fe80::/10" = "viewer"'))
    assert config.access.trusted == {"192.168.1.0/24": "operator", "fe80::/10": "viewer"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[access.trusted]\n"192.168.1.300" = "viewer"', "access.trusted: '192.168.1.300' is no network"),
        ('[access.trusted]\n"192.168.1.0/24" = "boss"', "the role of 192.168.1.0/24 is one of viewer, uploader"),
        ('[access]\nproxies = ["proxy.local"]', "access.proxies: 'proxy.local' is no network"),
        ("[server]\nprot = 1", "did you mean `port`"),
        ("[sever]\nport = 1", "did you mean `server`"),
        ('[server]\nport = "x"', "Expected `int`"),
        ("[server", "polyhost.toml: "),
        ('[[printers]]\nslug = "a"\ndriver = "serial"', "names no port"),
        ('[[printers]]\nslug = "a"\ndriver = "parallel"', "driver"),
        ('[[printers]]\nslug = "A b"\ndriver = "virtual"', "a-z, 0-9"),
        ('[[printers]]\nslug = "a"\ndriver = "virtual"\nspeeed = 3', "did you mean `speed`"),
        ('[[printers]]\nslug = "a"\ndriver = "virtual"\n' * 2, "two printers"),
        (
            "".join(f'[[printers]]\nslug = "{slug}"\ndriver = "serial"\nport = "/dev/tty0"\n' for slug in "ab"),
            "both on port /dev/tty0",
        ),
        ('[[printers]]\nslug = "a"\ndriver = "virtual"\nprofile.widht = 3', "did you mean `width`"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read_config(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"no settings file .*nowhere\.toml"):
        read_config(tmp_path / "nowhere.toml")


def test_commands_of_the_owners(tmp_path: Path) -> None:
    config = read_config(
        written(
            tmp_path,
            """
            [system]
            restart = ["/usr/bin/systemctl", "restart", "polyhost"]

            [[actions]]
            action = "lamp"
            command = ["/usr/local/bin/lamp", "on"]
            wait = false

            [[actions]]
            action = "divider"

            [[actions]]
            action = "divider"
            """,
        )
    )
    assert config.system.restart[0] == "/usr/bin/systemctl"
    assert config.system.shutdown == ()
    assert [(action.action, action.wait) for action in config.actions] == [
        *(("lamp", False), ("divider", True), ("divider", True))
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[system]\nshutdown = ["poweroff"]', "system.shutdown: 'poweroff' must be the absolute path"),
        ('[system]\nshutdown = "poweroff"', "Expected `array`"),
        ("[system]\ntime_limit_s = 0", "time_limit_s must be more than 0"),
        ("[system]\ntime_limit_s = nan", "time_limit_s must be more than 0"),
        ('[system]\nrestarts = ["/bin/true"]', "did you mean `restart`"),
        ('[[actions]]\naction = "lamp"', "the action 'lamp' has no command"),
        ('[[actions]]\naction = "the lamp"\ncommand = ["/bin/true"]', "must be called by"),
        ('[[actions]]\naction = "lamp"\ncommand = ["/bin/true", "a\\u0000b"]', "zero byte"),
        ('[[actions]]\naction = "lamp"\ncomand = ["/bin/true"]', "did you mean `command`"),
        ('[[actions]]\naction = "x"\ncommand = ["/a"]\n[[actions]]\naction = "x"\ncommand = ["/b"]', "there twice"),
    ],
)
def test_a_command_that_could_not_be_run_is_refused_at_the_start(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        read_config(written(tmp_path, text))
    assert why in str(refused.value)


@pytest.mark.parametrize("url", ["spoolman:7912", "ftp://x", "http://", "http://x?y", "http://x y", "http://x:99999"])
def test_a_spoolman_that_is_no_server_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "config.toml").write_text(f'[moonraker]\nspoolman = "{url}"\n')
    with pytest.raises(Malformed, match=r"moonraker\.spoolman must be like http://host:7912"):
        read_config(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('name = ""\ntype = "shelly"\nurl = "http://x"', "must have a name"),
        ('name = "a"\ntype = "shelly"', "wants an address"),
        ('name = "a"\ntype = "shelly"\nurl = "x"', "wants an address"),
        ('name = "a"\ntype = "zigbee"\nurl = "http://x"', "zigbee"),
        ('name = "a"\ntype = "homeassistant"\nurl = "http://x"\nentity = "lamp"', "wants an entity"),
        ('name = "a"\ntype = "http"\non_url = "http://x"', "wants an address"),
        ('name = "a"\ntype = "http"\non_url = "http://x"\noff_url = "http://x"\nurl = "http://x"', "no on_text"),
        ('name = "a"\ntype = "tasmota"\nurl = "http://x"\noutput = -1', "no output"),
        ('name = "a"\ntype = "tasmota"\nurl = "http://x"\nurls = 1', "did you mean `url`"),
        (
            'name = "a"\ntype = "shelly"\nurl = "http://x"\n[[power]]\nname = "a"\ntype = "shelly"\nurl = "http://x"',
            "twice",
        ),
    ],
)
def test_a_power_device_that_could_not_work_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        read_config(written(tmp_path, f"[[power]]\n{lines}\n"))


@pytest.mark.parametrize("example", sorted((ROOT / "docs" / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_settings(example: Path) -> None:
    assert read_config(example).printers
