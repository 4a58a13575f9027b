"""A sliding window as pairs (moment, count), ascending, past and reserved: the twin of `lua/parts/window_log.lua`.

Written from the rules, not from the Lua: lists where that cuts texts, searches where that steps.
"""

from __future__ import annotations

from bisect import bisect_right, insort

from sidecar.model.configured import Limit

EXACT = 64  # up to this maximum each moment has a pair of its own; above, a sixtieth of the window shares one

Log = tuple[tuple[int, int], ...]


def rounded_up(limit: Limit, moment: int) -> int:
    """The end of the sixtieth of the window that the moment lies in."""
    step = -(-limit.window_us // 60)
    return -(-moment // step) * step


def free_at(limit: Limit, log: Log, t: int, need: int = 1) -> int:
    """From which moment on, `t` at the earliest, there is room for `need` more."""
    left = limit.max - need
    for moment, count in reversed(log):
        left -= count
        if left < 0:
            return max(t, moment + limit.window_us + limit.guard_us)
    return t


def free_before(limit: Limit, log: Log, moment: int, need: int = 1) -> int:
    """As `free_at`, with regard only to grants up to `moment`, and to rounded ones whose sixtieth has begun."""
    bound = rounded_up(limit, moment)
    past = tuple(entry for entry in log if entry[0] <= moment or bound >= entry[0] == rounded_up(limit, entry[0]))
    return free_at(limit, past, moment, need)


def enter(limit: Limit, log: Log, moment: int, now: int, amount: int = 1) -> Log:
    """The log with a grant more, and without what can matter to nobody at `now`."""
    stamp = moment if limit.max <= EXACT else rounded_up(limit, moment)
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
