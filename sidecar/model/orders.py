"""A key's place in the turn order, by strategy: the twins of `lua/parts/order_*.lua`, in one table.

The n-th place of a key is (2n + 1) / (2 * weight), in round robin with a weight of 1; ties go by the config's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from sidecar.model.configured import Strategy
from sidecar.model.words import Member

PRIORITY_STEP = 10**11  # above the places of a lower number


def above(place: float, weight: int = 1) -> float:
    """The first place of this weight above another place."""
    n = max(0, math.floor(Fraction(place) * weight - Fraction(1, 2)) - 1)
    while (2 * n + 1) / (2 * weight) <= place:
        n += 1
    return (2 * n + 1) / (2 * weight)


@dataclass(frozen=True, slots=True)
class Order:
    """`base`: what places of this member are counted from. `place`: its first place above the last, relative to that;
    None: places do not depend on what was granted last."""

    base: Callable[[Member], int]
    place: Callable[[float, Member], float] | None = None
    counts: bool = False  # a place is how many grants the key was given today


ORDERS: Mapping[Strategy, Order] = {
    "round_robin": Order(lambda _: 0, lambda last, _: above(last)),
    "weighted": Order(lambda _: 0, lambda last, member: above(last, member.weight)),
    "priority": Order(lambda member: member.priority * PRIORITY_STEP, lambda last, _: above(last)),
    "fill_first": Order(lambda member: member.order),
    "least_used": Order(lambda _: 0, counts=True),
}


def due(strategy: Strategy, last: Mapping[int, float], member: Member, turns: int = 1) -> float:
    """The place of a member that begins, or whose moment has come, in so many turns. `last`: the highest granted, by
    base."""
    order = ORDERS[strategy]
    base = order.base(member)
    if order.place is None:
        return float(base)
    place = last.get(base, 0.0)
    for _ in range(turns):
        place = order.place(place, member)
    return base + place


def granted(strategy: Strategy, last: dict[int, float], member: Member, place: float) -> float:
    """Its next place after a grant at this one; raises `last`."""
    order = ORDERS[strategy]
    base = order.base(member)
    if order.counts:
        return place + 1
    if order.place:
        last[base] = max(last.get(base, 0.0), place - base)
    return due(strategy, last, member)
