"""What the scripts do, in plain Python over plain state: the judge of `lua/*.lua`, and the rules without Redis.

The moment is always an argument. Differences to the scripts that tests rely on: a rotation looks at all its
members instead of at its head, and what becomes available earlier is told to every rotation at once instead of
through a wake set that each reads later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sidecar.model import bearing, leases, lines, orders, rests, room, turns
from sidecar.model.bearing import Window
from sidecar.model.configured import Limit
from sidecar.model.rests import NEVER
from sidecar.model.words import (
    Amounts,
    Ask,
    Confirmed,
    Exhausted,
    Grant,
    Member,
    NotYet,
    Refusal,
    Rotation,
    Subject,
    Withdrawn,
    guard_us,
)

MOST_PASSED = 64  # members that an acquire passes over because they have some room, but not enough for it


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal without details, of late."""

    at: int
    ends: int
    subject: Subject


@dataclass(slots=True)
class State:
    """All that replicas share."""

    clock: int = 0
    offset: int = 0
    shared: room.Shared = field(default_factory=room.Shared)
    turns: dict[tuple[str, str, str], turns.Turn] = field(default_factory=dict)  # (pool, digest, model)
    refused: dict[str, dict[str, Refused]] = field(default_factory=dict)  # pool -> account -> its latest
    lines: dict[str, lines.Line] = field(default_factory=dict)  # by name


class Unregistered(LookupError):
    """The rotation at this index of the ask must be registered first."""


def now_of(state: State, raw: int) -> tuple[int, int]:
    """The moment and the offset to go on with, for a clock that says `raw`: never back, slower until it is right."""
    if raw >= state.clock:
        return raw, 0
    ahead = raw + state.offset - state.clock
    offset = state.clock - raw if ahead < 0 else state.offset - ahead // 10
    return raw + offset, offset


def tick(state: State, raw: int) -> int:
    """The moment of a call that writes."""
    state.clock, state.offset = now_of(state, raw)
    return state.clock


def _name(rotation: Rotation) -> tuple[str, str, str]:
    return rotation.pool, rotation.digest, rotation.model


def register(state: State, rotation: Rotation, raw: int) -> None:
    """Makes the rotation, unless it is there."""
    now = tick(state, raw)
    if _name(rotation) in state.turns:
        return
    known = state.shared.rests
    state.shared.rests = {subject: rest for subject, rest in known.items() if not rests.is_done(rest, now)}
    members = {member.text: member for member in rotation.members}
    places = {text: orders.due(rotation.strategy, {}, member) for text, member in members.items()}
    state.turns[_name(rotation)] = turns.Turn(rotation, places, members)


# --- acquire ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Candidate:
    target: int
    member: Member
    moment: int  # from when on the key and its pool have room for the ask
    place: float
    busy: int  # until when it hangs on requests in flight, which may end sooner
    crowded: bool = False  # whether those are the client's


def acquire(state: State, ask: Ask, raw: int) -> Grant | Refusal | Exhausted:
    """Grants a key of the first target that has room, or reserves the earliest room within the wait."""
    now, _ = now_of(state, raw)
    waits: set[str] = set()
    answer = _choose(state, ask, now, raw, waits)
    waits = waits if isinstance(answer, Refusal) else set()
    names = lines.of(ask.rotations, ask.shares)
    if not names or not (ask.ticket or waits):
        return answer
    ticket = ask.ticket or lines.free((state.lines.get(name, ()) for name in names), now - ask.waited_us)
    tick(state, raw)
    for name in names:
        state.lines[name] = lines.with_(state.lines.get(name, ()), ticket, name in waits, now)
    return replace(answer, ticket=ticket) if isinstance(answer, Refusal) and answer.busy else answer


def _came(ask: Ask, now: int) -> int:
    return ask.ticket or now - ask.waited_us


