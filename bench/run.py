"""Restante beside Dovecot and Postfix, by turns in one run, as ratios.

    make bench                                      every row; it takes an hour
    make bench ARGS="--rows ingest-20,poll --rounds 3 --quick"
    make bench ARGS="--accept"                      the ratios become those of bench/baseline.json
    make bench ARGS="--store postgresql"            the same on another store, without targets

docs/performance.md says what each row means.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from bench import peers, rows, rows_stored, table
from bench.ours import Wish
from bench.rows import Row
from bench.store_load import program
from bench.table import Outcome, Sample
from bench.world import QUICK, NewStore, Sizes, World
from tests import databases

ROWS = [*rows.ROWS, *rows_stored.ROWS]
IN_MEMORY = {"tmpfs", "ramfs"}


def perform(row: Row, world: World, rounds: int) -> dict[str, list[Sample]]:
    """Each server once a round, in turn; every second round the other way about."""
    measures = row.begin(world)
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    for number in range(min(rounds, row.at_most)):
        names = list(measures)
        for name in names if number % 2 == 0 else reversed(names):
            samples[name].append(measures[name]())
    return samples


def main() -> None:
    options = _options()
    if lacking := peers.missing():
        raise SystemExit(f"not installed (bench/packages.txt): {' '.join(lacking)}")
    chosen = _chosen(options.rows)
    with _folder(options.folder) as folder, ExitStack() as stack:
        machine = described(folder)
        print("\n".join(f"{name}: {value}" for name, value in machine.items()))
        print(f"\n{table.head()}", flush=True)
        sizes = QUICK if options.quick else Sizes()
        world = World(folder, stack, sizes, _stores(options.store, stack))
        accepted = {} if options.quick else table.accepted(options.store)
        found: list[Outcome] = []
        for row in chosen:
            samples = perform(row, world, options.rounds)
            done = table.outcomes(row.figures, samples, judged=options.store == "sqlite")
            print("\n".join(table.line(outcome, accepted) for outcome in done), flush=True)
            found += done
    missed = [outcome.figure.name for outcome in found if outcome.met is False]
    print(f"\n{sum(outcome.met is True for outcome in found)} aims met, {len(missed)} missed")
    if options.details:
        options.details.write_text(json.dumps([asdict(outcome) for outcome in found], indent=1))
    if options.accept:
        table.accept(options.store, found, machine)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="", help="some of: " + ", ".join(r.name for r in ROWS))
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--store", default="sqlite", choices=["sqlite", "postgresql", "mariadb"])
    parser.add_argument("--folder", type=Path, help="where the servers' folders are made")
    parser.add_argument("--details", type=Path, help="a file for the outcomes, as JSON")
    parser.add_argument("--accept", action="store_true", help="write bench/baseline.json")
    options = parser.parse_args()
    if options.accept and options.quick:
        parser.error("small sizes show that it works, not what is to be kept")
    return options


def _chosen(names: str) -> list[Row]:
    wanted = [name for name in names.split(",") if name]
    known = {row.name: row for row in ROWS}
    if unknown := [name for name in wanted if name not in known]:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted] if wanted else ROWS


@contextmanager
def _folder(above: Path | None) -> Iterator[Path]:
    """On a real disk: what is measured is flushed."""
    with tempfile.TemporaryDirectory(prefix="restante-bench-", dir=above) as name:
        folder = Path(name)
        tempfile.tempdir = name  # of the database servers
        folder.chmod(0o755)  # other servers run as users of their own
        if file_system(folder) in IN_MEMORY:
            raise SystemExit(f"{folder} is in memory; name a folder on a disk with --folder")
        yield folder


def file_system(folder: Path) -> str:
    command = ["stat", "--file-system", "--format=%T", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def described(folder: Path) -> dict[str, str]:
    """The machine and the programs, as far as they matter."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = next((line for line in cpu.splitlines() if line.startswith("model name")), ":")
    return {
        "machine": f"{os.cpu_count()} x {model.partition(':')[2].strip()}, {file_system(folder)}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "dovecot": _version(["dovecot", "--version"]),
        "postfix": _version(["/usr/sbin/postconf", "-dh", "mail_version"]),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _version(command: list[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.split()[0] if done.stdout else "?"


def _stores(name: str, stack: ExitStack) -> NewStore:
    if name == "sqlite":
        return lambda _database: Wish()
    start = {"postgresql": databases.postgresql, "mariadb": databases.mariadb}[name]
    server = stack.enter_context(start(program))

    def new(database: str) -> Wish:
        assert server._process
        return Wish(url=server.url(database), database=(server._process.pid,))

    return new


if __name__ == "__main__":
    main()
