"""The 47 keys of config.toml, as frozen models; load, show and default text of them.

A key is a field below: its default, its meaning (the text under it) and its accepted form, from
config_forms. The shipped config.toml is `default_text()`, and complaints use the same words.
"""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from net.limits import Network
from net.listen import Endpoint
from server import config_forms as forms
from server.config_forms import Form, as_toml, endpoints, masked, one_of, plain, shown, whole
from server.config_sources import (
    ConfigFaults,
    Fault,
    Source,
    closest,
    find,
    gather,
    safe_name,
    variable_of,
)

__all__ = ["KEYS", "NOT_BUILT", "Config", "ConfigFaults", "Fault", "Setting"]
__all__ += ["default_text", "find", "load", "show"]

Endpoints = Annotated[tuple[Endpoint, ...], forms.ENDPOINTS]
Networks = Annotated[tuple[Network, ...], forms.NETWORKS]
PathOrNone = Annotated[Path | None, forms.PATH_OR_NONE]


class Section(BaseModel):
    """One table of the file. Each value is read by its field's form; a default is a read value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="plain")
    @classmethod
    def _read(cls, found: object, info: ValidationInfo) -> object:
        return _form(cls.model_fields[str(info.field_name)]).read(found)


class ServerKeys(Section):
    hostname: Annotated[str, forms.HOSTNAME] = ""
    """Name in the banner, Received lines, certificate and set-up cards. Empty: the machine's."""
    data_dir: Annotated[Path, forms.PATH] = Path("data")
    """Folder of the store, the keys and the control socket."""
    workers: Annotated[int, whole(1, 64)] = 1
    """Processes that serve. More than 1 needs PostgreSQL or MariaDB."""
    user: Annotated[str, forms.SYSTEM_ACCOUNT] = ""
    """Account to become once the ports are open. Root needs it, unless all is on loopback."""
    proxy_protocol: Networks = ()
    """From these, SMTP and POP3 connections begin with a PROXY header."""
    resolvers: Annotated[tuple[Endpoint, ...], forms.RESOLVERS] = ()
    """DNS servers to ask. Empty: those of the system."""
    private_targets: Networks = ()
    """Private networks that collectors and webhooks may connect to."""


class SmtpKeys(Section):
    listen: Endpoints = endpoints("0.0.0.0:25", "[::]:25")
    """Where mail comes in. STARTTLS is offered."""
    max_message_mib: Annotated[int, whole(1, 1024, "MiB")] = 50
    """Largest message taken. Senders learn it from EHLO SIZE."""
    verify: Literal["on", "off"] = "on"
    """Whether SPF, DKIM, DMARC and ARC of each message are checked. It takes DNS."""
    dmarc: Literal["note", "refuse"] = "note"
    """What happens to mail whose sender's domain asks to reject it: noted, or refused at once."""
    dnsbl: Annotated[tuple[str, ...], forms.ZONES] = ()
    """Block lists asked about each client. One that is listed marks its mail as suspected spam."""
    arc_trusted: Annotated[tuple[str, ...], forms.ZONES] = ()
    """Domains whose ARC seal saves mail that dmarc would refuse, as those of mailing lists."""
    trusted_hops: Networks = ()
    """Servers of your own that pass mail on to this one: who brought it to them is judged."""
    rspamd: Annotated[str, forms.WEB_SERVER] = ""
    """An rspamd that is asked about each message."""
    clamd: Annotated[Endpoint | Path | None, forms.SOCKET] = None
    """A clamd that looks for viruses in each message; one with a virus is refused."""


class Pop3Keys(Section):
    listen: Endpoints = endpoints("0.0.0.0:995", "[::]:995")
    """Where mail apps fetch, with TLS from the first octet."""
    on_delete: Literal["trash", "archive", "purge"] = "trash"
    """Where a message goes that a mail app deletes."""
    max_listed: Annotated[int, whole(1, 1_000_000)] = 10_000
    """Most messages shown to one session: first those that the mail app has not retrieved yet."""
    stls_listen: Endpoints = ()
    """Ports without TLS at first, where STLS must come before the login."""
    refuser_listen: Endpoints = endpoints("0.0.0.0:465", "[::]:465")
    """Tells mail apps that try to send that this server only receives. Empty list: off."""


