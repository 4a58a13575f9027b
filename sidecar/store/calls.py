"""Model words as the scripts' KEYS and ARGV, and their replies as model words. Pure: no connection.

`clock_us` is the caller's idea of Redis's clock, by which the periods of calendars are told; the scripts check it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sidecar.model import lines
from sidecar.model.bearing import account_of, resting_pool, resting_provider
from sidecar.model.calendars import Boundaries, periods
from sidecar.model.configured import Calendar, Limit
from sidecar.model.words import (
    Amounts,
    Ask,
    Confirmed,
    Exhausted,
    Failed,
    Grant,
    NotYet,
    Refusal,
    Report,
    Reported,
    Rotation,
    Subject,
    Total,
    Withdrawn,
    unit_of,
)
from sidecar.store.names import Names, line_field, rest_field

Bounds = tuple[tuple[Calendar, Boundaries], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One script call: which, and its KEYS and ARGV."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The rotation of this target is not registered."""

    target: int


@dataclass(frozen=True, slots=True)
class OtherTime:
    """The periods that were told are not those of Redis's clock, which says `now_us`. Nothing was changed."""

    now_us: int


def _bounds(rotation: Rotation, clock_us: int) -> Bounds:
    return tuple((calendar, periods(calendar, clock_us)) for calendar in rotation.calendars)


def _limits(limits: Sequence[Limit], bounds: Mapping[Calendar, Boundaries]) -> list[str]:
    flat = [str(len(limits))]
    for limit in limits:
        flat += (limit.name, limit.kind, str(unit_of(limit) + 1), str(limit.max), "1" if limit.enforce else "0")
        flat += (str(limit.window_us), str(limit.guard_us))
        if limit.calendar is not None:
            flat += map(str, bounds[limit.calendar])
    return flat


def _pool(rotation: Rotation, bounds: Mapping[Calendar, Boundaries]) -> list[str]:
    """The fields of the pool's own rest and of its provider's, and its total."""
    door = rest_field(resting_provider(rotation.way, rotation.model)) if rotation.way else ""
    return [rest_field(resting_pool(rotation.pool)), door, *_total(rotation, bounds)]


def _total(rotation: Rotation, bounds: Mapping[Calendar, Boundaries]) -> list[str]:
    return [account_of(rotation.pool), *_limits(rotation.total, bounds)]


def _client(client: Total, bounds: Mapping[Calendar, Boundaries]) -> list[str]:
    return [client.account, *_limits(client.limits, bounds)]


def state_and_wakes(names: Names, pools: Iterable[str]) -> tuple[str, ...]:
    """The state, and the wake set of every pool whose keys may have room earlier for it."""
    return names.state, *(names.wake(pool) for pool in pools)


# --- acquire ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _target(names: Names, rotation: Rotation, bounds: Bounds, share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """KEYS of a target, its share and its limits in ARGV: the same for every call, which so costs nothing per limit."""
    told = dict(bounds)
    sets = [text for limits in rotation.limits for text in _limits(limits, told)]
    line = line_field(lines.name(rotation, share)) if rotation.line else ""
    return names.turns(rotation), (f"{share:g}", line, *_pool(rotation, told), str(len(rotation.limits)), *sets)


def forget() -> None:
    """Lets go of the rotations that were told so far."""
    _target.cache_clear()


def acquire(names: Names, ask: Ask, clock_us: int, now: str = "") -> Call:
    keys: list[str] = [names.state]
    bounds = [_bounds(rotation, clock_us) if rotation.calendars else () for rotation in ask.rotations]
    args: list[str] = [now, *map(str, ask.amounts), "1" if ask.probing else "0"]
    args += (str(ask.ticket), str(ask.waited_us))
    args += (str(len(ask.tried)), *(f"{target}|{key}" for target, key in ask.tried))
    args += _client(ask.client, dict(bounds[0]) if ask.client.limits else {})
    shares = ask.shares or (0.0,) * len(ask.rotations)
    for rotation, told, max_wait_us, share in zip(ask.rotations, bounds, ask.max_wait_us, shares, strict=True):
        more_keys, limits = _target(names, rotation, told, share)
        keys += more_keys
        args += (rotation.model, rotation.strategy, str(max_wait_us), *limits)
    return Call("acquire", tuple(keys), tuple(args))


def read_acquire(ask: Ask, reply: Sequence[bytes | int]) -> Grant | Refusal | Exhausted | Missing | OtherTime:
    match reply:
        case [b"granted", target, bytes(member), moment, wait, number, finds]:
            rotation = ask.rotations[int(target)]
            return Grant(
                target=int(target),
                rotation=rotation,
                member=rotation.member(member.decode()),
                number=int(number),
                moment_us=int(moment),
                wait_us=int(wait),
                amounts=ask.amounts,
                runs=not int(wait),
                finds=int(finds),
                share=ask.shares[int(target)] if ask.shares else 0.0,
            )
        case [b"refused", wait, ticket, by_client]:
            return Refusal(int(wait), int(ticket), bool(by_client))
        case [b"exhausted"]:
            return Exhausted()
        case [b"missing", target]:
            return Missing(int(target))
        case [b"calendar", now]:
            return OtherTime(int(now))
    raise ValueError(f"acquire answered {reply!r}")


# --- what becomes of a grant ------------------------------------------------------------------------