def _choose(state: State, ask: Ask, now: int, raw: int, waits: set[str]) -> Grant | Refusal | Exhausted:
    """The answer, its ticket aside; `waits` gets the lines in which who is refused is to stand."""
    found: list[tuple[int, _Candidate]] = []
    busy = False
    for target, rotation in enumerate(ask.rotations):
        turn = state.turns.get(_name(rotation))
        if turn is None:
            raise Unregistered(target)
        turns.ready(turn, now)
        candidate, is_free = _walk(state, ask, target, turn, now)
        if candidate is not None and is_free:
            return _grant(state, ask, candidate, now, raw)
        if (turn.waits and turn.busy > now) or (candidate is not None and candidate.busy > now):
            busy = True
            may_wait = ask.max_wait_us[target] and not (candidate is not None and candidate.crowded)
            waits |= {lines.name(rotation, _share(ask, target))} if may_wait else set()
        if candidate is not None:
            found.append((candidate.moment, candidate))
    in_time = [(at, c) for at, c in found if c.busy <= now and at - now <= ask.max_wait_us[c.target]]
    if in_time:
        moment, candidate = min(in_time, key=lambda one: (one[0], one[1].target))
        return _grant(state, ask, _whose_turn(state, ask, candidate, now), moment, raw)
    if not found:
        return Exhausted()
    moment, earliest = min(found, key=lambda one: one[0])
    rotation, asked = ask.rotations[earliest.target], _asked(ask, earliest.target)
    by_client = earliest.crowded or room.free_of_client(state.shared, rotation, asked, now) > now
    return Refusal(moment - now, _came(ask, now) if busy else 0, by_client)


def _share(ask: Ask, target: int) -> float:
    return ask.shares[target] if ask.shares else 0.0


def _asked(ask: Ask, target: int) -> room.Asked:
    return room.Asked(ask.amounts, _share(ask, target), ask.probing)


def _in_turn(turn: turns.Turn, ask: Ask, target: int, passed: set[str]) -> Iterator[Member]:
    """The untried members from the head; one whose score was raised is met again at its new place."""
    while untried := [
        (score, text)
        for text, score in turn.scores.items()
        if text not in passed and (target, turn.members[text].id) not in ask.tried
    ]:
        yield turn.members[min(untried)[1]]


def _walk(state: State, ask: Ask, target: int, turn: turns.Turn, now: int) -> tuple[_Candidate | None, bool]:
    """The first member that has room now (True), else the one that has it earliest (False), else none."""
    rotation, shared = ask.rotations[target], state.shared
    best: _Candidate | None = None
    passed, met = set[str](), set[str]()
    full, corrected = 0, 0
    for member in _in_turn(turn, ask, target, passed):
        score = turn.scores[member.text]
        parked = score >= turns.PARKED
        if full == MOST_PASSED or (best is not None and parked and score >= best.moment):
            return best, False
        free, busy = room.free_for_any(shared, rotation, member, now, ask.probing)
        place = orders.due(rotation.strategy, turn.last, member) if parked else score
        if orders.ORDERS[rotation.strategy].counts:
            place = room.grants_today(shared, member.key, now)
        if free > now:
            if free != score:
                turns.park(turn, member, free, busy, now)
                _park_siblings(state, ask, target, turn, member, met, now)
            if not parked or free > score:
                continue
        elif not parked and place != score and corrected < MOST_PASSED:
            turn.scores[member.text] = place
            corrected += 1
            continue
        if free >= NEVER:
            return best, False
        candidate = _candidate(state, ask, _Candidate(target, member, free, place, busy), now)
        has_room = candidate.moment <= now
        if has_room and not candidate.busy:
            return candidate, True
        full += candidate.moment < NEVER
        if candidate.moment < NEVER and (best is None or candidate.moment < best.moment):
            best = candidate
        pools = room.free_of_pool(shared, rotation, member, free, _asked(ask, target), now)
        crowded = room.crowded_until(shared, rotation, now)
        if not has_room and candidate.moment == max(pools, crowded):
            return best, False
        passed.add(member.text)
    return best, False


def _park_siblings(state: State, ask: Ask, target: int, turn: turns.Turn, of: Member, met: set[str], now: int) -> None:
    """Parks all keys of an account that has no room, once two of it were `met`; one that was tried is stepped over."""
    if of.account in met:
        moment, busy = room.free_in_account(state.shared, turn.rotation, of, now, now, ask.probing)
        for text, member in turn.members.items():
            is_tried = (target, member.id) in ask.tried
            if moment > now and member.account == of.account and turn.scores[text] < moment and not is_tried:
                turns.park(turn, member, moment, busy, now)
    met.add(of.account)


