"""What must hold: functions from what was seen to the list of what did not, one line each. No I/O."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.soak.faults import Disruption
from tests.soak.plan import POOLS, SHORT, full
from tests.soak.traffic import Sent
from tests.soak.watch import Books, Turn
from tests.soak.world import moment

EXPECTED_ERRORS = frozenset({"store is away"})  # in the log, of a Redis that comes and goes

OUTAGES = ('"store_unavailable"', '"late"')  # the codes of a 503 that is about Redis or a replica that was stopped
WRITTEN = 0.1  # of the clients that leave early: more than a hundred times what it is

Excused = Callable[[Sent], Sequence[Disruption]]


def under(disruptions: Sequence[Disruption]) -> Excused:
    """A function that tells which faults concerned a request."""
    return lambda sent: [disruption for disruption in disruptions if disruption.concerns(sent)]


# --- what clients were told ------------------------------------------------------------------------------


def answers(sent: Iterable[Sent], excused: Excused, closed: frozenset[int]) -> Iterator[str]:
    """Every answer that is not allowed. `closed`: the provider's arrivals whose answers it cut by itself."""
    for one in sent:
        why = _wrong(one, excused, closed)
        if why:
            faults = ", ".join(f"{of.kind} at {of.began:.1f}" for of in excused(one)) or "no fault"
            what = f"{one.kind} to {one.replica.name}, {one.began:.1f} to {one.ended:.1f}: {one.end} {one.text}"
            yield f"{why}: {what} (amid {faults})"


def _wrong(one: Sent, excused: Excused, closed: frozenset[int]) -> str:
    """Why this end is not allowed; "" for one that is."""
    amid = {of.kind for of in excused(one)}
    if one.kind == "bad" and isinstance(one.end, int):
        return "" if one.end == 400 else "a bad request is not told so"
    if one.end == 200:
        return "" if one.granted and one.arrival is not None else "a 200 without a grant or a body"
    if one.end in {429, 503}:
        told = (one.retry_after or "").isdecimal() and int(one.retry_after or 0)
        excusable = one.end == 429 or (amid - {"kill"} and any(code in one.text for code in OUTAGES))
        return "" if told and excusable else "no outage, or no Retry-After"
    broke = one.end in {"broken", "cut"} and ("kill" in amid or (one.end == "cut" and one.arrival in closed))
    return "" if broke or one.end == "left" else "not allowed"


# --- grants ----------------------------------------------------------------------------------------------


def numbers(sent: Iterable[Sent], grants: Mapping[Turn, Sequence[str]], arrived: Sequence[str]) -> Iterator[str]:
    """Each grant and each arrival is one client's, and the key of all three is the same. `arrived`: each one's key."""
    seen: Counter[object] = Counter()
    for one in sent:
        if one.granted is not None:
            pool, model, number, key = one.granted
            seen[one.granted[:3]] += 1
            given = grants.get((pool, model), ())
            if number >= len(given) or given[number] != key:
                yield f"an answer names grant {number} of {pool}/{model} and key {key}, which Redis did not give"
        if one.granted is not None and one.arrival is not None:
            seen[one.arrival] += 1
            if arrived[one.arrival] != one.granted.key:
                yield f"arrival {one.arrival} came with {arrived[one.arrival]}, its answer names {one.granted.key}"
    yield from (f"{what} was answered to {count} clients" for what, count in seen.items() if count > 1)


def balance(before: Mapping[str, Books], after: Mapping[str, Books], allowed: int) -> Iterator[str]:
    """One arrival is one grant. What is neither sent nor given back is lost: no more than `allowed` may be."""
    for key, books in after.items():
        if books.unsent < before[key].unsent:
            yield f"{key}: more arrivals than grants: {books}, before {before[key]}"
    lost = sum(books.unsent - before[key].unsent for key, books in after.items())
    if lost > allowed:
        yield f"{lost} grants lost where at most {allowed} may be: {dict(after)}, before {dict(before)}"


