"""How often LiteLLM's `simple-shuffle` picks each target of a model group: the weights of a route's targets.

Read after its router_strategy/simple_shuffle.py: whichever of `weight`, `rpm` and `tpm` the first deployment has is the
weight of all, and one that has none of it is never picked; without any of them all are picked alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm

from sidecar.config.importing.deployments import Deployment

_MOST = 1000  # as a target's weight may be


def weights(tier: Sequence[Sequence[Deployment]]) -> Sequence[int]:
    """Of each target, whose deployments these are; none where there is but one, or one that is never picked."""
    first = tier[0][0]
    rate = next(iter(first.rates), None)
    if len(tier) == 1:
        return ()
    if first.weight:
        often = [sum(Fraction(str(one.weight or 0)) for one in ones) for ones in tier]
    elif rate:
        often = [sum(Fraction(str(one.rates.get(rate, 0))) for one in ones) for ones in tier]
    else:
        often = [Fraction(len(ones)) for ones in tier]
    if not all(often):
        return ()
    unit = Fraction(gcd(*(share.numerator for share in often)), lcm(*(share.denominator for share in often)))
    whole = [int(share / unit) for share in often]
    most = max(whole)
    return whole if most <= _MOST else [max(1, round(share * _MOST / most)) for share in whole]
