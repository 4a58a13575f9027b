"""The bench's command: sidecar, floor and upstream alone, interleaved, as ratios beside the aims.

    python -m tests.bench                 some ten minutes
    python -m tests.bench --quick         two minutes, and rougher
    python -m tests.bench --json FILE     every round as data, too

Ratios matter: absolute numbers are this machine's. It binds to loopback only, and wants redis-server, wrk, nginx,
taskset and two cores; it says what is missing and what that changes.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson

from tests.bench import load, stage
from tests.bench.measure import measure
from tests.bench.table import tables

IDLE = 0.7  # load of a machine that does nothing else; more than that takes turns with what is measured


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _missing() -> Iterator[str]:
    """What this machine lacks, and what it does to the numbers."""
    if not load.has_wrk():
        yield "wrk is not installed: a slower client in Python makes every proxy look alike"
    if not stage.has_nginx():
        yield "nginx is not installed: the simulated provider is the slowest part, and counts every request"
    if not stage.pinned(0):
        yield "taskset is not installed: nothing is kept to one core"
    if len(os.sched_getaffinity(0)) < 2:
        yield "there is one core only: the client takes it from the proxy"
    if (busy := os.getloadavg()[0]) > IDLE:
        yield f"the machine is busy (load {busy:.1f}): of the ratios trust CPU's, and take more rounds"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s a load instead of 5 of 3 s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each load")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round as JSON")
    given = parser.parse_args()
    rounds = given.rounds or (2 if given.quick else 5)
    seconds = given.seconds or (1.0 if given.quick else 3.0)
    missing = list(_missing())
    for what in missing:
        _say(f"warning: {what}")
    with tempfile.TemporaryDirectory() as folder, stage.stage(Path(folder)) as built:
        results = measure(built, rounds, seconds, _say)
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {rounds} rounds of {seconds:g} s a load"
    sys.stdout.write(f"{machine}\n\n{tables(results)}\n")
    if given.json:
        about = {"python": platform.python_version(), "cores": os.cpu_count(), "rounds": rounds, "seconds": seconds}
        given.json.write_bytes(orjson.dumps({**about, "missing": missing, **results.as_json()}))


if __name__ == "__main__":
    main()
