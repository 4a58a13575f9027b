"""What bears on one key for one model: its windows, its pool's, and how it rests. The twin of `lua/parts/room.lua`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.model import counters, leases, rests, windows
from sidecar.model.configured import Limit
from sidecar.model.rests import NEVER, Resting
from sidecar.model.words import Amounts, Member, Rotation, Subject, guard_us, unit_of

Held = tuple[tuple[int, int], ...]  # a window's pairs, of whatever kind
Window = tuple[str, Limit]  # the account whose it is, and the limit

DAY_US = 24 * 3600 * 1_000_000
GUARD_US = 1_000_000  # between two grants at the end of a rest, where no window has a guard


@dataclass(slots=True)
class Shared:
    """What the state holds of accounts, keys and pools; rotations aside."""

    windows: dict[tuple[str, str], Held] = field(default_factory=dict)  # (account, limit name)
    rests: dict[Subject, Resting] = field(default_factory=dict)
    off: set[str] = field(default_factory=set)  # fingerprints of disabled keys
    granted: dict[str, tuple[int, int]] = field(default_factory=dict)  # fingerprint -> day, grants on it
    owners: dict[str, str] = field(default_factory=dict)  # fingerprint -> account, as a config last told
    called: dict[str, str] = field(
        default_factory=dict
    )  # what an account is called that nobody should name so any more


def account_of(pool: str) -> str:
    """Whose the windows of a pool's total are."""
    return f"+{pool}"


def resting_pool(pool: str) -> Subject:
    """What rests when the provider throttles a pool."""
    return Subject(account_of(pool))


def subjects(member: Member, model: str) -> tuple[Subject, ...]:
    """The four rests that bear on a key's grant for a model, those of its pool aside."""
    return (
        Subject(member.account, member.key),
        Subject(member.account, member.key, model),
        Subject(member.account),
        Subject(member.account, None, model),
    )


def own(rotation: Rotation, member: Member) -> list[Window]:
    return [(member.account, limit) for limit in rotation.limits[member.limits]]


def all_windows(rotation: Rotation, member: Member) -> list[Window]:
    return [*own(rotation, member), *_total(rotation)]


def _total(rotation: Rotation) -> list[Window]:
    return [(account_of(rotation.pool), limit) for limit in rotation.total]


def need(limit: Limit, amounts: Amounts | None, share: float) -> int:
    """How much room a request must find. Without `amounts`: what any request must find.

    Of tokens at least a hundredth of the maximum, so that a key that is as good as spent rests; and the share that it
    leaves to others, as far as the maximum goes.
    """
    unit = unit_of(limit)
    wanted = 1 if unit == 0 else math.ceil(limit.max / 100)
    if amounts is not None:
        wanted = max(wanted, amounts[unit])
    if wanted > limit.max or not share:
        return wanted
    return min(limit.max, wanted + math.ceil(limit.max * share))


def _window_free_at(shared: Shared, window: Window, t: int, wanted: int, leaves: bool, now: int) -> int:
    account, limit = window
    held = shared.windows.get((account, limit.name), ())
    if wanted > limit.max:
        return NEVER
    if limit.kind == "leases":
        return leases.free_at(limit, held, t, wanted)
    if limit.kind == "calendar":
        return counters.free_at(limit, held, t, wanted, now)
    return windows.free_at(limit, held, t, wanted, leaves)


def free_at(shared: Shared, of: Iterable[Window], t: int, amounts: Amounts | None, share: float, now: int) -> int:
    """The first moment from `t` on at which all these windows have room; NEVER for more than one of them can hold."""
    of = [(account, limit) for account, limit in of if limit.enforce]
    while t < NEVER:
        then = max([t, *(_window_free_at(shared, w, t, need(w[1], amounts, share), share > 0, now) for w in of)])
        if then == t:
            break
        t = then
    return min(t, NEVER)


def is_busy(shared: Shared, of: Iterable[Window], now: int, share: float) -> bool:
    """Whether as many requests of the account are in flight as may be, for one that leaves `share` to others."""
    return place_at(shared, of, now, share, now) > now


