"""Whose turn it is among those that share by weight: evenly, so that of any ten at 9 and 1 one goes to the second.

Tijdeman's solution of the chairman assignment problem (Discrete Mathematics 32, 1980): of those that are far enough
behind their share the one whose turn must come soonest. After any number of turns nobody is as much as one turn from
its share, with two of them half a turn, and after as many as the weights' sum all have theirs. (The smooth weighted
round robin of nginx takes the one that is furthest behind, which bounds two alike, but more of them less.)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

Behind = tuple[int, ...]  # of each, by how much it is behind its share: in turns, times the sum of the weights


def start(weights: Sequence[int]) -> Behind:
    """Before the first turn."""
    return (0,) * len(weights)


def period(weights: Sequence[int]) -> int:
    """After so many turns all is as it was."""
    return sum(weights) // gcd(*weights)


def turn(weights: Sequence[int], behind: Behind) -> tuple[tuple[int, ...], Behind]:
    """Whose turn it is, then the others as theirs come, by their places; and how it stands after that.

    `weights`: two or more, each 1 or more.
    """
    whole, finest = sum(weights), 2 * len(weights) - 2
    now = [one + weight for one, weight in zip(behind, weights, strict=True)]
    due = [((finest - 1) * whole - finest * one) / weight for one, weight in zip(now, weights, strict=True)]
    order = sorted(range(len(weights)), key=due.__getitem__)
    first = next(at for at in order if finest * now[at] >= whole)
    now[first] -= whole
    order.remove(first)
    return (first, *order), tuple(now)
