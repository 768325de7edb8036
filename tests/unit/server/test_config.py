"""What an owner can write into config.toml and the environment, and what Restante says to it."""

import json
import re
import socket
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.listen import Endpoint
from server.config import (
    KEYS,
    NOT_BUILT,
    Config,
    ConfigFaults,
    default_text,
    find,
    load,
    show,
)
from server.config_forms import mask

ROOT = Path(__file__).resolve().parents[3]
BAD = sorted((ROOT / "tests/configs/bad").iterdir())

# The contract, key by key and in its order.
DEFAULTS: dict[str, Any] = {
    "server.hostname": "",
    "server.data_dir": "data",
    "server.workers": 1,
    "server.user": "",
    "server.proxy_protocol": [],
    "server.resolvers": [],
    "server.private_targets": [],
    "smtp.listen": ["0.0.0.0:25", "[::]:25"],
    "smtp.max_message_mib": 50,
    "smtp.verify": "on",
    "smtp.dmarc": "note",
    "smtp.dnsbl": [],
    "smtp.arc_trusted": [],
    "smtp.trusted_hops": [],
    "smtp.rspamd": "",
    "smtp.clamd": "",
    "pop3.listen": ["0.0.0.0:995", "[::]:995"],
    "pop3.on_delete": "trash",
    "pop3.max_listed": 10000,
    "pop3.stls_listen": [],
    "pop3.refuser_listen": ["0.0.0.0:465", "[::]:465"],
    "api.listen": [],
    "api.http_listen": ["127.0.0.1:8080"],
    "api.public_url": "",
    "api.registration": "invite",
    "api.trusted_proxies": [],
    "store.url": "sqlite:///restante.db",
    "store.url_file": "",
    "store.bodies": "sql",
    "store.quota_mib": 2048,
    "store.trash_days": 30,
    "store.journal_days": 30,
    "store.min_free_mib": 512,
    "store.backup_dir": "",
    "tls.mode": "self-signed",
    "tls.cert_file": "",
    "tls.key_file": "",
    "tls.acme_directory": "https://acme-v02.api.letsencrypt.org/directory",
    "limits.auth": 5,
    "limits.auth_counts": "all",
    "limits.api": 200,
    "limits.general": 100,
    "limits.page": 1000,
    "limits.exempt": [],
    "limits.smtp_total": 300,
    "limits.smtp_per_ip": 20,
    "limits.pop3_total": 1000,
    "limits.pop3_per_ip_minute": 10,
    "limits.memory_mib": 128,
    "limits.redis_url_file": "",
    "collector.every_s": 300,
    "log.level": "info",
}

