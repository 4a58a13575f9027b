"""What bears on one key for one model: its windows, its pool's and the client's, and how it rests. The twin of
`lua/parts/room.lua`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sidecar.model import bearing, counters, leases, rests, windows
from sidecar.model.bearing import Window
from sidecar.model.configured import Limit
from sidecar.model.rests import NEVER, Resting
from sidecar.model.words import ONE, Amounts, Grant, Member, Rotation, Subject, guard_us, unit_of

Held = tuple[tuple[int, int], ...]  # a window's pairs, of whatever kind

DAY_US = 24 * 3600 * 1_000_000
GUARD_US = 1_000_000  # between two grants once a rest is over, where no window's guard says it


@dataclass(frozen=True, slots=True)
class Asked:
    """For how much there must be room, and for whom."""

    amounts: Amounts | None = None  # None: what anybody needs
    share: float = 0.0  # of each budget, that is left to others
    probing: bool = False  # a prober's call


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

    def known(self) -> tuple[dict[tuple[str, str], Held], dict[Subject, Resting]]:
        """Copies of the windows and the rests."""
        return dict(self.windows), dict(self.rests)


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


def _window_free_at(shared: Shared, window: Window, wanted: int, t: int, leaves: bool, now: int) -> int:
    account, limit = window
    held = shared.windows.get((account, limit.name), ())
    if wanted > limit.max:
        return NEVER
    if limit.kind == "leases":
        return leases.free_at(limit, held, t, wanted)
    if limit.kind == "calendar":
        return counters.free_at(limit, held, t, wanted, now)
    return windows.free_at(limit, held, t, wanted, leaves)


@dataclass(frozen=True, slots=True)
class _Bearing:
    """What may be in the way of a grant."""

    windows: list[Window]
    rests: list[tuple[Resting, int]]  # and by how much each keeps grants apart once it is over
    clients: list[Window] = field(default_factory=list)  # the client's own, of which it leaves nothing to others


def _free_at(shared: Shared, of: _Bearing, t: int, asked: Asked, now: int) -> int:
    """The first moment from `t` on at which nothing is in the way, requests in flight aside; NEVER for more than one of
    the windows can hold."""
    wanted = [
        (window, need(window[1], asked.amounts, share), share > 0)
        for windows, share in ((of.windows, asked.share), (of.clients, 0.0))
        for window in windows
        if window[1].enforce and window[1].kind != "leases"
    ]
    while t < NEVER:
        over = max([t, *(rests.free_at(rest, t, asked.probing, apart_us) for rest, apart_us in of.rests)])
        then = max([over, *(_window_free_at(shared, one, amount, over, leaves, now) for one, amount, leaves in wanted)])
        if then == t:
            break
        t = then
    return min(t, NEVER)


def free_in_windows(shared: Shared, rotation: Rotation, member: Member, now: int) -> int:
    """From when on the account's windows have room for anybody."""
    of = bearing.own(rotation, member)
    t = _free_at(shared, _Bearing(of, []), now, Asked(), now)
    return place_at(shared, of, t, 0, now)


def is_busy(shared: Shared, rotation: Rotation, member: Member, now: int, share: float) -> bool:
    """Whether as many requests of the account, or the client, are in flight as may be, for one that leaves `share` of
    the account's to others."""
    at = place_at(shared, bearing.own(rotation, member), now, share, now)
    return max(at, crowded_until(shared, rotation, now)) > now


def crowded_until(shared: Shared, rotation: Rotation, now: int) -> int:
    """Until when as many requests of the client are in flight as may be, if they do not end sooner; else `now`."""
    return place_at(shared, bearing.client(rotation), now, 0, now)


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
    return _with_place(shared, _of_key(shared, rotation, member), now, Asked(probing=probing), now)


def free_in_account(
    shared: Shared, rotation: Rotation, member: Member, t: int, now: int, probing: bool
) -> tuple[int, int]:
    """The same from `t` on, the key's own rests aside."""
    of_account = bearing.subjects(member, rotation.model)[2:]
    of = _bearing_of(shared, rotation, member, bearing.own(rotation, member), of_account)
    return _with_place(shared, of, t, Asked(probing=probing), now)


