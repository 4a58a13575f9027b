"""What a run has shown, as text: the loads, the processes at rest, and the aims beside what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.load import Load
from tests.bench.measure import DIRECT, FLOOR, FLOOR_REDIS, LOADS, SHAPES, SIDECAR, Results

THROUGHPUT = 0.75  # of the floor's, on one core
ADDED_MS = 1.0  # to the median at low load
FIRST_ANSWER_S = 1.0
AT_REST_MIB = 70.0

COMPARED = ("req/s : floor", ": floor+redis", "CPU : floor", "added ms")  # medians over the ratios of each round
SEEN = {"per_second": ".0f", "cpu_ms": ".3f", "median_ms": ".2f", "p99_ms": ".2f"}
LOAD_HEAD = ("load", "target", "req/s", "CPU ms", "median ms", "p99 ms", *COMPARED)
REST_HEAD = ("target", "first answer s", "RSS MiB", "PSS MiB", "RSS after load MiB")


def tables(results: Results) -> str:
    """Everything, in Markdown that reads as text too."""
    loads, rests, aims = _loads(results), _rests(results), _aims(results)
    parts = [_aligned(LOAD_HEAD, loads), _aligned(REST_HEAD, rests), _aligned(("aim", "measured", ""), aims)]
    return "\n\n".join(parts)


def _loads(results: Results) -> list[tuple[str, ...]]:
    return [
        (load.name, target, *_seen(results, load, target), *_compared(results, load, target))
        for load in LOADS
        for target in results.points
    ]


def _seen(results: Results, load: Load, target: str) -> list[str]:
    texts = {field: format(results.middle(target, load, field), form) for field, form in SEEN.items()}
    return [*(texts | ({"cpu_ms": ""} if target == DIRECT else {})).values()]


def _compared(results: Results, load: Load, target: str) -> tuple[str, ...]:
    """Under COMPARED; a floor is not compared with itself, nor the direct way with either."""
    if target in {DIRECT, FLOOR}:
        return ("",) * len(COMPARED)
    speed, cpu = (f"{results.ratio(target, load, field):.2f}" for field in ("per_second", "cpu_ms"))
    counted = "" if target == FLOOR_REDIS else f"{results.ratio(target, load, 'per_second', FLOOR_REDIS):.2f}"
    return speed, counted, cpu, f"{results.added(target, load, 'median_ms'):+.2f}"


def _rests(results: Results) -> list[tuple[str, ...]]:
    fields = {"first_answer_s": ".2f", "rss_mib": ".1f", "pss_mib": ".1f", "rss_after_mib": ".1f"}
    return [
        (target, *(format(results.rest(target, field), form) for field, form in fields.items()))
        for target in results.rests
    ]


def _aims(results: Results) -> list[tuple[str, str, str]]:
    return [(aim, measured, "met" if met else "MISSED") for aim, measured, met in _judged(results)]


def _judged(results: Results) -> Iterator[tuple[str, str, bool]]:
    """Each aim, what came of it, and whether it is met."""
    for shape in SHAPES:
        busy = [load for load in LOADS if load.shape == shape and load.concurrency > 1]
        for load in busy:
            speed = results.ratio(SIDECAR, load, "per_second")
            yield f"{load.name}: {THROUGHPUT:.2f} of the floor's throughput", f"{speed:.2f}", speed >= THROUGHPUT
        low = next(load for load in LOADS if load.shape == shape and load.pause_ms)
        added = results.added(SIDECAR, low, "median_ms")
        yield f"{low.name}: less than {ADDED_MS:g} ms added to the median", f"{added:.2f} ms", added < ADDED_MS
    first, rss = results.rest(SIDECAR, "first_answer_s"), results.rest(SIDECAR, "rss_mib")
    yield f"first answer within {FIRST_ANSWER_S:g} s", f"{first:.2f} s", first < FIRST_ANSWER_S
    yield f"at most {AT_REST_MIB:g} MiB at rest", f"{rss:.1f} MiB", rss <= AT_REST_MIB


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in lines
    )