# Every value here differs from the default and is honoured.
GOOD: list[tuple[str, object, object]] = [
    ("server.hostname", "Mail.Example.org", "mail.example.org"),
    ("server.hostname", "mail.bücher.example", "mail.xn--bcher-kva.example"),
    ("server.hostname", "mailbox", "mailbox"),
    ("smtp.listen", [], ()),
    ("smtp.listen", ["127.0.0.1:0"], (Endpoint("127.0.0.1", 0),)),
    ("smtp.listen", ["[2001:db8::1]:2525"], (Endpoint("2001:db8::1", 2525),)),
    ("smtp.listen", ["*:2525"], (Endpoint("0.0.0.0", 2525), Endpoint("::", 2525))),
    ("smtp.max_message_mib", 1, 1),
    ("pop3.listen", ["127.0.0.1:2995"], (Endpoint("127.0.0.1", 2995),)),
    ("pop3.on_delete", "archive", "archive"),
    ("pop3.max_listed", 1_000_000, 1_000_000),
    ("pop3.refuser_listen", [], ()),
    ("tls.mode", "acme", "acme"),
    ("server.user", "restante", "restante"),
    ("tls.acme_directory", "https://127.0.0.1:14000/dir", "https://127.0.0.1:14000/dir"),
    ("api.http_listen", ["[::1]:2080"], (Endpoint("::1", 2080),)),
    ("api.listen", ["[::1]:2443"], (Endpoint("::1", 2443),)),
    ("api.public_url", "https://mail.example.org", "https://mail.example.org"),
    ("api.public_url", "http://192.0.2.1:8080", "http://192.0.2.1:8080"),
    ("api.public_url", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ("store.url", "sqlite:////var/lib/restante/mail.db", "sqlite:////var/lib/restante/mail.db"),
    (
        "store.url",
        "mariadb+pymysql://restante@db.example.org/restante",
        "mariadb+pymysql://restante@db.example.org/restante",
    ),
    (
        "server.resolvers",
        ["192.0.2.53:53", "[2001:db8::53]:53"],
        (Endpoint("192.0.2.53", 53), Endpoint("2001:db8::53", 53)),
    ),
    ("store.url_file", "/run/secrets/store-url", Path("/run/secrets/store-url")),
    ("store.min_free_mib", 0, 0),
    ("store.quota_mib", 0, 0),
    ("store.trash_days", 1, 1),
    (
        "limits.exempt",
        ["192.0.2.0/24", "2001:db8::/32", "10.1.2.3/32"],
        (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"), ip_network("10.1.2.3/32")),
    ),
    ("limits.redis_url_file", "/run/secrets/redis", Path("/run/secrets/redis")),
    ("limits.smtp_total", 1, 1),
    ("limits.smtp_per_ip", 100_000, 100_000),
    ("pop3.stls_listen", ["127.0.0.1:110"], (Endpoint("127.0.0.1", 110),)),
    ("limits.pop3_total", 2, 2),
    ("limits.pop3_per_ip_minute", 600, 600),
    ("limits.memory_mib", 50, 50),
    ("log.level", "debug", "debug"),
    ("api.registration", "closed", "closed"),
    ("api.trusted_proxies", ["127.0.0.0/8"], (ip_network("127.0.0.0/8"),)),
    ("limits.auth", 0, 0),
    ("limits.auth_counts", "failures", "failures"),
    ("limits.api", 0, 0),
    ("limits.general", 0, 0),
    ("limits.page", 0, 0),
    (
        "server.resolvers",
        ["192.0.2.53:53", "[2001:db8::53]:53"],
        (Endpoint("192.0.2.53", 53), Endpoint("2001:db8::53", 53)),
    ),
    ("smtp.verify", "off", "off"),
    ("smtp.dmarc", "refuse", "refuse"),
    ("smtp.dnsbl", ["bl.example.net"], ("bl.example.net",)),
    ("smtp.arc_trusted", ["lists.example.net"], ("lists.example.net",)),
    ("smtp.trusted_hops", ["192.0.2.0/24"], (ip_network("192.0.2.0/24"),)),
    ("smtp.rspamd", "http://127.0.0.1:11333", "http://127.0.0.1:11333"),
    ("smtp.clamd", "127.0.0.1:3310", Endpoint("127.0.0.1", 3310)),
    ("smtp.clamd", "/run/clamav/clamd.ctl", Path("/run/clamav/clamd.ctl")),
]

# Good in form, so that the only complaint is that this version does not honour it.
GOOD_LATER: list[tuple[str, object]] = [
    ("store.bodies", "s3://mail-bodies/restante"),
    ("store.journal_days", 3650),
]

REFUSED: list[tuple[str, object]] = [
    ("server.hostname", "mail example"),
    ("server.hostname", "my_host.example.org"),
    ("server.hostname", "mail.example.org."),
    ("server.data_dir", ""),
    ("server.data_dir", "two\nlines"),
    ("server.workers", 0),
    ("server.user", "no such name"),
    ("server.proxy_protocol", ["192.0.2.0"]),
    ("server.resolvers", ["192.0.2.53:0"]),
    ("server.resolvers", ["*:53"]),
    ("smtp.listen", [25]),
    ("smtp.listen", ["*"]),
    ("smtp.listen", ["::1:25"]),
    ("smtp.listen", ["0.0.0.0:"]),
    ("smtp.dnsbl", ["192.0.2.1"]),
    ("smtp.rspamd", "https://rspamd.example.net"),
    ("smtp.clamd", "clamd.sock"),
    ("smtp.clamd", "127.0.0.1:0"),
    ("api.public_url", "mail.example.org"),
    ("api.public_url", "https://mail.example.org/"),
    ("api.public_url", "https://mail.example.org:70000"),
    ("api.public_url", "https://mail.example.org?mail"),
    ("api.public_url", "https://ann@mail.example.org"),
    ("api.public_url", "https://192.0.2"),
    ("api.public_url", "ftp://mail.example.org"),
    ("store.url", ""),
    ("store.url", "sqlite:///"),
    ("store.url", "sqlite:///restante.db?mode=ro"),
    ("store.url", "restante.db"),
    ("store.bodies", "/var/bodies"),
    ("store.bodies", "s3://"),
    ("limits.memory_mib", [128]),
    ("limits.memory_mib", {"a": 128}),
    ("log.level", ""),
    ("log.level", ["info"]),
]

# As found, and as it may be shown.
MASKED = [
    ("sqlite:///restante.db", "sqlite:///restante.db"),
    ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ("postgresql://ann@db.example.org:5432/mail", "postgresql://ann@db.example.org:5432/mail"),
    ("postgresql://db.example.org:5432/mail", "postgresql://db.example.org:5432/mail"),
    ("postgresql://ann:secret@db.example.org/mail", "postgresql://ann:***@db.example.org/mail"),
    ("postgresql://ann:se:c/r@et@db/mail", "postgresql://ann:***@db/mail"),
    ("postgresql://ann@example:secret@db/mail", "postgresql://ann@example:***@db/mail"),
    ("postgresql:///mail?user=ann&password=secret", "postgresql:///mail?***"),
    ("postgresql:/ann:secret@db/mail", "postgresql:***@db/mail"),
    ("ann:secret@db/mail", "ann:***@db/mail"),
    ("postgresql://ann:secret", "postgresql://ann:***"),
    ("redis://:secret@cache.example.org", "redis://:***@cache.example.org"),
    ("-----BEGIN PRIVATE KEY-----", "***"),
    ("one line\nand the secret", "***"),
]


def variable(key: str) -> str:
    return "RESTANTE_" + key.upper().replace(".", "__")


def file_with(folder: Path, *settings: tuple[str, object]) -> Path:
    path = folder / "config.toml"
    lines = []
    for key, value in settings:
        section, name = key.split(".")
        text = "{ a = 128 }" if isinstance(value, dict) else json.dumps(value)
        lines.append(f"[{section}]\n{name} = {text}\n")
    path.write_text("\n".join(lines), "utf-8")
    return path


def value_of(config: Config, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def complaints(path: Path | None, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigFaults) as raised:
        load(path, environ)
    assert str(raised.value).split("\n") == [str(fault) for fault in raised.value.faults]
    return [str(fault) for fault in raised.value.faults]


# The 52 keys


def test_the_shipped_file_is_the_text_made_from_the_models() -> None:
    assert (ROOT / "config.toml").read_text("utf-8") == default_text()


def test_the_shipped_file_holds_the_52_keys_of_the_contract_in_order() -> None:
    shipped = tomllib.loads((ROOT / "config.toml").read_text("utf-8"))
    held = {f"{section}.{name}": v for section, part in shipped.items() for name, v in part.items()}
    assert list(held.items()) == list(DEFAULTS.items())
    assert len(held) == 52


def test_the_models_hold_the_52_keys_of_the_contract_in_order() -> None:
    assert [(setting.key, setting.default) for setting in show(None, {})] == list(DEFAULTS.items())


def test_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.touch()
    nothing = load(path, {})
    path.write_text(default_text(), "utf-8")
    assert dict(load(path, {})) == dict(nothing)


def test_every_key_is_explained_in_two_short_lines() -> None:
    lines = default_text().splitlines()
    assert max(map(len, lines)) <= 100
    for key in DEFAULTS:
        at = next(i for i, line in enumerate(lines) if line.startswith(key.split(".")[1] + " = "))
        assert all(re.fullmatch(r"# .+\.", line) for line in lines[at - 2 : at])


def test_a_default_is_itself_of_the_accepted_form() -> None:
    environ = {
        variable(key): json.dumps(value) if isinstance(value, list) else str(value)
        for key, value in DEFAULTS.items()
    }
    assert dict(load(None, environ)) == dict(load(None, {}))


def test_workers_with_a_database_and_memory_for_each(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "[server]\nworkers = 3\n[limits]\nmemory_mib = 150\n"
        '[store]\nurl = "postgresql+psycopg://restante@db.example.org/restante"\n'
    )
    assert load(path, {}).server.workers == 3


# Complaints


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_bad_file(case: Path) -> None:
    """`*` in an expected line is any text: the reasons of the TOML reader are its own."""
    found = complaints(case / "config.toml", {})
    expected = (case / "expected.txt").read_text("utf-8").splitlines()
    assert len(found) == len(expected), found
    for line, wanted in zip(found, expected, strict=True):
        pattern = ".*".join(map(re.escape, wanted.split("*")))
        assert re.fullmatch(pattern, line.replace(f"{case}/", "")), f"{line}\nis not\n{wanted}"


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_refused_value(tmp_path: Path, key: str, value: object) -> None:
    (line,) = complaints(file_with(tmp_path, (key, value)), {})
    assert line.startswith(f"{key} = ")
    assert "not built" not in line


@pytest.mark.parametrize(("key", "value"), GOOD_LATER)
def test_good_value_of_a_part_that_is_not_built(tmp_path: Path, key: str, value: object) -> None:
    (line,) = complaints(file_with(tmp_path, (key, value)), {})
    default = json.dumps(DEFAULTS[key])
    assert line.startswith(f"{key} = {json.dumps(value)} is not built in this version; accepted: ")
    assert default in line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    assert complaints(path, {}) == [
        f"{path} cannot be read: No such file or directory; accepted: a file that can"
    ]


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'[log]\nlevel = "\xff"\n')
    assert complaints(path, {}) == [
        f"{path} is not UTF-8 (at line 2); accepted: a TOML file in UTF-8"
    ]


def test_a_file_with_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbf[log]\r\nlevel = "debug"\r\n')
    assert load(path, {}).log.level == "debug"


def test_lists_without_end_are_a_complaint(tmp_path: Path) -> None:
    nested = "[" * 900 + "]" * 900
    path = tmp_path / "config.toml"
    path.write_text(f"[smtp]\nlisten = {nested}\n", "utf-8")
    assert len(complaints(path, {})) == 1
    assert len(complaints(None, {"RESTANTE_SMTP__LISTEN": nested})) == 1


@pytest.mark.parametrize(("found", "told"), MASKED)
def test_no_secret_is_told(found: str, told: str) -> None:
    assert mask(found) == told


@given(text=st.text(max_size=200), value=st.text(alphabet="abc019.:/[]{}\",'*@-\n", max_size=40))
def test_anything_is_a_configuration_or_a_complaint(
    tmp_path_factory: pytest.TempPathFactory, text: str, value: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    for content in (text, f"[smtp]\nlisten = {value}", f"{value} = 1", f"[{value}]\na = 1"):
        path.write_text(content, "utf-8", errors="replace")
        for environ in ({}, {variable(key): value for key in KEYS}):
            try:
                load(path, environ)
                told = []
            except ConfigFaults as wrong:
                told = [str(fault).removeprefix(str(path)) for fault in wrong.faults]
            assert all(line.isascii() and line.isprintable() for line in told)


# Values


@pytest.mark.parametrize(("key", "value", "read"), GOOD)
def test_good_value(tmp_path: Path, key: str, value: object, read: object) -> None:
    assert value_of(load(file_with(tmp_path, (key, value)), {}), key) == read
    text = value if isinstance(value, str) else json.dumps(value)
    assert value_of(load(None, {variable(key): text}), key) == read


def test_the_certificate_files(tmp_path: Path) -> None:
    pair = ("tls.mode", "files"), ("tls.cert_file", "mail.crt"), ("tls.key_file", "/etc/mail.key")
    path = tmp_path / "config.toml"
    path.write_text("[tls]\n" + "\n".join(f'{key[4:]} = "{value}"' for key, value in pair), "utf-8")
    tls = load(path, {}).tls
    assert (tls.mode, tls.cert_file) == ("files", tmp_path / "data/mail.crt")
    assert tls.key_file == Path("/etc/mail.key")


def test_nothing_given_is_the_defaults() -> None:
    config = load(None, {})
    assert config.smtp == Config().smtp
    assert config.limits == Config().limits
    assert config.server.data_dir == Path.cwd() / "data"
    assert config.store.url == f"sqlite:///{Path.cwd()}/data/restante.db"
    assert config.tls.cert_file is None


def test_paths_belong_to_the_data_folder_and_that_to_the_file(tmp_path: Path) -> None:
    config = load(file_with(tmp_path, ("server.data_dir", "mail")), {})
    assert config.server.data_dir == tmp_path / "mail"
    assert config.store.url == f"sqlite:///{tmp_path}/mail/restante.db"
    elsewhere = load(file_with(tmp_path, ("server.data_dir", "/srv/mail")), {})
    assert elsewhere.server.data_dir == Path("/srv/mail")
    assert elsewhere.store.url == "sqlite:////srv/mail/restante.db"


def test_an_empty_hostname_is_the_machines_name() -> None:
    assert load(None, {}).server.hostname in (socket.gethostname().lower(), "localhost")


def test_a_configuration_cannot_be_changed() -> None:
    config = load(None, {})
    with pytest.raises(ValueError, match="frozen"):
        config.smtp.max_message_mib = 1


# Environment


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, ("smtp.max_message_mib", 10), ("log.level", "error"))
    config = load(path, {"RESTANTE_SMTP__MAX_MESSAGE_MIB": "20", "HOME": "/root"})
    assert (config.smtp.max_message_mib, config.log.level) == (20, "error")


def test_the_environment_mends_a_wrong_value_of_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, ("smtp.max_message_mib", "ten"))
    assert load(path, {"RESTANTE_SMTP__MAX_MESSAGE_MIB": "20"}).smtp.max_message_mib == 20


def test_a_wrong_value_of_the_environment_names_its_variable() -> None:
    (line,) = complaints(None, {"RESTANTE_SMTP__MAX_MESSAGE_MIB": "20 MiB"})
    found, accepted = line.split("; ")
    assert found == 'smtp.max_message_mib = "20 MiB" (RESTANTE_SMTP__MAX_MESSAGE_MIB) is not valid'
    assert accepted == "accepted: a whole number of MiB from 1 to 1024"


@pytest.mark.parametrize("text", ["", " 5", "5.0", "+5", "0x5", "1_0", "five", "9" * 5000])
def test_what_is_no_number_in_the_environment(text: str) -> None:
    assert len(complaints(None, {"RESTANTE_SMTP__MAX_MESSAGE_MIB": text})) == 1


@pytest.mark.parametrize("text", ["", "0.0.0.0:25", '"0.0.0.0:25"', "[0.0.0.0:25]", "{}", "1"])
def test_what_is_no_list_in_the_environment(text: str) -> None:
    (line,) = complaints(None, {"RESTANTE_SMTP__LISTEN": text})
    assert "(RESTANTE_SMTP__LISTEN) is not valid; accepted: a list of" in line


@pytest.mark.parametrize(
    "name", ["RESTANTE_SMTP__LISTENS", "RESTANTE_smtp__listen", "RESTANTE_SMPT__LISTEN"]
)
def test_a_variable_that_names_no_key(name: str) -> None:
    assert complaints(None, {name: "[]"}) == [
        f"{name} names no key; accepted: RESTANTE_SMTP__LISTEN (the closest known one)"
    ]


def test_other_variables_are_not_ours() -> None:
    ignored = {"RESTANTE_CONFIG": "x.toml", "RESTANTE_PORT_25_TCP": "25", "OTHER__KEY": "1"}
    assert load(None, ignored) == load(None, {})


def test_faults_of_file_and_environment_come_together(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[smtp\n", "utf-8")
    found = complaints(path, {"RESTANTE_LOG__LEVEL": "loud", "RESTANTE_A__B": "", "HOME": "/"})
    assert len(found) == 3
    assert found[0].startswith(f"{path} is not TOML: ")
    assert found[1].startswith("RESTANTE_A__B names no key; ")
    assert found[2].startswith('log.level = "loud" (RESTANTE_LOG__LEVEL) is not valid; ')


# Which file, and which source


def test_the_order_in_which_a_file_is_looked_for(tmp_path: Path) -> None:
    cwd, system = tmp_path / "here", tmp_path / "etc.toml"
    trial = cwd / "restante-try"
    trial.mkdir(parents=True)
    running: set[Path] = set()

    def found(explicit: Path | None = None, environ: dict[str, str] | None = None) -> Path | None:
        return find(
            explicit, environ or {}, cwd=cwd, trial_running=running.__contains__, system=system
        )

    (trial / "config.toml").touch()
    assert found() is None
    system.touch()
    assert found() == system
    (cwd / "config.toml").touch()
    assert found() == cwd / "config.toml"
    running.add(trial)
    assert found() == trial / "config.toml"
    assert found(environ={"RESTANTE_CONFIG": "missing.toml"}) == cwd / "missing.toml"
    assert found(environ={"RESTANTE_CONFIG": ""}) == trial / "config.toml"
    assert found(Path("/a.toml"), {"RESTANTE_CONFIG": "missing.toml"}) == Path("/a.toml")


def test_show_tells_value_default_and_source_of_every_key(tmp_path: Path) -> None:
    path = file_with(tmp_path, ("smtp.listen", ["*:25"]), ("log.level", "error"))
    settings = {setting.key: setting for setting in show(path, {"RESTANTE_LOG__LEVEL": "debug"})}
    assert list(settings) == list(DEFAULTS)
    told = {key: (setting.value, setting.source) for key, setting in settings.items()}
    assert told["smtp.listen"] == (["0.0.0.0:25", "[::]:25"], "file")
    assert told["log.level"] == ("debug", "environment")
    assert told["smtp.max_message_mib"] == (50, "default")
    assert told["server.data_dir"] == (f"{tmp_path}/data", "default")
    assert told["tls.key_file"] == ("", "default")
    assert settings["smtp.max_message_mib"].accepted == "a whole number of MiB from 1 to 1024"
    assert settings["log.level"].accepted == '"debug", "info", "warning" or "error"'
    assert json.dumps([setting.value for setting in settings.values()])


def test_what_is_not_built_is_said_in_the_shipped_file() -> None:
    noted = [line.split(" = ")[0] for line in default_text().splitlines() if "  # " in line]
    assert noted == [key.split(".")[1] for key in DEFAULTS if key in NOT_BUILT]
    assert set(NOT_BUILT) <= set(DEFAULTS)