class ApiKeys(Section):
    listen: Endpoints = ()
    """API and web page over https."""
    http_listen: Endpoints = endpoints("127.0.0.1:8080")
    """The same without TLS, for loopback and trusted proxies; others are sent to https."""
    public_url: Annotated[str, forms.PUBLIC_URL] = ""
    """What browsers type to come here. Empty: https:// and the hostname."""
    registration: Literal["invite", "open", "closed"] = "invite"
    """Who may make an account: those invited, anybody, nobody."""
    trusted_proxies: Networks = ()
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""


class StoreKeys(Section):
    url: Annotated[str, forms.DATABASE] = "sqlite:///restante.db"
    """The database that holds everything."""
    url_file: PathOrNone = None
    """File that holds the URL instead, for a URL with a password."""
    bodies: Annotated[str, forms.BODIES] = "sql"
    """Where message bodies are: in the database, or in an object store."""
    quota_mib: Annotated[int, whole(0, 16_777_216, "MiB")] = 2048
    """Space of a user who has no quota of their own. 0: no limit."""
    trash_days: Annotated[int, whole(1, 3650, "days")] = 30
    """How long what is in the trash can be restored."""
    journal_days: Annotated[int, whole(1, 3650, "days")] = 30
    """How long the delivery journal and the sign-in log are kept."""
    min_free_mib: Annotated[int, whole(0, 1_048_576, "MiB")] = 512
    """With less disk space than this, mail is deferred and its senders try again."""
    backup_dir: PathOrNone = None
    """Folder for a backup every night, of which 14 are kept. Empty: no backup."""


class TlsKeys(Section):
    mode: Literal["self-signed", "files", "acme"] = "self-signed"
    """The certificate: made here, from the two files below, or from an ACME authority."""
    cert_file: PathOrNone = None
    """Certificate with its full chain. Pairs <name>.crt, <name>.key beside it serve that name."""
    key_file: PathOrNone = None
    """Its private key."""
    acme_directory: Annotated[str, forms.ACME] = "https://acme-v02.api.letsencrypt.org/directory"
    """The ACME authority, whose terms are agreed to by choosing it."""


class LimitsKeys(Section):
    auth: Annotated[int, whole(0, 1_000_000, "requests")] = 5
    """Sign-in, registration and recovery, per client in 15 minutes. 0: no limit."""
    auth_counts: Literal["all", "failures"] = "all"
    """Which of those count."""
    api: Annotated[int, whole(0, 1_000_000, "requests")] = 200
    """Other requests under /api/, per client in 15 minutes. 0: no limit."""
    general: Annotated[int, whole(0, 1_000_000, "requests")] = 100
    """Everything else over HTTP, per client in 15 minutes. 0: no limit."""
    page: Annotated[int, whole(0, 1_000_000, "requests")] = 1000
    """Made by one browser session in 15 minutes. 0: no limit."""
    exempt: Networks = ()
    """Clients that no limit per client counts, on any listener."""
    smtp_total: Annotated[int, whole(1, 100_000, "connections")] = 300
    """SMTP, open at once."""
    smtp_per_ip: Annotated[int, whole(1, 100_000, "connections")] = 20
    """SMTP, open at once from one client."""
    pop3_total: Annotated[int, whole(1, 100_000, "connections")] = 1000
    """POP3, open at once."""
    pop3_per_ip_minute: Annotated[int, whole(1, 100_000, "connections")] = 10
    """POP3, new ones from one client in a minute."""
    memory_mib: Annotated[int, whole(1, 1_048_576, "MiB")] = 128
    """Messages in memory on their way in, over all connections."""
    redis_url_file: PathOrNone = None
    """File that holds a Redis URL, for counts that several machines share."""


class CollectorKeys(Section):
    every_s: Annotated[int, whole(300, 604_800, "seconds")] = 300
    """Pause between two fetches of a collector that has none of its own."""


