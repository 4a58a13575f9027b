"""How long a key, an account or a pool rests, and when it is tried again: the twin of `lua/parts/cooldown.lua`.

A rest ends at `ends`; `next` is the moment from which on one more request may be granted. Of a short rest it is its
end, a long one is probed by a request now and then, at growing intervals. Each grant moves it, until a success forgets
the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sidecar.model.configured import SECOND_US
from sidecar.model.words import Rest

NEVER = 9 * 10**15
LONG_US = 900 * SECOND_US  # a longer rest is probed
DEAD_PROBE_US = 60 * SECOND_US  # until the first probe of a dead key
MOST_PROBE_US = 6 * 3600 * SECOND_US  # between two probes
FORGOTTEN_US = 24 * 3600 * SECOND_US  # after its end a rest says nothing of the next refusal

SUSPICION, PROVED, DEAD = range(3)


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


def read(text: str) -> Resting:
    """The rest of a text as Redis holds it: ends, since, next, kind, streak, request, reason."""
    ends, since, following, kind, streak, request, reason = text.split("|", 6)
    return Resting(int(ends), int(since), int(following), int(kind), int(streak), request, reason)


def free_at(rest: Resting, probing: bool) -> int:
    """From when on a request, or a prober's call, may be granted."""
    return rest.next if probing or rest.kind != DEAD else max(rest.ends, rest.next)


def granted(rest: Resting, moment: int, guard_us: int) -> Resting:
    """After a grant at `moment`: a rest's end is worth one grant a guard, and a probe comes after as long again."""
    if moment >= rest.ends:
        return replace(rest, next=moment + guard_us)
    least = DEAD_PROBE_US if rest.kind == DEAD else LONG_US
    pause = min(MOST_PROBE_US, max(least, moment - rest.since))
    return replace(rest, next=min(rest.ends, moment + pause))


def given_back(rest: Resting, moment: int, guard_us: int) -> Resting:
    """When the grant of `moment` was given back: one guard less is reserved at the rest's end, or the probe is due."""
    if moment >= rest.ends:
        return replace(rest, next=max(rest.ends, rest.next - guard_us))
    return replace(rest, next=min(rest.next, moment))


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
    following = max(_first_probe(ends, kind, now), 0 if old is None else old.next)  # what was reserved is not moved
    rest = Resting(ends, now, following, kind, streak, request, new.reason)
    if old is None or old.ends <= now:
        return rest
    later = old if old.ends >= ends else rest
    return Resting(
        ends=later.ends,
        since=old.since,
        next=following,
        kind=max(old.kind, kind),
        streak=streak,
        request=later.request,
        reason=later.reason,
    )


def _first_probe(ends: int, kind: int, now: int) -> int:
    if kind == DEAD:
        return now + DEAD_PROBE_US
    return now + LONG_US if ends - now > LONG_US else ends
