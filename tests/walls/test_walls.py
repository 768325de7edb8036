"""The rules of the house that import-linter cannot see, and that its list forgets nobody."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

FRONT_ENDS = {"smtpin", "pop3d", "api", "collector"}
PURE = {"pop3d.engine", "pop3d.commands", "collector.plan"}

# The top of a session, a connection, a request or a run, where any fault becomes a temporary one.
MAY_CATCH_ALL = {
    "api/app.py",
    "collector/worker.py",
    "pop3d/connection.py",
    "smtpin/protocol.py",
    "store/upkeep.py",
    "store/writer.py",
}

SENDERS = ("smtplib", "aiosmtplib", "aiosmtpd.handlers")

# What opens a connection to somewhere, and the few that may: to our own listener, to the control
# socket of our own server, between its processes, to the database, to DNS servers, and to the
# filters that the configuration names. `collector/dial.py` alone connects to the outside.
CONNECTS = {
    *("connect", "connect_ex", "create_connection", "create_unix_connection"),
    *("open_connection", "open_unix_connection", "sock_connect"),
    *("ClientSession", "HTTPConnection", "HTTPSConnection", "POP3", "POP3_SSL", "urlopen"),
}
MAY_CONNECT = {
    *("collector/dial.py", "server/knock.py", "server/control.py", "server/anvil.py"),
    *("net/resolve.py", "net/lookup.py", "intake/screen.py"),
    *("bench/wire.py", "bench/peers.py"),  # to 127.0.0.1 alone
}

NOT_A_NAME = {
    "email.py",
    "mailbox.py",
    "types.py",
    "utils.py",
    "helpers.py",
    "common.py",
    "base.py",
}


def files() -> Iterator[Path]:
    """Every file of ours: not what tools, trials and virtual environments leave in the tree."""
    for folder, folders, names in os.walk(ROOT):
        here = Path(folder)
        folders[:] = [
            name
            for name in folders
            if (not name.startswith(".") or name == ".ci")
            and name not in {"__pycache__", "build", "restante-try", "restante"}
            and not name.endswith(".egg-info")
            and not (here / name / "pyvenv.cfg").exists()
        ]
        yield from (here / name for name in names)


FILES = sorted(path.relative_to(ROOT).as_posix() for path in files())
CODE = [path for path in FILES if path.endswith(".py") and not path.startswith("tests/")]
TREES = {path: ast.parse((ROOT / path).read_bytes(), filename=path) for path in CODE}
MODULES = {path.removesuffix(".py").replace("/", ".") for path in CODE}
PACKAGES = {path.split("/")[0] for path in CODE if "/" in path} - {"bench"}


def contract(identifier: str) -> dict[str, Any]:
    for each in PYPROJECT["tool"]["importlinter"]["contracts"]:
        if each["id"] == identifier:
            return dict(each)
    pytest.fail(f"pyproject.toml has no import-linter contract {identifier}")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a module imports, `from a import b` as a and as a.b."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield node.lineno, module
                yield from ((node.lineno, f"{module}.{name.name}") for name in names)


def catches_all(tree: ast.AST) -> Iterator[int]:
    """Lines that catch any fault and keep it; a clean-up that ends in `raise` keeps nothing."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(body=[*_, ast.Raise(exc=None)]):
                continue
            case ast.ExceptHandler(type=None, lineno=line):
                yield line
                continue
            case ast.ExceptHandler(type=ast.Tuple(elts=caught), lineno=line):
                named = caught
            case ast.ExceptHandler(type=ast.expr() as caught_one, lineno=line):
                named = [caught_one]
            case ast.Call(
                func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"),
                args=named,
                lineno=line,
            ):
                pass
            case _:
                continue
        names = {name.id for name in named if isinstance(name, ast.Name)}
        if names & {"Exception", "BaseException"}:
            yield line


def test_every_package_stands_behind_the_walls() -> None:
    linter = PYPROJECT["tool"]["importlinter"]
    assert set(linter["root_packages"]) == PACKAGES
    layers = re.findall(r"\w+", " ".join(contract("layers")["layers"]))
    assert sorted(layers) == sorted(PACKAGES)
    assert set(contract("wall-5")["modules"]) == PACKAGES & FRONT_ENDS
    assert set(contract("wall-6")["forbidden_modules"]) >= PACKAGES - {"mail"}
    assert set(contract("wall-9")["source_modules"]) == PACKAGES - {"server"}


def test_every_package_is_installed_and_is_a_package() -> None:
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"])
    assert {name for package in PACKAGES for name in (package, f"{package}.*")} <= listed
    assert not [name for name in PACKAGES if f"{name}/__init__.py" not in CODE]


def test_every_pure_module_stands_behind_wall_8_and_is_measured() -> None:
    assert set(contract("wall-8")["source_modules"]) == PURE & MODULES
    assert set(PYPROJECT["tool"]["coverage"]["run"]["source"]) == (PURE & MODULES) | {"mail"}


