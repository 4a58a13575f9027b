"""How long a key, an account or a pool rests, and when it is tried again: the twin of `lua/parts/cooldown.lua`.

A rest ends at `ends`; `next` is the moment from which on a request may be granted. Of a short rest it is its end, a
long one is probed by a request now and then, at growing intervals. Once it is over its `grants` are a guard apart,
until a success forgets it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sidecar.model.configured import SECOND_US
from sidecar.model.words import Rest

NEVER = 9 * 10**15
LONG_US = 900 * SECOND_US  # a longer rest is probed
DEAD_PROBE_US = 60 * SECOND_US  # until the first probe of a dead key
MOST_PROBE_US = 6 * 3600 * SECOND_US  # between two probes
LEAST_FINDING_US, MOST_FINDING_US = 5 * SECOND_US, 30 * SECOND_US  # see `finding_us`
FORGOTTEN_US = 24 * 3600 * SECOND_US  # after its end a rest says nothing of the next refusal

SUSPICION, PROVED, DEAD, COUNTS = range(4)  # COUNTS: it does not rest, but counts faults by `streak`


@dataclass(frozen=True, slots=True)
class Resting:
    """A rest as the state holds it."""

    ends: int
    since: int
    next: int
    kind: int
    streak: int  # refusals in a row whose length nobody named
    request: str
    reason: str = ""
    grants: tuple[int, ...] = ()  # moments of what it let through, ascending, as far as they bear on others


def read(text: str) -> Resting:
    """The rest of a text as Redis holds it: ends, since, next, kind, streak, grants, request, reason."""
    ends, since, following, kind, streak, told, request, reason = text.split("|", 7)
    grants = tuple(int(told[i : i + 16]) for i in range(0, len(told), 16))
    return Resting(int(ends), int(since), int(following), int(kind), int(streak), request, reason, grants)


def free_at(rest: Resting, t: int, probing: bool, guard_us: int) -> int:
    """From `t` on, when a request, or a prober's call, may be granted."""
    if rest.kind == DEAD and not probing:
        return rest.ends
    t = max(t, rest.next)
    if t < rest.ends:
        return t
    moments = sorted({t, *(at + guard_us for at in rest.grants if at + guard_us > t)})
    return next(one for one in moments if all(abs(one - at) >= guard_us for at in rest.grants))


def granted(rest: Resting, moment: int, now: int, guard_us: int) -> Resting:
    """After a grant at `moment`: one more is let through a guard later, a probe after as long again."""
    kept = (at for at in rest.grants if at + (LONG_US if at < rest.ends else guard_us) > now)
    rest = replace(rest, grants=tuple(sorted((*kept, moment))))
    if moment >= rest.ends:
        return rest
    least = DEAD_PROBE_US if rest.kind == DEAD else LONG_US
    pause = min(MOST_PROBE_US, max(least, moment - rest.since))
    return replace(rest, next=min(rest.ends, moment + pause))


def given_back(rest: Resting, moment: int) -> Resting | None:
    """When the grant of `moment` was given back: others may have its moment; None: it was none of this rest's."""
    if moment not in rest.grants:
        return None
    at = rest.grants.index(moment)
    following = min(rest.next, moment) if rest.since < moment < rest.ends else rest.next
    return replace(rest, next=following, grants=(*rest.grants[:at], *rest.grants[at + 1 :]))


def finding_us(rest: Resting) -> int:
    """How long who finds out whether a provider works again is waited for, before another may: as long as it paused.

    Whoever it is may be gone, and nobody knows. One that only takes longer is no harm: then two find out.
    """
    return min(MOST_FINDING_US, max(LEAST_FINDING_US, rest.ends - rest.since))


def holds_back(rest: Resting, now: int) -> bool:
    """Whether the success of a request makes room: the rest lasts, or keeps grants apart."""
    return rest.ends > now or bool(rest.grants)


def is_done(rest: Resting, now: int) -> bool:
    """Whether it may go: it says nothing of the next refusal, and keeps no grants apart."""
    return max((rest.ends, *rest.grants)) + FORGOTTEN_US <= now


def refused(old: Resting | None, new: Rest, request: str, moment: int, now: int) -> Resting:
    """After the refusal of a request granted at `moment`. A rest only moves later, and what was proved stays so."""
    if old is not None and old.ends + FORGOTTEN_US <= now:
        old = None
    kind = DEAD if new.dead else PROVED if new.proved else SUSPICION
    streak = 0 if old is None else old.streak
    delay = new.delay_us
    if new.most_us:
        streak += old is None or moment >= old.since
        delay = min(max(new.most_us, delay), delay * 2 ** max(0, streak - 1))
    ends = NEVER if new.dead else now + delay
    following = max(_first_probe(ends, kind, now), 0 if old is None else old.next)
    rest = Resting(ends, now, following, kind, streak, request, new.reason)
    if old is None:
        return rest
    if old.ends > now:
        later = old if old.ends >= ends else rest
        rest = replace(later, since=old.since, next=following, kind=max(old.kind, kind), streak=streak)
    # What was granted goes on to keep others apart; what is still to come before the end nobody may send any more.
    return replace(rest, grants=tuple(at for at in old.grants if at <= now or at >= rest.ends))


def _first_probe(ends: int, kind: int, now: int) -> int:
    if kind == DEAD:
        return now + DEAD_PROBE_US
    return now + LONG_US if ends - now > LONG_US else ends
