"""How often LiteLLM's `simple-shuffle` picks each key of a pool where no deployment has a weight: by `rpm` or `tpm`.

Read after its router_strategy/simple_shuffle.py: among the deployments of a model group, of the lowest order that is
available, whichever of the two the first one has is the weight of all; one that has none of it is never picked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import gcd, lcm

from sidecar.config.importing.deployments import Deployment

_Picks = dict[str, Fraction]  # how often a key is picked beside the others


def shares(members: Iterable[Deployment]) -> Mapping[str, int] | None:
    """The weight of each key that is picked among several; none where they are picked alike.

    None: they are not, and no weights of keys say how, for they differ by model or order, or some are never picked.
    """
    found = [picks for picks in _picks(members) if len(picks) > 1]
    if all(len(set(picks.values())) == 1 for picks in found):
        return {}
    totals = {key: sum(picks.get(key, Fraction(0)) for picks in found) for picks in found for key in picks}
    if not all(totals.values()) or any(len({often / totals[key] for key, often in one.items()}) > 1 for one in found):
        return None
    unit = Fraction(
        gcd(*(total.numerator for total in totals.values())), lcm(*(total.denominator for total in totals.values()))
    )
    return {key: int(total / unit) for key, total in totals.items()}


def _picks(members: Iterable[Deployment]) -> Iterable[_Picks]:
    """For each set of deployments that LiteLLM picks one from, as far as one of our rotations may serve it."""
    by: dict[tuple[str, float], str | None] = {}
    found: dict[tuple[str, float, str], _Picks] = {}
    for one in members:
        rate = by.setdefault((one.group, one.order), next(iter(one.rates), None))
        picks = found.setdefault((one.group, one.order, one.model), {})
        often = Fraction(1 if rate is None else one.rates.get(rate, 0))
        picks[str(one.secret)] = picks.get(str(one.secret), Fraction(0)) + often
    return found.values()