def confirm(names: Names, grant: Grant, pools: Iterable[str], clock_us: int, now: str = "") -> Call:
    """`pools`: all that have a key of the grant's account."""
    told = dict(_bounds(grant.rotation, clock_us))
    args = (
        *(now, grant.member.text, grant.rotation.model, str(grant.moment_us), str(int(grant.runs)), str(grant.finds)),
        *(f"{grant.share:g}", *map(str, grant.amounts)),
        *_limits(grant.limits, told),
        *_pool(grant.rotation, told),
        *_client(grant.rotation.client, told),
    )
    return Call("confirm", state_and_wakes(names, pools), args)


def advance(
    names: Names, grant: Grant, pools: Iterable[str], clock_us: int, now: str = "", only_tells: bool = False
) -> Call:
    """As `confirm`, and its reply is read alike."""
    return replace(confirm(names, replace(grant, runs=only_tells), pools, clock_us, now), script="advance")


def read_confirm(reply: Sequence[bytes | int]) -> Confirmed | NotYet | Withdrawn | OtherTime:
    match reply:
        case [b"confirmed", moment, age, finds]:
            return Confirmed(int(moment), int(age), int(finds))
        case [b"not yet", wait, moment, finds]:
            return NotYet(int(wait), int(moment), int(finds))
        case [b"withdrawn"]:
            return Withdrawn()
        case [b"calendar", now]:
            return OtherTime(int(now))
    raise ValueError(f"confirm answered {reply!r}")


def release(names: Names, grant: Grant, pools: Iterable[str], clock_us: int, now: str = "") -> Call:
    """As `confirm`; its reply is how many windows still held the grant."""
    return replace(confirm(names, grant, pools, clock_us, now), script="release")


def settle(
    names: Names, grant: Grant, actual: Amounts, charged: Amounts, pools: Iterable[str], clock_us: int, now: str = ""
) -> Call:
    """`actual`: what the request came to. `charged`: as much of it as counts for the client.

    `pools`: all that have a key of the grant's account.
    """
    told = dict(_bounds(grant.rotation, clock_us))
    args = (
        *(now, grant.member.text, str(grant.moment_us), *map(str, (*grant.amounts, *actual, *charged))),
        *_limits(grant.limits, told),
        *_total(grant.rotation, told),
        *_client(grant.rotation.client, told),
    )
    return Call("settle", state_and_wakes(names, pools), args)


def leave(
    names: Names, ticket: int, rotations: Sequence[Rotation], shares: Sequence[float] = (), now: str = ""
) -> Call:
    """Who had this ticket, and leaves such shares, waits for keys of these rotations no more."""
    fields = [line_field(line) for line in lines.of(rotations, shares)]
    return Call("leave", (names.state,), (now, str(ticket), str(len(fields)), *fields))


def renew(names: Names, grants: Iterable[Grant], owners: Mapping[str, str], now: str = "") -> Call:
    """The requests of these grants are still in flight. `owners`: the accounts of keys, where they have others now."""
    leases = [
        text
        for grant in grants
        for account, limits in (
            (owners.get(grant.member.key, grant.member.account), grant.limits),
            (grant.rotation.client.account, grant.rotation.client.limits),
        )
        for limit in limits
        if limit.kind == "leases"
        for text in (account, limit.name, str(limit.window_us), str(grant.moment_us))
    ]
    return Call("renew", (names.state,), (now, str(len(leases) // 4), *leases))


# --- what an attempt taught -------------------------------------------------------------------------


def report(names: Names, report: Report, pools: Iterable[str], now: str = "") -> Call:
    """`pools`: all that have a key of an account in question."""
    rests = [
        text
        for rest in report.rests
        for text in (
            *(rest_field(rest.subject), rest.subject.account, str(rest.delay_us), str(rest.most_us)),
            *(_kind(rest.proved, rest.dead), rest.reason, rest.throttle),
        )
    ]
    clears = [text for subject in report.clears for text in (rest_field(subject), subject.account)]
    ends = [text for subject in report.ends for text in (rest_field(subject), subject.account)]
    if report.pool:
        ends += (rest_field(resting_pool(report.pool)), "")
    if report.works is not None:
        ends += (rest_field(report.works), "")
    args = (
        *(now, report.request, str(report.moment_us)),
        *(str(len(report.rests)), *rests),
        *(str(len(report.clears)), *clears),
        *(str(len(ends) // 2), *ends),
        *_failed(report.failed),
        "" if report.left is None else rest_field(report.left),
    )
    return Call("report", state_and_wakes(names, pools), args)


def _failed(failed: Failed | None) -> tuple[str, ...]:
    if failed is None:
        return ("",)
    numbers = failed.failures, failed.within_us, failed.pause_us, int(failed.again)
    return rest_field(failed.subject), *map(str, numbers)


def _kind(proved: bool, dead: bool) -> str:
    return "2" if dead else "1" if proved else "0"


def read_report(reply: Sequence[Any]) -> Reported:
    rests, clears, ends, pool_rests, freed, provider_rests = reply
    return Reported(
        rests=tuple(None if text == b"-1" else int(text) for text in rests),
        clears=tuple(bool(taken_back) for taken_back in clears),
        ends=tuple(bool(ended) for ended in ends),
        pool_rests_us=int(pool_rests),
        freed=tuple(map(_account_rest, freed[::2], freed[1::2])),
        provider_rests_us=int(provider_rests),
    )


def _account_rest(field: bytes, account: bytes) -> Subject:
    """The rest of an account that this field holds."""
    whole = Subject(account.decode())
    model = field.decode().removeprefix(rest_field(whole))
    return replace(whole, model=model[1:]) if model else whole