def _of_key(shared: Shared, rotation: Rotation, member: Member) -> _Bearing:
    whose = bearing.subjects(member, rotation.model)
    return _bearing_of(shared, rotation, member, bearing.own(rotation, member), whose)


def _bearing_of(
    shared: Shared, rotation: Rotation, member: Member, windows: list[Window], subjects: Iterable[Subject]
) -> _Bearing:
    resting = _that_rest(shared, subjects)
    return _Bearing(windows, [(shared.rests[one], _apart_us(shared, rotation, member, one)) for one in resting])


def _with_place(shared: Shared, of: _Bearing, t: int, asked: Asked, now: int) -> tuple[int, int]:
    t = _free_at(shared, of, t, asked, now)
    at = place_at(shared, of.windows, t, asked.share, now)
    return at, at if at > t else 0


def place_at(shared: Shared, of: Iterable[Window], t: int, share: float, now: int) -> int:
    """From `t` on, when enough requests in flight have ended, unless they say that they are still."""
    leased = [window for window in of if window[1].kind == "leases" and window[1].enforce]
    return max(
        [t, *(_window_free_at(shared, window, need(window[1], None, share), t, share > 0, now) for window in leased)]
    )


def free_for(shared: Shared, rotation: Rotation, member: Member, t: int, asked: Asked, now: int) -> tuple[int, int]:
    """From `t` on, which is what it was for anybody, when the key has room for this ask, its pool aside.

    Also, where that hangs on requests in flight, until when they last if they do not end sooner; else 0.
    """
    of = _of_key(shared, rotation, member)
    if asked.share:
        return _with_place(shared, of, t, asked, now)
    return _free_at(shared, of, t, asked, now) if rotation.sets_of_tokens[member.limits] else t, 0


def free_of_client(shared: Shared, rotation: Rotation, asked: Asked, now: int) -> int:
    """From `now` on, when the client has room for this ask, whatever the key."""
    return _free_at(shared, _Bearing([], [], bearing.client(rotation)), now, asked, now)


def free_of_pool(shared: Shared, rotation: Rotation, member: Member, t: int, asked: Asked, now: int) -> int:
    """From `t` on, when the pool as a whole and the client have room for this ask, whatever the key."""
    of = _bearing_of(shared, rotation, member, bearing.total(rotation), bearing.of_all(rotation))
    return _free_at(shared, replace(of, clients=bearing.client(rotation)), t, asked, now)


def free_in_pool(shared: Shared, rotation: Rotation, member: Member, t: int, asked: Asked, now: int) -> int:
    """From `t` on, which is what it was for the key, when the key, its pool and the client have room for this ask."""
    if not (rotation.total or rotation.client.limits) and not _that_rest(shared, bearing.of_all(rotation)):
        return t
    whose = (*bearing.subjects(member, rotation.model), *bearing.of_all(rotation))
    of = _bearing_of(shared, rotation, member, bearing.common(rotation, member), whose)
    return _free_at(shared, replace(of, clients=bearing.client(rotation)), t, asked, now)


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
    return max((rest.ends for rest in rests_of(shared, rotation, member)), default=0)


def is_forbidden(shared: Shared, rotation: Rotation, member: Member, let_through: Iterable[Subject], now: int) -> bool:
    """Of a grant that was taken out: whether its key is disabled, or rests and has not let it through."""
    lasting = (one for one in _resting(shared, rotation, member) if shared.rests[one].ends > now)
    return member.key in shared.off or not set(lasting) <= set(let_through)


def is_let_through(shared: Shared, rotation: Rotation, member: Member, let_through: Iterable[Subject]) -> bool:
    """The same: whether all rests, those too that are over, have let it through."""
    return set(_resting(shared, rotation, member)) <= set(let_through)


def let_through_at(shared: Shared, rotation: Rotation, member: Member, t: int) -> int:
    """The same: from `t` on, when the rests let it through."""
    for subject in _resting(shared, rotation, member):
        apart_us = _apart_us(shared, rotation, member, subject)
        t = rests.free_at(shared.rests[subject], t, probing=True, guard_us=apart_us)
    return t


