"""What must hold: functions from what was seen to the list of what did not, one line each. No I/O."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, takewhile
from typing import Any

from sidecar.simulate import recount
from sidecar.simulate.budgets import Arrival, Budget
from tests.soak.belonging import forgotten
from tests.soak.faults import Disruption, Excused
from tests.soak.outages import Outage, concerned
from tests.soak.pools import DAILY, POOLS, SHARE, SHORT, Pool, full
from tests.soak.routes import FRAIL, MASKED, SHARED
from tests.soak.traffic import Sent
from tests.soak.watch import Books, Turn
from tests.soak.world import moment

EXPECTED_ERRORS = frozenset({"store is away"})  # in the log, of a Redis that comes and goes

# What a 503 says that is about Redis, or about a replica that was stopped; not every dialect has a place for a code.
OUTAGES = ("The sidecar's Redis cannot answer", "Connections are slower than the budgets' guard")
# How a stream tells that it broke: one that the provider hung up on, and one of which it said nothing more.
CLOSED, STALLED = ("The provider's stream broke off",), ("The provider's stream stalled",)
WRITTEN = 0.1  # of the clients that leave early: more than a hundred times what it is


# --- what clients were told ------------------------------------------------------------------------------


Broken = Mapping[int, Sequence[str]]  # of the provider's arrivals that did not end well, what streams may say of it


def answers(sent: Iterable[Sent], excused: Excused, broken: Broken, dead: Sequence[Outage]) -> Iterator[str]:
    """Every answer that is not allowed."""
    for one in sent:
        why = "" if _of_the_dead(one, dead) or forgotten(one, excused) else _wrong(one, excused, broken)
        if why:
            faults = ", ".join(f"{of.kind} at {of.began:.1f}" for of in excused(one)) or "no fault"
            what = f"{one.kind} {one.tag} for {one.asked or 'none'} to {one.replica.name}, "
            what += f"{one.began:.1f} to {one.ended:.1f}: {one.end} {one.text}"
            yield f"{why}: {what} (amid {faults})"


def _wrong(one: Sent, excused: Excused, broken: Broken) -> str:
    """Why this end is not allowed; "" for one that is."""
    amid = {of.kind for of in excused(one)}
    if one.kind == "bad" and isinstance(one.end, int):
        return "" if one.end == 400 else "a bad request is not told so"
    if one.end == 200:
        return "" if _shows(one) else "a 200 without a grant or a body"
    if one.end in {429, 503}:
        told = one.is_signed or ((one.retry_after or "").isdecimal() and int(one.retry_after or 0))
        excusable = one.end == 429 or (amid - {"kill"} and any(code in one.text for code in OUTAGES))
        return "" if told and excusable else "no outage, or no Retry-After"
    broke = _may_break(one, broken) or (one.end in {"broken", "cut"} and "kill" in amid)
    return "" if broke or one.end == "left" else "not allowed"


def _may_break(one: Sent, broken: Broken) -> bool:
    """Whether its provider hung up on it, or said nothing more."""
    may_say = broken.get(-1 if one.arrival is None else one.arrival, ())
    return bool(may_say) if one.end == "cut" else one.end == "told" and any(text in one.text for text in may_say)


def _shows(one: Sent) -> bool:
    """Whether a 200 says where it came from: of what a cache had, and what began in time, its headers do not."""
    if one.kind in {"made", "uses"}:
        return one.granted is not None
    return bool(one.granted or one.is_signed or one.cache == "hit") and one.arrival is not None


def _of_the_dead(one: Sent, dead: Sequence[Outage]) -> bool:
    """Whether it is an error that a provider explains which is dead, or of which nobody knows yet that it lives.

    The shared route ends with what its last target says: where that is the dead one, and the other one has failed once.
    """
    return one.end in {500, 502, 503} and concerned(one, dead) and (one.asked != SHARED or bool(one.attempts))


def masked(sent: Iterable[Sent]) -> Iterator[str]:
    """Answers of routes that call their model as the caller did, where they do not."""
    for one in sent:
        if one.asked in MASKED and one.called - {one.asked}:
            yield f"{one.tag} asked for {one.asked}, its answer says {sorted(one.called)}"


def attempted(sent: Iterable[Sent], arrivals: Sequence[Mapping[str, Any]], excused: Excused) -> Iterator[str]:
    """Answers that count other attempts than came to the provider: what was refused before a send must not come."""
    came = Counter(one["tag"] for one in arrivals)
    for one in sent:
        if one.attempts is not None and came[one.tag] != one.attempts and not excused(one):
            yield f"{one.tag}: {one.end} after {one.attempts} attempts, {came[one.tag]} came to the provider {one.text}"
        if not one.attempts and one.end in {400, 429} and not one.is_signed and came[one.tag]:
            yield f"{one.tag} was refused unsent with {one.end}, and came to the provider"


# --- grants ----------------------------------------------------------------------------------------------


def numbers(
    sent: Iterable[Sent], grants: Mapping[Turn, Sequence[str]], arrived: Sequence[str], models: Sequence[str]
) -> Iterator[str]:
    """Each grant and each arrival is one client's, and the key and the model of all three are the same. `arrived`: each
    one's key.

    Of two configs each has its own numbers, and an answer does not tell whose.
    """
    seen: Counter[object] = Counter()
    for one in sent:
        if one.granted is not None:
            pool, model, number, key = one.granted
            seen[one.granted] += 1
            given = [keys[number] for keys in _turns(grants, pool, model) if number < len(keys)]
            if seen[one.granted] > given.count(key):
                yield f"an answer names grant {number} of {pool}/{model} and key {key}, which Redis did not give again"
        if one.granted is not None and one.arrival is not None:
            seen[one.arrival] += 1
            if arrived[one.arrival] != one.granted.key:
                yield f"arrival {one.arrival} came with {arrived[one.arrival]}, its answer names {one.granted.key}"
            if models[one.arrival] != one.granted.model:
                yield f"arrival {one.arrival} was for {models[one.arrival]}, its answer names {one.granted.model}"
            if seen[one.arrival] > 1:
                yield f"arrival {one.arrival} was answered to {seen[one.arrival]} clients"


def _turns(grants: Mapping[Turn, Sequence[str]], pool: str, model: str) -> list[Sequence[str]]:
    """Of every config."""
    return [keys for (of, _, name), keys in grants.items() if (of, name) == (pool, model)]


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
    without = [one for one in sent if one.end not in {200, 400, 429} and one.arrival is None and one.asked not in FRAIL]
    amid = sum(bool(excused(one)) for one in without)
    return amid + math.ceil((len(without) - amid) * WRITTEN)


def totals(told: Mapping[str, Any], grants: Mapping[Turn, Sequence[str]]) -> Iterator[str]:
    """`sidecar status` knows as many grants as were seen."""
    for pool, status in told["pools"].items():
        for model, number in status["grants"].items():
            seen = list(map(len, _turns(grants, pool, model)))
            if number not in seen:
                yield f"status tells {number} grants of {pool}/{model}, seen were {seen} by config"


def reloaded(grants: Mapping[Turn, Sequence[str]]) -> Iterator[str]:
    """Pools that were never served by the other config, though replicas were told it."""
    for pool in ("chat", "heavy", "spare"):
        if len({digest for of, digest, model in grants if of == pool and model == POOLS[pool].model}) < 2:
            yield f"pool {pool} was never served by another config than the first"


def turns(pool: str, sent: Sequence[Sent]) -> Iterator[str]:
    """Requests one after the other, while every key has room, are granted as the pool's strategy says."""
    keys = [one.granted.key for one in sent if one.granted and one.end == 200]
    if len(keys) != len(sent) or not _in_turn(POOLS[pool], keys):
        ends = dict(Counter(str(one.end) for one in sent))
        yield f"pool {pool}, {POOLS[pool].strategy}, gave {' '.join(keys)} and answered {ends}"


