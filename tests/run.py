"""Run the checks one after the other, all of them even when one fails, and sum them up once.

    python tests/run.py test|interop|chroot|lint [arguments for pytest]

Exit status 0 only when every step succeeded. `test` leaves tests/interop to `interop` and
tests/chroot to `chroot`, and with arguments for pytest it does not judge coverage: a part of the
tests covers a part of the code.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


class Step(NamedTuple):
    name: str
    command: list[str]


class Done(NamedTuple):
    name: str
    succeeded: bool
    seconds: float


def tool(name: str, *arguments: str) -> list[str]:
    return [str(BIN / name), *arguments]


def debian(list_file: str) -> Step:
    return Step("debian packages", ["sh", "tests/install-packages", list_file])


AXE = Step("axe aside", ["sh", "tests/page/fetch", ".venv/aside/page"])

# A file of tests is one process's; each starts the database servers that its tests need.
# In the order of names the long ones, which have few tests, are not left to the end.
SHARED = ["--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile", "--no-loadscope-reorder"]
SHARED += ["--max-worker-restart=0"]  # a process that a hanging test has ended ends the run
APART = ["--ignore=tests/interop", "--ignore=tests/chroot"]
LINT = [
    Step("ruff check", tool("ruff", "check", "--quiet", ".")),
    Step("ruff format", tool("ruff", "format", "--check", "--quiet", ".")),
    Step("mypy --strict", tool("mypy", "--strict")),
    Step("lint-imports", tool("lint-imports", "--no-logo")),
]


def plan(what: str, arguments: list[str], result: Path) -> list[Step]:
    pytest = ["pytest", f"--junit-xml={result}"]
    match what:
        case "lint":
            return LINT
        case "interop":
            tests = Step("pytest", tool(*pytest, "tests/interop", *arguments))
            fetch = Step("mail programs aside", ["sh", "tests/interop/fetch", ".venv/aside"])
            return [debian("tests/packages-interop.txt"), fetch, tests]
        case "chroot":
            tests = Step("pytest", tool(*pytest, "tests/chroot", *arguments))
            make = Step("a Debian aside", ["sh", "tests/chroot/debian", ".venv/aside/debian"])
            return [debian("tests/packages-chroot.txt"), make, tests]
        case "test" if arguments:
            tests = Step("pytest", tool(*pytest, *SHARED, *APART, *arguments))
            return [debian("tests/packages.txt"), *LINT, AXE, tests]
        case "test":
            # Coverage fails it too when the pure parts are not covered whole.
            tests = Step("pytest", tool(*pytest, *SHARED, *APART, "--cov"))
            return [debian("tests/packages.txt"), *LINT, AXE, tests]
        case _:
            raise SystemExit(__doc__)


def perform(step: Step) -> Done:
    print(f"\n-- {step.name}", flush=True)
    start = time.monotonic()
    status = subprocess.run(step.command, cwd=ROOT, check=False).returncode
    return Done(step.name, status == 0, time.monotonic() - start)


def tests_told(result: Path) -> list[str]:
    """Each skipped test with its reason, then the counts in one line."""
    if not result.exists() or not result.stat().st_size:
        return ["pytest ended without a result"]
    passed = failed = 0
    skipped = []
    for case in ElementTree.parse(result).iter("testcase"):
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif skip is not None:
            name = f"{case.get('classname')}.{case.get('name')}"
            skipped.append(f"skipped  {name}: {skip.get('message')}")
        else:
            passed += 1
    return [*skipped, f"{passed} passed, {failed} failed, {len(skipped)} skipped"]


def main(what: str, *arguments: str) -> int:
    if what == "interop" and not list(ROOT.glob("tests/interop/**/test_*.py")):
        print("tests/interop holds no tests yet")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "pytest.xml"
        done = [perform(step) for step in plan(what, list(arguments), result)]
        told = tests_told(result) if what != "lint" else []
    print("\n-- summary")
    for name, succeeded, seconds in done:
        print(f"{'ok' if succeeded else 'FAILED':8} {name:20} {seconds:6.1f} s")
    print("\n".join(told))
    return 0 if all(step.succeeded for step in done) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*(sys.argv[1:] or [""])))
    except KeyboardInterrupt:
        sys.exit(130)
