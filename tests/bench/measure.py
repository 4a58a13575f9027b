"""Rounds of the bench: every proxy started anew, then each load on each of them in turn.

What changes on the machine in the meantime meets all of them: a ratio is the median over the ratios of the rounds,
never one of medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.bench.load import Load
from tests.bench.stage import Process, Stage

DIRECT = "direct"  # no proxy: the upstream itself
FLOOR, FLOOR_REDIS = "floor", "floor+redis"
SIDECAR = "sidecar"
SETTLE_S = 1.0  # between the first answer and the look at memory at rest
SHAPES = ("plain", "stream")
LOADS = tuple(Load(shape, *how) for shape in SHAPES for how in ((1, 5), (1,), (16,), (64,)))
WARM_UP = Load("plain", 16)


@dataclass(frozen=True, slots=True)
class Point:
    """One load on one target in one round. `cpu_ms` of the proxy for each request; 0 for `direct`."""

    per_second: float
    cpu_ms: float
    median_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Rest:
    """A proxy at rest in one round: seconds to its first answer, then MiB, and MiB after the loads."""

    first_answer_s: float
    rss_mib: float
    pss_mib: float
    rss_after_mib: float


@dataclass(frozen=True, slots=True)
class Results:
    """Every round, by target and load."""

    points: dict[str, dict[str, list[Point]]]
    rests: dict[str, list[Rest]]

    def middle(self, target: str, load: Load, field: str) -> float:
        return float(median(getattr(point, field) for point in self.points[target][load.name]))

    def rest(self, target: str, field: str) -> float:
        return float(median(getattr(rest, field) for rest in self.rests[target]))

    def ratio(self, target: str, load: Load, field: str, to: str = FLOOR) -> float:
        """To the floor of the same round."""
        return median(theirs / floor for theirs, floor in self._pairs(target, load, field, to))

    def added(self, target: str, load: Load, field: str) -> float:
        """Beyond the floor of the same round."""
        return median(theirs - floor for theirs, floor in self._pairs(target, load, field, FLOOR))

    def _pairs(self, target: str, load: Load, field: str, to: str) -> Iterator[tuple[float, float]]:
        floors = self.points[to][load.name]
        for theirs, floor in zip(self.points[target][load.name], floors, strict=True):
            yield getattr(theirs, field), getattr(floor, field)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(stage: Stage, rounds: int, seconds: float, say: Callable[[str], None]) -> Results:
    """All rounds; `say` is told how far it is."""
    names = list(stage.commands())
    points = {target: {load.name: list[Point]() for load in LOADS} for target in (DIRECT, *names)}
    results = Results(points, {name: [] for name in names})
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        _round(stage, seconds, results)
    return results


def _round(stage: Stage, seconds: float, results: Results) -> None:
    question = stage.body("plain").read_bytes()
    with ExitStack() as stack:
        targets: dict[str, Process] = {DIRECT: stage.upstream}
        first: dict[str, tuple[float, tuple[float, float]]] = {}
        for name in results.rests:
            targets[name] = stack.enter_context(stage.proxy(name))
            answered_s = targets[name].first_answer_s(question)
            time.sleep(SETTLE_S)
            first[name] = answered_s, targets[name].memory_mib()
            stage.run(targets[name], WARM_UP, 1)
        for load in LOADS:
            for name, target in targets.items():
                results.points[name][load.name].append(_point(stage, target, load, seconds, name == DIRECT))
        for name, (answered_s, (rss, pss)) in first.items():
            results.rests[name].append(Rest(answered_s, rss, pss, targets[name].memory_mib()[0]))


def _point(stage: Stage, target: Process, load: Load, seconds: float, direct: bool) -> Point:
    before = target.cpu_s()
    sample = stage.run(target, load, seconds)
    cpu_ms = 0.0 if direct else (target.cpu_s() - before) * 1000 / sample.requests
    return Point(sample.per_second, cpu_ms, sample.median_ms, sample.p99_ms)
