"""What was promised, how much of it was seen, and what was broken: the table at the end of a soak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.soak.callers import LIMITED, whose
from tests.soak.traffic import Sent

Promise = Literal[
    "budgets of accounts",
    "limits of clients",
    "a refusal spends nothing",
    "answers",
    "rotation",
    "one call a stampede",
    "things at their account",
    "a dead provider",
    "the models' names",
    "secrets",
    "processes",
]


@dataclass(slots=True)
class Verdict:
    """What did not hold so far, one line each, and of which promise how often."""

    failures: list[str] = field(default_factory=list)
    broken: Counter[Promise] = field(default_factory=Counter)

    def take(self, promise: Promise, found: Iterable[str]) -> list[str]:
        """What is new."""
        new = list(found)
        self.failures += new
        self.broken[promise] += len(new)
        return new

    def table(self, seen: Mapping[Promise, str]) -> str:
        """A line for each promise: what was seen of it, and whether it held."""
        wide = max(map(len, seen)), max(map(len, seen.values()))
        held = {one: f"BROKEN {self.broken[one]} times" if self.broken[one] else "held" for one in seen}
        return "".join(f"{one:<{wide[0]}}  {text:<{wide[1]}}  {held[one]}\n" for one, text in seen.items())


def seen(
    sent: Sequence[Sent], arrivals: Sequence[Mapping[str, Any]], grants: int, stampedes: int, deaths: int, replicas: int
) -> Mapping[Promise, str]:
    """How much there was of what each promise is about."""
    ends = Counter(one.end for one in sent)
    of_limited = [one for one in sent if one.client in LIMITED]
    refused = sum(one.end == 429 for one in of_limited)
    came = Counter(whose(one["tag"]) in LIMITED for one in arrivals)
    hits = sum(one.cache == "hit" for one in sent)
    uses = sum(one.kind == "uses" and one.end == 200 for one in sent)
    frail = Counter(one["status"] for one in arrivals if one["model"].startswith("frail-"))
    failed = sum(count for status, count in frail.items() if status != 200)
    return {
        "budgets of accounts": f"{len(arrivals)} requests at the provider",
        "limits of clients": f"{came[True]} requests of limited clients there",
        "a refusal spends nothing": f"{ends[429]} answers 429, {refused} of them to limited clients",
        "answers": f"{len(sent)} requests, {ends['told']} streams told that they broke, {ends['cut']} answers cut",
        "rotation": f"{grants} grants",
        "one call a stampede": f"{stampedes} stampedes undisturbed, {hits} hits",
        "things at their account": f"{uses} uses of what was made",
        "a dead provider": f"{deaths} deaths, {failed} requests of {frail.total()} failed there",
        "the models' names": f"{sum(bool(one.called) for one in sent)} answers that name one",
        "secrets": "answers, logs, Redis and its commands",
        "processes": f"{replicas} replicas",
    }
