"""Each strategy's places give the turns that it promises: exact in every prefix, whatever the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import orders
from sidecar.model.configured import Strategy
from sidecar.model.words import Member

WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)
PRIORITIES = st.lists(st.integers(0, 3), min_size=1, max_size=5)


def members(weights: Sequence[int], priorities: Sequence[int] = ()) -> list[Member]:
    told = priorities or [0] * len(weights)
    return [Member(order, weight, told[order], "abcdefghi"[order], "f", "a", 0) for order, weight in enumerate(weights)]


def turns(strategy: Strategy, of: Sequence[Member], grants: int) -> str:
    """Who is granted, one after the other, while every key has room."""
    last: dict[int, float] = {}
    places = {member.text: orders.due(strategy, last, member) for member in of}
    ids = {member.text: member for member in of}
    found = ""
    for _ in range(grants):
        place, text = min((place, text) for text, place in places.items())
        found += ids[text].id
        places[text] = orders.granted(strategy, last, ids[text], place)
    return found


@pytest.mark.parametrize(
    ("strategy", "weights", "priorities", "expected"),
    [
        ("round_robin", [1, 1, 1], (), "abcabcabc"),
        ("round_robin", [3, 1], (), "ababab"),  # nothing but the order counts
        ("weighted", [3, 1], (), "aabaaaba"),
        ("weighted", [1, 1], (), "ababab"),
        ("weighted", [5, 1, 1], (), "aaabcaa"),
        ("fill_first", [1, 1], (), "aaaa"),
        ("least_used", [1, 1, 1], (), "abcabc"),
        ("priority", [1, 1, 1], (1, 0, 0), "bcbcbc"),
    ],
)
def test_turns_from_a_fresh_start(
    strategy: Strategy, weights: list[int], priorities: Sequence[int], expected: str
) -> None:
    assert turns(strategy, members(weights, priorities), len(expected)) == expected


@given(WEIGHTS, st.integers(0, 60))
def test_weighted_keys_are_never_a_grant_off_their_share(weights: list[int], grants: int) -> None:
    """In every prefix: n grants of a key mean that no other key's share has run a grant ahead of its own."""
    of = members(weights)
    counts = Counter(turns("weighted", of, grants))
    for one in of:
        for other in of:
            mine, others = Fraction(counts[one.id], one.weight), Fraction(counts[other.id], other.weight)
            half_a_grant = Fraction(1, 2 * one.weight) + Fraction(1, 2 * other.weight)
            assert abs(mine - others) <= half_a_grant


@given(WEIGHTS)
def test_a_round_of_weighted_turns_gives_each_key_its_weight(weights: list[int]) -> None:
    of = members(weights)
    assert Counter(turns("weighted", of, 3 * sum(weights))) == {one.id: 3 * one.weight for one in of}


@given(st.floats(0, 1e9), st.integers(1, 1000))
def test_next_place_is_the_first_of_its_weight_above_another(place: float, weight: int) -> None:
    """Also above one of another weight, which rounds: not lower, and none of its own is left out."""
    found = orders.above(place, weight)
    assert found > place
    n = round((2 * weight * found - 1) / 2)
    assert found == (2 * n + 1) / (2 * weight)
    assert n == 0 or (2 * n - 1) / (2 * weight) <= place


@given(PRIORITIES, st.integers(0, 40))
def test_only_the_lowest_priority_is_granted_while_it_has_room(priorities: list[int], grants: int) -> None:
    of = members([1] * len(priorities), priorities)
    best = [one.id for one in of if one.priority == min(priorities)]
    found = turns("priority", of, grants)
    assert list(found) == [best[n % len(best)] for n in range(grants)]


def test_key_that_comes_back_takes_its_own_place_among_its_equals() -> None:
    """Above the last granted of its own priority, wherever the others are."""
    of = members([1, 1, 1], (0, 0, 1))
    last = {0: 7.5, orders.PRIORITY_STEP: 2.5}
    assert [orders.due("priority", last, one) for one in of] == [8.5, 8.5, orders.PRIORITY_STEP + 3.5]


def test_key_whose_moment_has_come_is_filled_first_again() -> None:
    assert [orders.due("fill_first", {0: 9.5}, one) for one in members([1, 1, 1])] == [0, 1, 2]