def _whose_turn(state: State, ask: Ask, of: _Candidate, now: int) -> _Candidate:
    """Of keys that have room at one moment, the one whose turn it is."""
    rotation = ask.rotations[of.target]
    turn = state.turns[_name(rotation)]
    score = turn.scores[of.member.text]
    if score < turns.PARKED or rotation.strategy == "fill_first":
        return of

    def today(member: Member) -> int:
        return room.grants_today(state.shared, member.key, now)

    for member, place in turns.coming(turn, score, MOST_PASSED, today):
        if member == of.member:
            return replace(of, place=place)
        if (of.target, member.id) not in ask.tried:
            free, busy = room.free_for_any(state.shared, rotation, member, now, ask.probing)
            found = _candidate(state, ask, _Candidate(of.target, member, free, place, busy), now)
            if found.busy <= now and found.moment == of.moment:
                return found
    return of


def _candidate(state: State, ask: Ask, of: _Candidate, now: int) -> _Candidate:
    """From when on the key and its pool have room for this ask; `of.moment`: from when on the key has for anybody.

    Busy it is also if it has room, but somebody who waits for a place since before this request came is to look first.
    """
    rotation, asked, shared = ask.rotations[of.target], _asked(ask, of.target), state.shared
    own, busy = room.free_for(shared, rotation, of.member, of.moment, asked, now)
    crowded = room.crowded_until(shared, rotation, now)
    moment = max(room.free_in_pool(shared, rotation, of.member, own, asked, now), crowded)
    stands_back = moment <= now and _stands_back(state, ask, of.target, of.member, now)
    held = max(of.busy, busy, crowded if crowded > now else 0)
    return replace(of, moment=moment, busy=NEVER if stands_back else held, crowded=crowded > now)


def _stands_back(state: State, ask: Ask, target: int, member: Member, now: int) -> bool:
    rotation = ask.rotations[target]
    freed = room.freed_at(state.shared, bearing.own(rotation, member), now)
    line = state.lines.get(lines.name(rotation, _share(ask, target)), ())
    return lines.has_earlier(line, _came(ask, now), freed, now)


def _grant(state: State, ask: Ask, candidate: _Candidate, moment: int, raw: int) -> Grant:
    now = tick(state, raw)
    shared, member, rotation = state.shared, candidate.member, ask.rotations[candidate.target]
    turn = state.turns[_name(rotation)]
    finds = room.finds(shared, rotation, member, moment)
    room.enter(shared, rotation, member, moment, now, ask.amounts)
    if orders.ORDERS[rotation.strategy].counts:
        shared.granted[member.key] = now // room.DAY_US, room.grants_today(shared, member.key, now) + 1
    following = orders.granted(rotation.strategy, turn.last, member, candidate.place)
    free, busy = room.free_for_any(shared, rotation, member, now, ask.probing)
    if free > now:
        turns.park(turn, member, free, busy, now)
    else:
        turn.scores[member.text] = following
    turn.number += 1
    turn.latest[member.account] = turn.latest_of_all = member.order
    wait = max(0, moment - now)
    share = _share(ask, candidate.target)
    return Grant(candidate.target, rotation, member, turn.number - 1, moment, wait, ask.amounts, not wait, finds, share)


# --- what becomes of a grant ------------------------------------------------------------------------


def _windows(grant: Grant) -> list[Window]:
    return bearing.all_windows(grant.rotation, grant.member)


def wake(state: State, accounts: set[str], now: int) -> None:
    """Every rotation looks again at keys of accounts that may have room earlier than they were parked for."""
    for turn in state.turns.values():
        turns.wake(turn, accounts, now)