def unanswered(sent: Iterable[Sent], excused: Excused) -> int:
    """How many requests may have left a grant behind that nobody gave back: they got no answer, or that Redis was away.

    A replica that is killed gives nothing back, and what is given back while Redis is away stays counted. Of clients
    that leave where nothing is wrong only those count that leave in the very moment in which their request is written.
    """
    without = [one for one in sent if one.end not in {200, 400, 429} and one.arrival is None]
    amid = sum(bool(excused(one)) for one in without)
    return amid + math.ceil((len(without) - amid) * WRITTEN)


def totals(told: Mapping[str, Any], grants: Mapping[Turn, Sequence[str]]) -> Iterator[str]:
    """`sidecar status` knows as many grants as were seen."""
    for pool, status in told["pools"].items():
        for model, number in status["grants"].items():
            if number != len(grants.get((pool, model), ())):
                yield f"status tells {number} grants of {pool}/{model}, seen were {len(grants.get((pool, model), ()))}"


# --- budgets ---------------------------------------------------------------------------------------------


def exceeded(violations: Iterable[Any], names: Mapping[str, str]) -> Iterator[str]:
    """What the provider counted as it came."""
    for found in violations:
        arrival = found["arrival"]
        at_s = moment(arrival["at_ns"])
        yield f"over budget: {names[arrival['key']]} at {at_s:.3f}, {found['held']} held of {found['budget']}"


def excess(peaks: Iterable[Any], names: Mapping[str, str]) -> Iterator[str]:
    """What it counted again afterwards, over all arrivals."""
    for peak in peaks:
        yield f"over budget: {names.get(peak['account'], peak['account'])}: {peak['held']} held of {peak['budget']}"


def spent(told: Mapping[str, Any]) -> Iterator[str]:
    """Budgets that are not full, as `sidecar status` tells them: none may be, once every window has passed."""
    for pool, status in told["pools"].items():
        for key in status["keys"]:
            used = [budget for budget in key["budgets"] if budget["used"]]
            if used:
                yield f"{pool}/{key['id']} has not got all of its budget back: {used}"


def resting(told: Mapping[str, Any]) -> Iterator[str]:
    """Keys that rest, likewise."""
    for pool, status in told["pools"].items():
        for key in status["keys"]:
            if key["cooldowns"]:
                yield f"{pool}/{key['id']} still rests: {key['cooldowns']}"


def bursts(pool: str, sent: Sequence[Sent]) -> Iterator[str]:
    """A burst on full budgets is granted what they allow, all of it and no more."""
    ends = Counter(one.end for one in sent)
    if ends != {200: full(pool), 429: len(sent) - full(pool)}:
        yield f"a burst on pool {pool} came to {dict(ends)} instead of {full(pool)} times 200, else 429"
    by_account: Counter[str] = Counter()
    for one in sent:
        if one.end == 200 and one.granted:
            by_account[POOLS[pool][one.granted.key] or one.granted.key] += 1
    if any(count != SHORT.max for count in by_account.values()):
        yield f"a burst on pool {pool} used {dict(by_account)} of {SHORT.max} each"


# --- replicas --------------------------------------------------------------------------------------------


def log_lines(name: str, text: str) -> Iterator[str]:
    """Errors and tracebacks, and lines that are not the sidecar's own, in one replica's log."""
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            yield f"{name} says {line[:300]!r}"
            continue
        if "traceback" in told or (told["level"] == "error" and told["msg"] not in EXPECTED_ERRORS):
            yield f"{name} logs {line[:2000]}"


def grown(name: str, unit: str, before: float, after: float, slack: float) -> Iterator[str]:
    """A quarter as much again, and `slack`, is not growth."""
    if after > 1.25 * before + slack:
        yield f"{name}: {unit} grew from {before:.0f} to {after:.0f}"