def test_the_vault_stands_behind_wall_12_from_the_day_it_exists() -> None:
    if "auth.vault" not in MODULES:  # import-linter refuses to name what does not exist
        return
    assert contract("wall-12")["source_modules"] == ["*"]
    assert contract("wall-12")["forbidden_modules"] == ["auth.vault"]
    assert set(contract("wall-12")["ignore_imports"]) == {
        "auth.** -> auth.vault",
        "collector.** -> auth.vault",
        "api.collectors -> auth.vault",
        "api.webhooks -> auth.vault",
        "server.collect_acts -> auth.vault",
    }


def test_nothing_imports_what_sends_mail() -> None:
    breaches = [
        f"{path}:{line}: {name}"
        for path, tree in TREES.items()
        for line, name in imported(tree)
        if any(name == sender or name.startswith(f"{sender}.") for sender in SENDERS)
    ]
    assert not breaches


def test_nothing_connects_to_anywhere_but_where_it_must() -> None:
    breaches = [
        f"{path}:{node.lineno}: {name}"
        for path, tree in TREES.items()
        if path not in MAY_CONNECT and not path.startswith(("store/", "bench/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (name := node.attr if isinstance(node, ast.Attribute) else node.id) in CONNECTS
    ]
    assert not breaches


def test_any_fault_is_caught_only_at_the_top() -> None:
    assert len(MAY_CATCH_ALL) <= 6
    breaches = [
        f"{path}:{line}"
        for path, tree in TREES.items()
        if path not in MAY_CATCH_ALL
        for line in catches_all(tree)
    ]
    assert not breaches


def test_an_init_file_holds_no_code() -> None:
    breaches = [
        f"{path}:{node.lineno}"
        for path, tree in TREES.items()
        if path.endswith("/__init__.py")
        for node in tree.body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    assert not breaches


def test_names_say_what_a_file_is_for() -> None:
    assert not [path for path in FILES if path.split("/")[-1] in NOT_A_NAME]


def test_work_left_to_do_is_not_kept_in_the_tree() -> None:
    mark = re.compile(r"\b[T]ODO\b|\b[F]IXME\b")  # written so that this line is none
    written = {".py", ".toml", ".md", ".txt", ".html", ".css", ".js", ".dialog"}
    breaches = [
        f"{path}:{number}"
        for path in FILES
        if Path(path).suffix in written or path == "Makefile"
        for number, line in enumerate((ROOT / path).read_text("utf-8").splitlines(), 1)
        if mark.search(line)
    ]
    assert not breaches


def test_serving_takes_along_nothing_that_only_looks_nice() -> None:
    """It would be 3 MiB of every process."""
    serve = [sys.executable, "-X", "importtime", "-c", _SERVE]
    done = subprocess.run(serve, cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"structlog.dev", "server.compose"} <= loaded
    assert not loaded & {"rich.console", "pygments"}


_SERVE = """
import sys
from server.start import main
sys.argv = ["restante", "version"]
try:
    main()
finally:
    import server.compose
"""


PIN = re.compile(r"([a-z0-9-]+)(?:\[([a-z0-9,-]+)\])?==([\w.]+)( ; [\w .'<>=!]+)? \\")


def locked(name: str) -> dict[str, str]:
    """Package to version, and a failure for a line that is neither a pin, a hash nor a comment."""
    pins = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        pin = PIN.fullmatch(line)
        if pin:
            pins[pin[1]] = pin[3]
        else:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?| *#.*", line), line
            assert not re.search(r"://| /|index|links", line), line
    return pins


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_an_extra_that_a_package_asks_for_is_in_its_pin(name: str) -> None:
    """pip takes a pin without it for another requirement, and looks for the newest release."""
    pins = filter(None, map(PIN.fullmatch, (ROOT / name).read_text("utf-8").splitlines()))
    pinned = {pin[1]: set(filter(None, (pin[2] or "").split(","))) for pin in pins}
    installed = {str(canonicalize_name(each.name)): each for each in distributions()}
    for package in pinned.keys() & installed.keys():
        for asked in map(Requirement, installed[package].requires or []):
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                assert asked.extras <= pinned.get(canonicalize_name(asked.name), set()), package


def test_the_pinned_lists_satisfy_the_project() -> None:
    project, groups = PYPROJECT["project"], PYPROJECT["dependency-groups"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    runtime, tests = locked("requirements.txt"), locked("requirements-dev.txt")
    assert runtime.items() <= tests.items()
    for pins, wanted in (
        (runtime, project["dependencies"] + groups["build"]),
        (tests, extras + groups["dev"]),
    ):
        for requirement in map(Requirement, wanted):
            assert requirement.specifier.contains(pins[requirement.name], prereleases=True)
