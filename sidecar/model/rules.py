"""What the scripts do, in plain Python over plain state: the judge of `lua/*.lua`, and the rules without Redis.

The moment is always an argument. Differences to the scripts that tests rely on: a rotation looks at all its
members instead of at its head, and what becomes available earlier is told to every rotation at once instead of
through a wake set that each reads later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sidecar.model import windows
from sidecar.model.configured import Limit
from sidecar.model.orders import round_robin
from sidecar.model.words import (
    Ask,
    Confirmed,
    Exhausted,
    Grant,
    Member,
    NotYet,
    Refusal,
    Report,
    Rotation,
    Subject,
    Withdrawn,
)

PARKED = 1e14  # scores from here on are moments


@dataclass(frozen=True, slots=True)
class Cooldown:
    until: int
    proved: bool
    request: str


@dataclass(slots=True)
class Turn:
    """A rotation's state: each member's place or moment, the next number, the highest place granted."""

    scores: dict[str, float]
    members: Mapping[str, Member]
    number: int = 0
    last: float = 0.0


@dataclass(slots=True)
class State:
    """All that replicas share."""

    clock: int = 0
    offset: int = 0
    logs: dict[tuple[str, str], windows.Log] = field(default_factory=dict)  # (account, limit name)
    rests: dict[Subject, Cooldown] = field(default_factory=dict)
    turns: dict[tuple[str, str, str], Turn] = field(default_factory=dict)  # (pool, digest, model)


class Unregistered(LookupError):
    """The rotation at this index of the ask must be registered first."""


def now_of(state: State, raw: int) -> tuple[int, int]:
    """The moment and the offset to go on with, for a clock that says `raw`: never back, and no catching up."""
    if raw >= state.clock:
        return raw, 0
    offset = max(state.offset, state.clock - raw)
    return raw + offset, offset


def _tick(state: State, raw: int) -> int:
    state.clock, state.offset = now_of(state, raw)
    return state.clock


def _name(rotation: Rotation) -> tuple[str, str, str]:
    return rotation.pool, rotation.digest, rotation.model


def register(state: State, rotation: Rotation, raw: int) -> None:
    """Makes the rotation, unless it is there."""
    now = _tick(state, raw)
    if _name(rotation) in state.turns:
        return
    state.rests = {subject: rest for subject, rest in state.rests.items() if rest.until > now}
    members = {member.text: member for member in rotation.members}
    state.turns[_name(rotation)] = Turn({text: round_robin(0.0) for text in members}, members)


def subjects(member: Member, model: str) -> tuple[Subject, ...]:
    """The four rests that bear on a key's grant for a model."""
    return (
        Subject(member.account, member.key),
        Subject(member.account, member.key, model),
        Subject(member.account),
        Subject(member.account, None, model),
    )


def _rests_until(state: State, member: Member, model: str) -> int:
    return max((state.rests[s].until for s in subjects(member, model) if s in state.rests), default=0)


def free_at(state: State, rotation: Rotation, member: Member) -> int:
    """From which moment on the key has room in every window and does not rest."""
    logs = [
        windows.free_at(limit, state.logs.get((member.account, limit.name), ()))
        for limit in rotation.limits[member.limits]
    ]
    return max([*logs, _rests_until(state, member, rotation.model)])


def acquire(state: State, ask: Ask, raw: int) -> Grant | Refusal | Exhausted:
    """Grants a key of the first target that has room, or reserves the earliest room within the wait."""
    now, _ = now_of(state, raw)
    candidates: list[tuple[int, int, Member]] = []
    for target, rotation in enumerate(ask.rotations):
        turn = state.turns.get(_name(rotation))
        if turn is None:
            raise Unregistered(target)
        _place_what_is_due(turn, now)
        found = _walk(state, ask, target, turn, now)
        if isinstance(found, Member):
            return _grant(state, ask, target, found, now, raw)
        if found is not None:
            candidates.append(found)
    in_time = [c for c in candidates if c[0] - now <= ask.max_wait_us[c[1]]]
    if in_time:
        moment, target, member = min(in_time, key=lambda c: c[:2])
        return _grant(state, ask, target, member, moment, raw)
    if candidates:
        return Refusal(min(candidates, key=lambda c: c[:2])[0] - now)
    return Exhausted()


def _place_what_is_due(turn: Turn, now: int) -> None:
    place = round_robin(turn.last)
    turn.scores = {text: place if PARKED <= score <= now else score for text, score in turn.scores.items()}


def _in_turn(turn: Turn, ask: Ask, target: int) -> Iterator[Member]:
    """The untried members from the head; one whose score was raised is met again at its new place."""
    while untried := [
        (score, text) for text, score in turn.scores.items() if (target, turn.members[text].id) not in ask.tried
    ]:
        yield turn.members[min(untried)[1]]