def _in_turn(pool: Pool, keys: Sequence[str]) -> bool:
    """Of those that take turns from the second round on: a key that was stepped over keeps one turn.

    Who was used less than the other catches up, and then they alternate.
    """
    weights = Counter({name: key.weight for name, key in pool.keys.items()})
    size = weights.total()
    match pool.strategy:
        case "round_robin" | "weighted":
            return all(Counter(keys[at : at + size]) == weights for at in range(size, len(keys) - size + 1))
        case "least_used":
            behind = list(takewhile(lambda key: key == keys[0], keys))
            return all(one != other for one, other in pairwise(keys[len(behind) :]))
        case _:
            return set(keys) == {next(iter(pool.keys))}


# --- budgets ---------------------------------------------------------------------------------------------


LET_GO_S = 0.15  # after a replica goes on, in which what it was about to write is written


def dated(
    sent: Iterable[Sent], arrivals: Iterable[Mapping[str, Any]], disruptions: Iterable[Disruption]
) -> list[Mapping[str, Any]]:
    """The arrivals, and what its replica was stopped with in hand as if it had come then; what it was granted right
    after that too, so that a budget is exceeded only where it is without this as well.

    Between its last look at a grant's time and its write to the socket a process may be stopped for any time: to the
    provider that is a network that delays what was sent.
    """
    replicas = {one.tag: one.replica for one in sent}
    stops = [one for one in disruptions if one.kind == "stop"]
    found: list[Mapping[str, Any]] = []
    for arrival in arrivals:
        at_s = moment(arrival["at_ns"])
        of = (one for one in stops if one.replica is replicas.get(arrival["tag"]))
        stop = next((one for one in of if one.ended <= at_s <= one.ended + LET_GO_S), None)
        late_s = at_s - stop.began if stop else 0.0
        found.append({**arrival, "at_ns": arrival["at_ns"] - round(late_s * 1e9)})
    return found