def freed_at(shared: Shared, of: Iterable[Window], now: int) -> int:
    """When a place among the account's requests in flight was last given back; 0: nobody knows, or none is counted."""
    leased = (window for window in of if window[1].kind == "leases" and window[1].enforce)
    return max((leases.freed_at(shared.windows.get((of, one.name), ()), now) for of, one in leased), default=0)


def free_for_any(shared: Shared, rotation: Rotation, member: Member, now: int, probing: bool) -> tuple[int, int]:
    """From when on the key may have room for anybody, its pool aside.

    Also, where that hangs on requests in flight, until when they last if they do not end sooner; else 0.
    """
    if member.key in shared.off:
        return NEVER, 0
    t = _rested(shared, subjects(member, rotation.model)[:2], now, probing)
    return free_in_account(shared, rotation, member, t, now, probing)


def free_in_account(
    shared: Shared, rotation: Rotation, member: Member, t: int, now: int, probing: bool
) -> tuple[int, int]:
    """The same from `t` on, the key's own rests aside."""
    t = _rested(shared, subjects(member, rotation.model)[2:], t, probing)
    of = own(rotation, member)
    others = free_at(shared, [window for window in of if window[1].kind != "leases"], t, None, 0, now)
    with_place = place_at(shared, of, others, 0, now)
    return with_place, with_place if with_place > others else 0


def _rested(shared: Shared, of: Iterable[Subject], t: int, probing: bool) -> int:
    return max([t, *(rests.free_at(shared.rests[one], probing) for one in of if one in shared.rests)])


def place_at(shared: Shared, of: Iterable[Window], t: int, share: float, now: int) -> int:
    """From `t` on, when enough requests in flight have ended, unless they say that they are still."""
    leased = [window for window in of if window[1].kind == "leases" and window[1].enforce]
    return max(
        [t, *(_window_free_at(shared, window, t, need(window[1], None, share), share > 0, now) for window in leased)]
    )


def free_for(
    shared: Shared, rotation: Rotation, member: Member, t: int, amounts: Amounts, share: float, now: int
) -> tuple[int, int]:
    """From `t` on, when the key has room for this ask, its pool aside.

    Also, where that hangs on requests in flight, until when they last if they do not end sooner; else 0.
    """
    of = own(rotation, member)
    t = free_at(shared, [window for window in of if window[1].kind != "leases"], t, amounts, share, now)
    with_place = place_at(shared, of, t, share, now) if share else t
    return with_place, with_place if with_place > t else 0


def free_of_pool(
    shared: Shared, rotation: Rotation, t: int, amounts: Amounts, share: float, probing: bool, now: int
) -> int:
    """From `t` on, when the pool as a whole has room for this ask, whatever the key."""
    t = _rested(shared, (resting_pool(rotation.pool),), t, probing)
    return free_at(shared, _total(rotation), t, amounts, share, now)


def free_in_pool(
    shared: Shared, rotation: Rotation, member: Member, t: int, amounts: Amounts, share: float, probing: bool, now: int
) -> int:
    """From `t` on, when the key and its pool as a whole have room for this ask."""
    t = free_of_pool(shared, rotation, t, amounts, share, probing, now)
    of = [window for window in all_windows(rotation, member) if window[1].kind != "leases"]
    return free_at(shared, of, t, amounts, share, now) if rotation.total else t


def free_before(shared: Shared, of: Iterable[Window], moment: int, amounts: Amounts, now: int) -> int:
    """From `moment` on, when these windows have room, with regard only to what counts up to it."""
    t = moment
    for account, limit in of:
        held, amount = shared.windows.get((account, limit.name), ()), amounts[unit_of(limit)]
        if limit.enforce and limit.kind == "log":
            t = max(t, windows.free_before(limit, held, moment, amount))
        elif limit.enforce and limit.kind == "calendar":
            t = max(t, counters.free_at(limit, held, moment, amount, now))
    return t


