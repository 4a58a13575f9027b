"""Turns by weight: no prefix of them is far from the shares, wherever it begins."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import shares

WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=7)


def turns(weights: list[int], count: int, after: int = 0) -> list[int]:
    """Whose the turns are that follow the first `after`."""
    behind, firsts = shares.start(weights), []
    for _ in range(after + count):
        (first, *_), behind = shares.turn(weights, behind)
        firsts.append(first)
    return firsts[after:]


@given(WEIGHTS, st.integers(0, 300))
def test_no_prefix_is_two_turns_from_its_shares_wherever_it_begins(weights: list[int], after: int) -> None:
    """With two of them, not more than one."""
    seen: Counter[int] = Counter()
    for count, first in enumerate(turns(weights, 200, after), 1):
        seen[first] += 1
        off = max(abs(seen[at] - count * weight / sum(weights)) for at, weight in enumerate(weights))
        assert off < 2
        assert off <= 1 or len(weights) > 2


@given(WEIGHTS)
def test_from_the_start_nobody_is_a_whole_turn_from_its_share(weights: list[int]) -> None:
    seen: Counter[int] = Counter()
    for count, first in enumerate(turns(weights, 400), 1):
        seen[first] += 1
        assert max(abs(seen[at] - count * weight / sum(weights)) for at, weight in enumerate(weights)) < 1


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.integers(0, 60))
def test_after_a_period_all_had_their_shares(weights: list[int], after: int) -> None:
    period = shares.period(weights)
    seen = Counter(turns(weights, period, after))
    assert [seen[at] * sum(weights) for at in range(len(weights))] == [weight * period for weight in weights]


@pytest.mark.parametrize(
    ("weights", "firsts"),
    [([9, 1], "aaaaabaaaa"), ([1, 1], "abab"), ([2, 1, 1], "abcaabca"), ([5, 3, 2], "abacabacba")],
)
def test_turns_are_spread(weights: list[int], firsts: str) -> None:
    assert "".join("abc"[first] for first in turns(weights, len(firsts))) == firsts


def test_the_others_follow_as_their_turns_come() -> None:
    """So who stands in for one that fails is not always the same."""
    weights, behind, seconds = [6, 3, 1], shares.start([6, 3, 1]), Counter[int]()
    for _ in range(100):
        (first, *others), behind = shares.turn(weights, behind)
        assert sorted([first, *others]) == [0, 1, 2]
        seconds[others[0]] += first == 0
    assert seconds[1] > seconds[2] > 0