class LogKeys(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged: as key=value on a terminal, else as JSON."""


class Config(BaseModel):
    """All keys. From `load`: paths and an SQLite URL are absolute, the hostname is not empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: ServerKeys = ServerKeys()
    smtp: SmtpKeys = SmtpKeys()
    pop3: Pop3Keys = Pop3Keys()
    api: ApiKeys = ApiKeys()
    store: StoreKeys = StoreKeys()
    tls: TlsKeys = TlsKeys()
    limits: LimitsKeys = LimitsKeys()
    collector: CollectorKeys = CollectorKeys()
    log: LogKeys = LogKeys()
    _sources: Mapping[str, Source] = PrivateAttr(default_factory=dict)

    def source(self, key: str) -> Source:
        """Where the value of a key comes from."""
        return self._sources.get(key, "default")

    @property
    def public_url(self) -> str:
        """What browsers type to come here."""
        return self.api.public_url or f"https://{self.server.hostname}"

    def know_sources(self, sources: Mapping[str, Source]) -> "Config":
        self._sources = sources
        return self


# Keys that this version honours at their default only, or at these patterns of values as well.
NOT_BUILT: Final[Mapping[str, tuple[str, ...]]] = {
    "store.bodies": (),
    "store.journal_days": (),
}

KEYS: Final[Mapping[str, FieldInfo]] = {
    f"{section}.{name}": field
    for section, part in Config()
    for name, field in type(part).model_fields.items()
}
_DEFAULTS: Final[Mapping[str, object]] = {key: field.default for key, field in KEYS.items()}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as `config show` and `config explain` tell it; values are TOML's types, masked."""

    key: str
    value: object
    source: Source
    default: object
    meaning: str
    accepted: str


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration in force. The environment goes before the file. Raises ConfigFaults."""
    found = gather(path, environ, _DEFAULTS)
    config, faults = _validated(found.tables)
    known = {fault.key for fault in faults}
    for key, problem, accepted in (*_not_built(config), *_misfits(config)):
        if key not in known:
            table, _, name = key.partition(".")
            as_found = found.tables.get(table, {}).get(name, plain(KEYS[key].default))
            faults.append(Fault(key, shown(as_found), problem, accepted))
    faults = [
        replace(fault, variable=variable_of(fault.key))
        if found.sources.get(fault.key) == "environment"
        else fault
        for fault in faults
    ]
    if found.faults or faults:
        raise ConfigFaults([*found.faults, *faults])
    return _resolved(config, path.parent if path else Path.cwd()).know_sources(found.sources)


def show(path: Path | None, environ: Mapping[str, str]) -> list[Setting]:
    """As `settings`, of what `load` reads. Raises ConfigFaults."""
    return settings(load(path, environ))


def settings(config: Config) -> list[Setting]:
    """Every key, with its value in force and where that comes from."""
    return [
        Setting(
            key=f"{section}.{name}",
            value=masked(plain(getattr(part, name))),
            source=config.source(f"{section}.{name}"),
            default=plain(field.default),
            meaning=meanings[name],
            accepted=_form(field).words,
        )
        for section, part in config
        for meanings in [forms.meanings(type(part))]
        for name, field in type(part).model_fields.items()
    ]


def default_text() -> str:
    """The text of the shipped config.toml."""
    lines = [
        "# The settings of Restante: every key with its default, which a key left out has too.",
        "# The environment goes before this file: RESTANTE_SECTION__KEY, with lists as JSON.",
        "# Paths are relative to server.data_dir, and that one to the folder of this file.",
    ]
    for section, part in Config():
        lines += ["", f"[{section}]"]
        meanings = forms.meanings(type(part))
        for name, field in type(part).model_fields.items():
            words = _form(field).words
            lines += [f"# {meanings[name]}", f"# {words[0].upper()}{words[1:]}."]
            lines += [f"{name} = {as_toml(field.default)}{_note(f'{section}.{name}')}", ""]
        lines.pop()
    return "\n".join([*lines, ""])


def _note(key: str) -> str:
    if key not in NOT_BUILT:
        return ""
    built = " or ".join(map(as_toml, NOT_BUILT[key]))
    return f"  # so far this or {built}" if built else "  # not built yet, leave as is"


def _form(field: FieldInfo) -> Form:
    for mark in field.metadata:
        if isinstance(mark, Form):
            return mark
    return one_of(*get_args(field.annotation))  # a Literal says all there is to say


def _value(config: Config, key: str) -> object:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def _validated(tables: dict[str, Any]) -> tuple[Config, list[Fault]]:
    """A default for each value that is wrong, and the complaints. `tables` keeps what is right."""
    try:
        return Config.model_validate(tables), []
    except ValidationError as error:
        wrong = error.errors(include_url=False)
    for fault in wrong:
        match fault["loc"]:
            case (str(section),):
                del tables[section]
            case (str(section), str(name)):
                del tables[section][name]
    return Config.model_validate(tables), list(map(_complaint, wrong))


def _complaint(wrong: ErrorDetails) -> Fault:
    """Of what pydantic found. What an unknown name holds is not told: it may be a secret."""
    section, *name = map(str, wrong["loc"])
    key = ".".join([section, *name])
    if wrong["type"] == "extra_forbidden":
        if name or not isinstance(wrong["input"], dict):
            return Fault(safe_name(key), "", "is not a known key", closest(key, KEYS))
        sections = [f"[{known}]" for known in Config.model_fields]
        title = f"[{safe_name(section)}]"
        return Fault(title, "", "is not a known section", closest(title, sections))
    if not name:
        return Fault(key, "", "is not a section", f"[{key}], and its keys in the lines below")
    problem = str(wrong["ctx"]["error"]) or "is not valid"
    return Fault(key, shown(wrong["input"]), problem, _form(KEYS[key]).words)


def _not_built(config: Config) -> Iterator[tuple[str, str, str]]:
    for key, built in NOT_BUILT.items():
        value, default = _value(config, key), KEYS[key].default
        if value != default and not any(fnmatchcase(str(value), pattern) for pattern in built):
            accepted = " or ".join(map(as_toml, (default, *built)))
            yield key, "is not built in this version", accepted


def _misfits(config: Config) -> Iterator[tuple[str, str, str]]:
    """Keys whose values are good, but not together."""
    if config.store.url_file and config.store.url != _DEFAULTS["store.url"]:
        yield "store.url", "is set, and store.url_file too", "one of them"
    if config.tls.mode == "files":
        for key in ("tls.cert_file", "tls.key_file"):
            if not _value(config, key):
                yield key, 'is needed with tls.mode = "files"', "a path"
    workers, largest = config.server.workers, config.smtp.max_message_mib
    if workers > 1 and not config.store.url_file and config.store.url.startswith(forms.SQLITE):
        yield "server.workers", "needs PostgreSQL or MariaDB in store.url", "1 with SQLite"
    if config.limits.memory_mib < workers * largest:
        least = f"a number not below smtp.max_message_mib = {largest}"
        if workers > 1:
            least += f", times server.workers = {workers}"
        yield "limits.memory_mib", "has no room for the largest message", least


def _resolved(config: Config, folder: Path) -> Config:
    data_dir = folder.absolute() / config.server.data_dir
    known: dict[str, dict[str, object]] = {
        section: {name: data_dir / value for name, value in part if isinstance(value, Path)}
        for section, part in config
    }
    known["server"] = {
        "data_dir": data_dir,
        "hostname": config.server.hostname or _machine_name(),
    }
    if config.store.url.startswith(forms.SQLITE):
        file = data_dir / config.store.url.removeprefix(forms.SQLITE)
        known["store"]["url"] = f"{forms.SQLITE}{file}"
    return config.model_copy(
        update={section: part.model_copy(update=known[section]) for section, part in config}
    )


def _machine_name() -> str:
    """The kernel's name for it: DNS could hang."""
    try:
        return forms.domain_name(socket.gethostname())
    except ValueError:
        return "localhost"