def rests_of(shared: Shared, rotation: Rotation, member: Member) -> list[Resting]:
    """All that bear on a grant of the key, its pool's too."""
    return [shared.rests[subject] for subject in _resting(shared, rotation, member)]


def _resting(shared: Shared, rotation: Rotation, member: Member) -> list[Subject]:
    return _that_rest(shared, (*bearing.subjects(member, rotation.model), *bearing.of_all(rotation)))


def _that_rest(shared: Shared, asked: Iterable[Subject]) -> list[Subject]:
    """Those with a rest, even one that is over, and not only with faults that are counted."""
    return [one for one in asked if one in shared.rests and shared.rests[one].kind != rests.COUNTS]


def enter(shared: Shared, rotation: Rotation, member: Member, moment: int, now: int, amounts: Amounts) -> None:
    """A grant of `moment`, in every window and in what the rests let through."""
    _enter(shared, bearing.all_windows(rotation, member), moment, now, amounts)
    for subject in _resting(shared, rotation, member):
        apart_us = _apart_us(shared, rotation, member, subject)
        shared.rests[subject] = rests.granted(shared.rests[subject], moment, now, apart_us)


def _enter(shared: Shared, of: Iterable[Window], moment: int, now: int, amounts: Amounts) -> None:
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


def begin(shared: Shared, leased: Iterable[Window], moment: int, now: int) -> None:
    """The request of a reservation is in flight."""
    _enter(shared, leased, moment, now, ONE)


def leave(
    shared: Shared, rotation: Rotation, member: Member, moment: int, now: int, amounts: Amounts, runs: bool
) -> tuple[int, set[Subject]]:
    """Takes the grant of `moment` out of every window and rest that still holds it.

    Returns how many did, and which rests had let it through. Only one that runs is in flight: another may be, of the
    same moment.
    """
    of = [window for window in bearing.all_windows(rotation, member) if runs or window[1].kind != "leases"]
    held = sum(_leave(shared, window, moment, now, amounts[unit_of(window[1])]) for window in of)
    let_through = set[Subject]()
    for subject in _resting(shared, rotation, member):
        if (left := rests.given_back(shared.rests[subject], moment)) is not None:
            shared.rests[subject] = left
            held += 1
            if left.since < moment:  # what was granted before it began it only keeps apart
                let_through.add(subject)
    return held, let_through


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


def settle(shared: Shared, grant: Grant, actual: Amounts, charged: Amounts, now: int) -> None:
    """A request is over: it counts what it came to instead of what was expected, and is in flight no more. The client's
    windows count what it is charged."""
    for window in bearing.common(grant.rotation, grant.member):
        _settle(shared, window, grant, actual, now)
    for window in bearing.client(grant.rotation):
        _settle(shared, window, grant, charged, now)


def _settle(shared: Shared, window: Window, grant: Grant, cost: Amounts, now: int) -> None:
    unit, expected = unit_of(window[1]), grant.amounts
    if window[1].kind == "leases":
        _leave(shared, window, grant.moment_us, now, 1)
    elif expected[unit] != cost[unit]:
        held = _leave(shared, window, grant.moment_us, now, expected[unit])
        if held or not expected[unit]:  # of nothing expected nothing was entered
            _enter(shared, [window], grant.moment_us, now, cost)


def finds(shared: Shared, rotation: Rotation, member: Member, moment: int) -> int:
    """What the request of a grant may end: 0 nothing, 1 a rest that is over or a run of faults, 2 a rest that lasts."""
    counts = any(one in shared.rests for one in bearing.of_all(rotation))
    return max((2 if rest.ends > moment else 1 for rest in rests_of(shared, rotation, member)), default=int(counts))


def _apart_us(shared: Shared, rotation: Rotation, member: Member, resting: Subject) -> int:
    """How far apart a rest keeps the grants of this key once it is over, whoever asks.

    A pool's keeps those of all its keys, whose guards differ; a provider's, until who was let through has found out.
    """
    if resting.account.startswith("!"):
        return rests.finding_us(shared.rests[resting])
    guard = guard_us(limit for _, limit in bearing.common(rotation, member))
    return GUARD_US if guard is None or resting == bearing.resting_pool(rotation.pool) else guard


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
