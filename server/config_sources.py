"""Where a configuration comes from: the file, how it is found, and the environment.

What they hold is handed on as TOML's types, unjudged; config.py knows the keys.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from server.config_forms import shown

PREFIX: Final = "RESTANTE_"
CONFIG_VARIABLE: Final = "RESTANTE_CONFIG"
Source = Literal["default", "file", "environment"]
SYSTEM_CONFIG: Final = Path("/etc/restante/config.toml")


@dataclass(frozen=True, slots=True)
class Fault:
    """One complaint. `value` is as found, masked; empty where it is better not told."""

    key: str
    value: str
    problem: str
    accepted: str
    variable: str = ""  # the environment variable that set it

    def __str__(self) -> str:
        found = f"{self.key} = {self.value}" if self.value else self.key
        source = f" ({self.variable})" if self.variable else ""
        return f"{found}{source} {self.problem}; accepted: {self.accepted}"


class ConfigFaults(Exception):
    """All that is wrong with a configuration, one `Fault` each."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Found:
    """Section to name to value, the source of each key that is set, and what could not be read."""

    tables: dict[str, Any]
    sources: dict[str, Source]
    faults: list[Fault]


def find(
    explicit: Path | None,
    environ: Mapping[str, str],
    *,
    cwd: Path,
    trial_running: Callable[[Path], bool],
    system: Path = SYSTEM_CONFIG,
) -> Path | None:
    """The file to load; None: there is none, and the defaults hold.

    A file that is asked for by name is returned whether it exists or not. `trial_running` is
    given the folder of a trial.
    """
    if explicit or environ.get(CONFIG_VARIABLE):
        return cwd / (explicit or environ[CONFIG_VARIABLE])
    trial = cwd / "restante-try"
    if trial_running(trial):
        return trial / "config.toml"
    return next((path for path in (cwd / "config.toml", system) if _is_there(path)), None)


def gather(path: Path | None, environ: Mapping[str, str], defaults: Mapping[str, object]) -> Found:
    """What the file says and, before it, the environment. `defaults` are all known keys."""
    found = Found({}, {}, [])
    if path:
        try:
            found.tables.update(_tables(path))
        except _Unreadable as error:
            found.faults.append(Fault(str(path), "", error.problem, error.accepted))
    for section, table in found.tables.items():
        if isinstance(table, dict):
            found.sources.update({f"{section}.{name}": "file" for name in table})
    variables = {variable_of(key): key for key in defaults}
    for variable in sorted(environ):
        if key := variables.get(variable):
            section, name = key.split(".")
            table = found.tables.setdefault(section, {})
            if isinstance(table, dict):
                table[name] = _typed(environ[variable], defaults[key])
                found.sources[key] = "environment"
        elif variable.startswith(PREFIX) and "__" in variable:
            known = closest(variable.upper(), variables)
            found.faults.append(Fault(safe_name(variable), "", "names no key", known))
    return found


def variable_of(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def closest(name: str, known: Iterable[str]) -> str:
    best = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.0)[0]
    return f"{best} (the closest known one)"


def safe_name(name: str) -> str:
    """A name that somebody made up, fit for a complaint."""
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name) else shown(name)


class _Unreadable(Exception):
    def __init__(self, problem: str, accepted: str) -> None:
        self.problem = problem
        self.accepted = accepted


def _tables(path: Path) -> dict[str, Any]:
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror}", "a file that can") from error
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise _Unreadable(f"is not UTF-8 (at line {line})", "a TOML file in UTF-8") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        lines = text.split("\n")
        end = f"(at line {len(lines)}, column {len(lines[-1]) + 1})"
        reason = str(error).replace("(at end of document)", end)
        raise _Unreadable(
            f"is not TOML: {reason}", "[section] lines, and below each name = value"
        ) from error


def _typed(text: str, default: object) -> object:
    """A variable's text as the type its key has; one that does not fit stays for the complaint."""
    if isinstance(default, int) and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if isinstance(default, tuple):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # load will say so; defaults that nobody asked for would not
        return True