def confirm(state: State, grant: Grant, raw: int) -> Confirmed | NotYet | Withdrawn:
    """Whether the grant may be sent now; later than its guard allows, it counts from now on, or as soon as it may."""
    now, _ = now_of(state, raw)
    if now < grant.moment_us:
        return NotYet(grant.moment_us - now, grant.moment_us, grant.finds)
    of, shared, moment = _windows(grant), state.shared, grant.moment_us
    before = shared.known()
    rotation, member = grant.rotation, grant.member
    _, let_through = room.leave(shared, rotation, member, moment, now, grant.amounts, grant.runs)
    if room.is_forbidden(shared, rotation, member, let_through, now) or room.is_busy(
        shared, rotation, member, now, grant.share
    ):
        tick(state, raw)
        wake(state, {grant.member.account}, now)
        return Withdrawn()
    guard = guard_us(limit for _, limit in of)
    in_time = guard is None or now - moment <= guard
    is_on_time = in_time and room.is_let_through(shared, rotation, member, let_through)
    if is_on_time and room.free_before(shared, of, moment, grant.amounts, now) <= moment:
        shared.windows, shared.rests = before
        _run(state, grant, raw)
        return Confirmed(moment, now - moment, room.finds(shared, rotation, member, moment))
    tick(state, raw)
    at = room.let_through_at(shared, rotation, member, room.free_before(shared, of, now, grant.amounts, now))
    finds = room.finds(shared, rotation, member, at)
    room.enter(shared, rotation, member, at, now, grant.amounts)
    if at == now:
        return Confirmed(now, 0, finds)
    wake(state, {member.account}, now)
    return NotYet(at - now, at, finds)


def _run(state: State, grant: Grant, raw: int) -> None:
    """The grant counts among the requests in flight."""
    leased = [window for window in _windows(grant) if window[1].kind == "leases"]
    if not leased:
        return
    now = tick(state, raw)
    if grant.runs:
        renew(state, leased, grant.moment_us, now)
    else:
        room.begin(state.shared, leased, grant.moment_us, now)


def advance(state: State, grant: Grant, raw: int, only_tells: bool = False) -> NotYet:
    """A reservation takes an earlier moment, where one has room since; or it `only_tells` which it would."""
    now, _ = now_of(state, raw)
    if now >= grant.moment_us:
        return NotYet(0, grant.moment_us, grant.finds)
    shared, rotation, member = state.shared, grant.rotation, grant.member
    before, asked = shared.known(), room.Asked(grant.amounts, grant.share)
    room.leave(shared, rotation, member, grant.moment_us, now, grant.amounts, runs=False)
    anybody, _ = room.free_for_any(shared, rotation, member, now, probing=False)
    own, _ = room.free_for(shared, rotation, member, anybody, asked, now)
    at = min(grant.moment_us, max(now + 1, room.free_in_pool(shared, rotation, member, own, asked, now)))
    if only_tells or at == grant.moment_us:
        shared.windows, shared.rests = before
        return NotYet(at - now, at, grant.finds)
    tick(state, raw)
    finds = room.finds(shared, rotation, member, at)
    room.enter(shared, rotation, member, at, now, grant.amounts)
    wake(state, {member.account}, now)
    return NotYet(at - now, at, finds)


def renew(state: State, of: list[Window], moment: int, now: int) -> None:
    """The request of a grant is in flight."""
    for account, limit in of:
        if limit.kind == "leases":
            held = state.shared.windows.get((account, limit.name), ())
            state.shared.windows[account, limit.name] = leases.renew(limit, held, moment, now)


def renewed(state: State, account: str, limit: Limit, moment: int, raw: int) -> None:
    """A replica says that the request of a grant is still in flight."""
    renew(state, [(account, limit)], moment, tick(state, raw))


def release(state: State, grant: Grant, raw: int) -> int:
    """Takes back a grant that surely was not sent; returns how many windows and rests still held it."""
    now, _ = now_of(state, raw)
    held, _ = room.leave(state.shared, grant.rotation, grant.member, grant.moment_us, now, grant.amounts, grant.runs)
    if held:
        tick(state, raw)
        wake(state, {grant.member.account}, now)
    return held


def settle(state: State, grant: Grant, actual: Amounts, charged: Amounts, raw: int) -> bool:
    """Counts what a request came to, for its client what that is charged; whether its account may have room earlier."""
    now = tick(state, raw)
    before = room.free_in_windows(state.shared, grant.rotation, grant.member, now)
    room.settle(state.shared, grant, actual, charged, now)
    after = room.free_in_windows(state.shared, grant.rotation, grant.member, now)
    if before > now and after < before:
        wake(state, {grant.member.account}, now)
        return True
    return False