def rests_until(shared: Shared, rotation: Rotation, member: Member) -> int:
    """Until when the key must not be used, for what was learnt after it was granted."""
    if member.key in shared.off:
        return NEVER
    return max((rest.ends for _, rest in _bearing(shared, rotation, member)), default=0)


def enter(shared: Shared, of: Iterable[Window], moment: int, now: int, amounts: Amounts) -> None:
    for account, limit in of:
        name, amount = (account, limit.name), amounts[unit_of(limit)]
        held = shared.windows.get(name, ())
        if not amount:
            continue
        if limit.kind == "leases":
            shared.windows[name] = leases.enter(limit, held, moment, now)
        elif limit.kind == "calendar":
            shared.windows[name] = counters.enter(limit, held, moment, now, amount)
        else:
            shared.windows[name] = windows.enter(limit, held, moment, now, amount)


def leave(shared: Shared, of: Iterable[Window], moment: int, now: int, amounts: Amounts, runs: bool) -> int:
    """Takes the grant of `moment` out of every window that still holds it; returns how many did.

    Only one that runs is in flight: another may be, of the same moment.
    """
    held = [window for window in of if runs or window[1].kind != "leases"]
    return sum(_leave(shared, window, moment, now, amounts[unit_of(window[1])]) for window in held)


def _leave(shared: Shared, window: Window, moment: int, now: int, amount: int) -> bool:
    account, limit = window
    held = shared.windows.get((account, limit.name), ())
    if limit.kind == "leases":
        left, found = leases.leave(held, moment, now)
    elif limit.kind == "calendar":
        left, found = counters.leave(limit, held, moment, now, amount)
    else:
        left, found = windows.leave(limit, held, moment, now, amount)
    shared.windows[account, limit.name] = left
    return found


def settle(shared: Shared, of: Iterable[Window], moment: int, now: int, expected: Amounts, actual: Amounts) -> None:
    """A request is over: it counts what it came to instead of what was expected, and is in flight no more."""
    for window in of:
        unit = unit_of(window[1])
        if window[1].kind == "leases":
            _leave(shared, window, moment, now, 1)
        elif expected[unit] != actual[unit]:
            held = _leave(shared, window, moment, now, expected[unit])
            if held or not expected[unit]:  # of nothing expected nothing was entered
                enter(shared, [window], moment, now, actual)


def grant(shared: Shared, rotation: Rotation, member: Member, moment: int) -> int:
    """Moves the rests that bear on a grant; what its success may end: 0 nothing, 1 what is over, 2 a rest that runs."""
    finds = 0
    for subject, rest in _bearing(shared, rotation, member):
        finds = max(finds, 2 if rest.ends > moment else 1)
        shared.rests[subject] = rests.granted(rest, moment, _guard_us(rotation, member))
    return finds


def give_back(shared: Shared, rotation: Rotation, member: Member, moment: int, finds: int) -> bool:
    """Moves the rests that bear on a grant which was given back, and `finds` so much; whether there were any."""
    bearing = _bearing(shared, rotation, member) if finds else []
    for subject, rest in bearing:
        shared.rests[subject] = rests.given_back(rest, moment, _guard_us(rotation, member))
    return bool(bearing)


def _bearing(shared: Shared, rotation: Rotation, member: Member) -> list[tuple[Subject, Resting]]:
    asked = (*subjects(member, rotation.model), resting_pool(rotation.pool))
    return [(subject, shared.rests[subject]) for subject in asked if subject in shared.rests]


def _guard_us(rotation: Rotation, member: Member) -> int:
    guard = guard_us(limit for _, limit in all_windows(rotation, member))
    return GUARD_US if guard is None else guard


def grants_today(shared: Shared, key: str, now: int) -> int:
    day, count = shared.granted.get(key, (0, 0))
    return count if day == now // DAY_US else 0


def used(limit: Limit, text: str, now: int) -> int:
    """How much of a limit's maximum is taken, by its window's text as Redis holds it; reservations included."""
    if limit.kind == "leases":
        return leases.used(leases.read(text), now)
    if limit.kind == "calendar":
        return counters.used(limit, counters.read(text), now)
    return windows.used(limit, windows.read(text), now)