def _walk(state: State, ask: Ask, target: int, turn: Turn, now: int) -> Member | tuple[int, int, Member] | None:
    """The first member that has room now, else the earliest (moment, target, member) to come, else None: all tried."""
    for member in _in_turn(turn, ask, target):
        score, free = turn.scores[member.text], free_at(state, ask.rotations[target], member)
        if free <= now:
            return member
        turn.scores[member.text] = free
        if score >= free:
            return free, target, member
    return None


def _grant(state: State, ask: Ask, target: int, member: Member, moment: int, raw: int) -> Grant:
    now = _tick(state, raw)
    rotation = ask.rotations[target]
    turn = state.turns[_name(rotation)]
    _enter(state, member, rotation.limits[member.limits], moment, now)
    score = turn.scores[member.text]
    turn.last = max(turn.last, score if score < PARKED else round_robin(turn.last))
    free = free_at(state, rotation, member)
    turn.scores[member.text] = free if free > now else round_robin(turn.last)
    turn.number += 1
    return Grant(target, rotation, member, turn.number - 1, moment, max(0, moment - now))


def _enter(state: State, member: Member, limits: tuple[Limit, ...], moment: int, now: int) -> None:
    for limit in limits:
        name = member.account, limit.name
        state.logs[name] = windows.enter(limit, state.logs.get(name, ()), moment, now)


def _leave(state: State, grant: Grant, now: int) -> int:
    held = 0
    for limit in grant.limits:
        name = grant.member.account, limit.name
        state.logs[name], found = windows.leave(limit, state.logs.get(name, ()), grant.moment_us, now)
        held += found
    return held


def _wake(state: State, accounts: set[str], now: int) -> None:
    """Every rotation looks again at keys of accounts that may have room earlier than they were parked for."""
    for turn in state.turns.values():
        for text, member in turn.members.items():
            if member.account in accounts and turn.scores[text] > now:
                turn.scores[text] = now


def confirm(state: State, grant: Grant, raw: int) -> Confirmed | NotYet | Withdrawn:
    """Whether the grant may be sent now; later than its guard allows, it counts from now on, or as soon as it may."""
    now, _ = now_of(state, raw)
    if now < grant.moment_us:
        return NotYet(grant.moment_us - now, grant.moment_us)
    before = dict(state.logs)
    _leave(state, grant, now)
    if _rests_until(state, grant.member, grant.rotation.model) > now:
        _tick(state, raw)
        _wake(state, {grant.member.account}, now)
        return Withdrawn()
    late = grant.guard_us is not None and now - grant.moment_us > grant.guard_us
    if not late and _free_before(state, grant, grant.moment_us) <= grant.moment_us:
        state.logs = before
        return Confirmed(grant.moment_us, now - grant.moment_us)
    _tick(state, raw)
    free = max(now, _free_before(state, grant, now))
    _enter(state, grant.member, grant.limits, free, now)
    return NotYet(free - now, free) if free > now else Confirmed(now, 0)


def _free_before(state: State, grant: Grant, moment: int) -> int:
    """From which moment on the grant has room, with regard only to what counts up to `moment`."""
    logs = ((limit, state.logs.get((grant.member.account, limit.name), ())) for limit in grant.limits)
    return max((windows.free_before(limit, log, moment) for limit, log in logs), default=0)


def release(state: State, grant: Grant, raw: int) -> int:
    """Takes back a grant that surely was not sent; returns how many windows still held it."""
    now, _ = now_of(state, raw)
    held = _leave(state, grant, now)
    if held:
        _tick(state, raw)
        _wake(state, {grant.member.account}, now)
    return held


def report(state: State, report: Report, raw: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Sets rests and takes suspicions back: how long each rests now, and which suspicions were this request's."""
    now, _ = now_of(state, raw)
    for rest in report.rests:
        new = Cooldown(now + rest.delay_us, rest.proved, report.request)
        old = state.rests.get(rest.subject)
        if old is not None and old.until > now:
            later = old if old.until >= new.until else new
            new = Cooldown(later.until, old.proved or new.proved, later.request)
        state.rests[rest.subject] = new
    _tick(state, raw)
    ends = tuple(state.rests[rest.subject].until - now for rest in report.rests)
    mine = [s for s in report.clears if s in state.rests and _is_suspicion(state.rests[s], report.request)]
    for subject in mine:
        del state.rests[subject]
    _wake(state, {subject.account for subject in mine}, now)
    return ends, tuple(s in mine for s in report.clears)


def _is_suspicion(rest: Cooldown, request: str) -> bool:
    return not rest.proved and rest.request == request
