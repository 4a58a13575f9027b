"""A provider that is dead for a while, whole: how much it is asked meanwhile, and how soon all is well again.

Two pools call it by a host of its own. One has a breaker, whose pause is short; the other has none, so that only the
retry budget bounds what it asks. A route shares its requests between the first and a pool that lives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tests.soak.faults import AFTER_S, Disruption
from tests.soak.pools import FAILURES, PAUSE_S, RETRIES
from tests.soak.routes import FRAIL, SHARED
from tests.soak.traffic import Sent
from tests.soak.world import moment

AT_ONCE = 8  # that are on their way as the breaker opens
PROBE_S = 5.0, 30.0  # the least and the most that whoever finds out is waited for (lua/parts/cooldown.lua, `finding`)
FLOOR = 12  # retries of a replica that its budget allows in any case, 10 and as many a minute (pool/retries.py)


class Outage(NamedTuple):
    """One time in which it was dead, in the soak's seconds, and until when its breaker may keep everybody from it."""

    began: float
    ended: float
    over: float
    asked: int  # requests of the pool with a breaker that arrived, however often


def outages(disruptions: Iterable[Disruption], arrivals: Sequence[Mapping[str, Any]]) -> list[Outage]:
    """Each pause is twice the one before, and nobody asks within one: so the latest is at most twice the latest gap.

    Who is chosen to find out may be killed, or never learn of it: Redis's reply is lost. Then another is, but later.
    """
    disruptions = list(disruptions)
    found = []
    for dead in disruptions:
        if dead.kind == "dead":
            came = [(moment(one["at_ns"]), one["tag"]) for one in arrivals if one["model"] == "frail-1"]
            within = [at for at, _ in came if dead.began <= at <= dead.ended]
            asked = {tag for at, tag in came if dead.began <= at <= dead.ended}
            gaps = [later - earlier for earlier, later in pairwise(within) if later - earlier >= PAUSE_S]
            pause = max(PAUSE_S, 2 * gaps[-1] if gaps else 0)
            over = max((within or [dead.ended])[-1] + pause, dead.ended)
            if any(one.kind != "dead" and one.began <= over and one.ended >= dead.began for one in disruptions):
                over += min(max(pause, PROBE_S[0]), PROBE_S[1])
            found.append(Outage(dead.began, dead.ended, over + PAUSE_S, len(asked)))
    return found


def concerned(one: Sent, dead: Iterable[Outage]) -> bool:
    """Whether it may be told that the provider is dead, or was."""
    return one.asked in (*FRAIL, SHARED) and any(of.began - 1 <= one.ended and one.began <= of.over for of in dead)


def stormed(dead: Iterable[Outage], disruptions: Sequence[Disruption]) -> Iterator[str]:
    """Dead providers that were asked more than the breaker lets through; what Redis does not hear cannot open it."""
    for of in dead:
        others = sum(one.kind != "dead" and of.began - AFTER_S <= one.began <= of.ended for one in disruptions)
        probes = sum(PAUSE_S * 2**doubled <= of.ended - of.began for doubled in range(8))
        most = FAILURES + AT_ONCE + probes + FAILURES * others
        if of.asked > most:
            yield f"a dead provider met {of.asked} requests in {of.ended - of.began:.1f} s, at most {most} are due"


def repeated(sent: Iterable[Sent], arrivals: Iterable[Mapping[str, Any]], deaths: int) -> Iterator[str]:
    """Replicas that asked the provider again more often than their retry budget allows, as it counted."""
    came = Counter(one["tag"] for one in arrivals if one["model"].startswith("frail-"))
    asked: Counter[str] = Counter()
    again: Counter[str] = Counter()
    for one in sent:
        if came[one.tag]:
            asked[one.replica.name] += 1
            again[one.replica.name] += came[one.tag] - 1
    for name, count in again.items():
        most = RETRIES * asked[name] + FLOOR * deaths
        if count > most:
            yield f"{name} asked a dead provider again {count} times in {asked[name]} requests, {most:.0f} are due"