def excess(peaks: Iterable[Any], arrivals: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[str]:
    """What the provider counted beyond budgets, over all arrivals. `arrivals`: as `dated` has them."""
    for peak in peaks:
        budget = Budget(**peak["budget"])
        own = [_arrival(one, one["account"], one["model"]) for one in arrivals if one["account"] == peak["account"]]
        held = recount.fullest(own, budget, epoch_ns=0) if budget.window_s else peak["held"]
        if held > budget.max:
            yield f"over budget: {names.get(peak['account'], peak['account'])}: {held} held of {budget}"


def _arrival(one: Mapping[str, Any], account: str, model: str = "") -> Arrival:
    read, written = one["input"], one["output"]
    return Arrival(one["at_ns"], one["method"], one["path"], account=account, model=model, input=read, output=written)


def total_excess(
    arrivals: Sequence[Mapping[str, Any]], dated: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> Iterator[str]:
    """Of pools as a whole, which the provider does not know: every arrival as if all its keys were one account."""
    for name, pool in POOLS.items():
        for total in pool.total:
            own = (
                [_arrival(one, name) for one in them if names[one["key"]] in pool.keys] for them in (arrivals, dated)
            )
            held = min(recount.fullest(them, total, epoch_ns=0) for them in own)
            if held > total.max:
                yield f"over the total of pool {name}: {held} held of {total}"


def midnight(arrivals: Iterable[Mapping[str, Any]], names: Mapping[str, str], at_s: float) -> Iterator[str]:
    """Keys with a budget of a day that were not used on both sides of the midnight: then nothing was shown of it."""
    sides = Counter((names.get(one["key"]), moment(one["at_ns"]) >= at_s) for one in arrivals)
    for key in DAILY:
        if not sides[key, False] or not sides[key, True]:
            yield f"{key} had {sides[key, False]} arrivals before midnight and {sides[key, True]} after it"


def leaked(leases: Mapping[str, int], why: str) -> Iterator[str]:
    """Requests that count as in flight when none is."""
    for key, count in leases.items():
        yield f"{count} requests of the account of {key} count as in flight {why}"


def settled(pool: str, told: Mapping[str, Any], arrivals: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Budgets of tokens in which something else is counted than what the provider counted of these arrivals."""
    spent: Counter[tuple[str, str]] = Counter()
    for one in arrivals:
        for unit, cost in (("tokens", one["input"] + one["output"]), ("input_tokens", one["input"])):
            spent[one["account"], unit] += cost
    for key in told["pools"][pool]["keys"]:
        for budget in key["budgets"]:
            cost = spent[POOLS[pool].account(key["id"]), budget["unit"]]
            if "tokens" in budget["unit"] and budget["used"] != cost:
                yield f"{pool}/{key['id']} counts {budget['used']} {budget['unit']}, the provider {cost}"


def spent(told: Mapping[str, Any]) -> Iterator[str]:
    """Budgets that are not full, as `sidecar status` tells them: none may be, once every window but a day is past."""
    for pool, status in told["pools"].items():
        for key in status["keys"]:
            used = [budget for budget in key["budgets"] if budget["used"] and "calendar" not in budget["per"]]
            if used:
                yield f"{pool}/{key['id']} has not got all of its budget back: {used}"
        if any(total["used"] for total in status["total"]):
            yield f"pool {pool} has not got all of its total back: {status['total']}"


def resting(told: Mapping[str, Any]) -> Iterator[str]:
    """Keys and pools that rest, and keys that are disabled, likewise."""
    for pool, status in told["pools"].items():
        if status["cooldowns"]:
            yield f"pool {pool} still rests: {status['cooldowns']}"
        for key in status["keys"]:
            if key["cooldowns"]:
                yield f"{pool}/{key['id']} still rests: {key['cooldowns']}"
            if not key["enabled"]:
                yield f"{pool}/{key['id']} is still disabled"


def bursts(pool: str, batch: Sequence[Sent], others: Sequence[Sent]) -> Iterator[str]:
    """On full budgets a burst of batch leaves its share, which one of interactive callers gets whole."""
    first, both = full(pool, SHARE), full(pool)
    for sent, wanted, whose in ((batch, first, "batch"), (others, both - first, "interactive callers")):
        ends = Counter(one.end for one in sent)
        if ends != {200: wanted, 429: len(sent) - wanted}:
            yield f"a burst of {whose} on pool {pool} came to {dict(ends)} instead of {wanted} times 200, else 429"
    used = Counter(POOLS[pool].account(one.granted.key) for one in (*batch, *others) if one.end == 200 and one.granted)
    if any(count > SHORT.max for count in used.values()):
        yield f"bursts on pool {pool} used {dict(used)} of {SHORT.max} each"


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
