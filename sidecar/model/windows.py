"""A sliding window as pairs (moment, count), ascending, past and reserved: the twin of `lua/parts/window_log.lua`.

Written from the rules, not from the Lua: lists where that cuts texts, searches where that steps.
"""

from __future__ import annotations

from bisect import bisect_right, insort

from sidecar.model.configured import Limit

# Up to this maximum each moment has a pair of its own; above, and where nothing is refused, a sixtieth of the window
# shares one.
EXACT = 64

Log = tuple[tuple[int, int], ...]


def _step(limit: Limit) -> int:
    return -(-limit.window_us // 60)


def rounded_up(limit: Limit, moment: int) -> int:
    """The end of the sixtieth of the window that the moment lies in."""
    return -(-moment // _step(limit)) * _step(limit)


def _is_exact(limit: Limit) -> bool:
    return limit.max <= EXACT and limit.enforce


def _stamp(limit: Limit, moment: int) -> int:
    return moment if _is_exact(limit) else rounded_up(limit, moment)


def free_at(limit: Limit, log: Log, t: int, need: int = 1, leaves: bool = False) -> int:
    """The first moment, `t` at the earliest, at which `need` more leave no window with too many: of those who reserved
    later ones too.

    Who `leaves` a share to others keeps a sixtieth more apart from what is rounded up: else moments a window apart look
    as if they might lie in one, and nobody finds the share between them.
    """
    if sum(count for _, count in log) + need <= limit.max:
        return t
    length = limit.window_us + limit.guard_us + (_step(limit) if leaves and not _is_exact(limit) else 0)
    moments = {t, *(moment for moment, _ in log), *(moment + length for moment, _ in log)}
    return next(at for at in sorted(moments) if at >= t and _has_room(limit, log, at, need, length))


def _has_room(limit: Limit, log: Log, at: int, need: int, length: int) -> bool:
    """Whether `need` more may be granted at this moment.

    Of every window that holds it: those that begin with an entry before, and the one that it begins. Where some are
    rounded up, which may be a sixtieth earlier than they say, all reach as much further.
    """
    rounded = _step(limit) if any(moment == rounded_up(limit, moment) for moment, _ in log) else 0
    reach = max(length, limit.window_us + limit.guard_us + rounded)
    begins = [moment for moment, _ in log if at - length < moment <= _stamp(limit, at)]
    return all(
        sum(count for moment, count in log if first <= moment < first + reach) + need <= limit.max
        for first in (at, *begins)
    )


def free_before(limit: Limit, log: Log, moment: int, need: int = 1) -> int:
    """From `moment` on, with regard only to grants up to it, and to rounded ones whose sixtieth has begun."""
    bound, left = rounded_up(limit, moment), limit.max - need
    for at, count in reversed(log):
        if at <= moment or bound >= at == rounded_up(limit, at):
            left -= count
            if left < 0:
                return max(moment, at + limit.window_us + limit.guard_us)
    return moment


def enter(limit: Limit, log: Log, moment: int, now: int, amount: int = 1) -> Log:
    """The log with a grant more, and without what can matter to nobody at `now`."""
    stamp = _stamp(limit, moment)
    kept = [entry for entry in log if entry[0] + limit.window_us + limit.guard_us > now]
    at = bisect_right(kept, stamp, key=lambda entry: entry[0])
    if at and kept[at - 1][0] == stamp:
        kept[at - 1] = (stamp, kept[at - 1][1] + amount)
    else:
        insort(kept, (stamp, amount))
    return tuple(kept)


def leave(limit: Limit, log: Log, moment: int, now: int, amount: int = 1) -> tuple[Log, bool]:
    """The log without the grant of `moment`, and whether it was still in it."""
    if moment + limit.window_us + limit.guard_us <= now:
        return log, False
    for at, (stamp, count) in enumerate(log):
        if stamp in (moment, rounded_up(limit, moment)):
            rest = ((stamp, count - amount),) if count > amount else ()
            return log[:at] + rest + log[at + 1 :], True
    return log, False


def read(text: str) -> Log:
    """The pairs of a window's text as Redis holds it, behind their total."""
    return tuple((int(text[i : i + 16]), int(text[i + 16 : i + 32])) for i in range(16, len(text), 32))


def used(limit: Limit, log: Log, now: int) -> int:
    """How much of the maximum is taken at `now`, reservations included."""
    return sum(count for moment, count in log if moment + limit.window_us + limit.guard_us > now)
