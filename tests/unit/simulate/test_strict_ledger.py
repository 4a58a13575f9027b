"""The count that every other test relies on."""

from __future__ import annotations

import random

import pytest

from sidecar.simulate.ledger import SECOND_NS, Arrival, Budget, Ledger, Violation, matches

MINUTE_NS = 60 * SECOND_NS


def arrive(ledger: Ledger, at_ns: int, account: str = "acme", model: str = "m") -> Violation | None:
    arrival = Arrival(at_ns, "POST", "/", "key", account, model)
    ledger.arrivals.append(arrival)
    return ledger.enter(arrival)


def test_an_arrival_counts_up_to_but_not_at_the_end_of_its_window() -> None:
    ledger = Ledger([(1, 60)])
    assert arrive(ledger, 0) is None
    broken = arrive(ledger, MINUTE_NS - 1)
    assert broken
    assert (broken.held, broken.retry_ns) == (2, MINUTE_NS)
    assert arrive(ledger, 2 * MINUTE_NS - 1) is None


def test_an_arrival_exactly_a_window_later_has_room() -> None:
    ledger = Ledger([(1, 60)])
    assert [arrive(ledger, at * MINUTE_NS) for at in range(5)] == [None] * 5
    assert ledger.worst("acme") == {Budget(1, 60): 1}
    assert ledger.excess() == []


def test_a_window_lies_across_the_edge_of_a_clock_minute() -> None:
    """Ten before the minute's edge and ten after it are twenty in a window, though ten in each clock minute."""
    ledger = Ledger([(10, 60)])
    for number in range(20):
        arrive(ledger, MINUTE_NS - 10 + number)
    assert ledger.worst("acme") == {Budget(10, 60): 20}
    assert [(peak.account, peak.held) for peak in ledger.excess()] == [("acme", 20)]
    assert len(ledger.violations) == 10


def test_a_refused_arrival_counts_too() -> None:
    ledger = Ledger([(1, 60)])
    arrive(ledger, 0)
    assert arrive(ledger, MINUTE_NS // 2)
    assert arrive(ledger, MINUTE_NS)


def test_names_that_match_a_pattern_share_one_budget() -> None:
    ledger = Ledger([(2, 60, "pro-*")])
    assert arrive(ledger, 0, model="pro-1") is None
    assert arrive(ledger, 1, model="flash") is None
    assert arrive(ledger, 2, model="pro-2") is None
    broken = arrive(ledger, 3, model="pro-3")
    assert broken
    assert broken.budget.model == "pro-*"
    assert ledger.worst("acme") == {Budget(2, 60, "pro-*"): 3}


def test_accounts_have_windows_of_their_own() -> None:
    ledger = Ledger([(1, 60)])
    assert arrive(ledger, 0, "acme") is None
    assert arrive(ledger, 0, "other") is None
    assert ledger.excess() == []


def test_of_several_broken_budgets_the_answer_waits_for_the_longest() -> None:
    ledger = Ledger([(1, 60), (1, 3600), (5, 86_400)])
    arrive(ledger, 0)
    broken = arrive(ledger, SECOND_NS)
    assert broken
    assert broken.budget.window_s == 3600
    assert [found.budget.window_s for found in ledger.violations] == [60, 3600]


def test_a_late_body_is_counted_at_the_moment_of_its_headers() -> None:
    """Entered last, though it came first: the window that it overfills is found."""
    ledger = Ledger([(1, 60)])
    arrive(ledger, 3 * SECOND_NS)
    assert arrive(ledger, 0)
    assert ledger.worst("acme") == {Budget(1, 60): 2}


def test_the_live_count_and_the_count_afterwards_agree_with_a_plain_count() -> None:
    """Over random histories; the plain count opens a window at every arrival."""
    draw = random.Random(7)
    for _ in range(200):
        ledger = Ledger([(draw.randint(1, 4), draw.choice([0.5, 1, 2.5]))])
        moments = sorted(draw.randrange(0, 40) * SECOND_NS // 4 for _ in range(draw.randint(1, 30)))
        for moment in moments:
            arrive(ledger, moment)
        (budget,) = ledger.budgets
        plain = max(sum(start <= at < start + budget.window_ns for at in moments) for start in moments)
        assert ledger.worst("acme") == {budget: plain}
        assert max((found.held for found in ledger.violations), default=0) == (plain if plain > budget.max else 0)


@pytest.mark.parametrize("budget", [(0, 60), (1, 0), (-1, 60)])
def test_a_budget_that_allows_nothing_is_refused(budget: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="allows nothing"):
        Ledger([budget])


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("", "anything", True),
        ("", "", True),
        ("*", "anything", True),
        ("*", "", False),
        ("gpt-4*", "gpt-4o-mini", True),
        ("gpt-4*", "my-gpt-4", False),
        ("g*-pro", "gemini-2.5-pro", True),
        ("gemini-2.5-pro", "gemini-2x5-pro", False),
        ("[ab]", "a", False),
    ],
)
def test_only_a_star_is_special_in_a_pattern(pattern: str, name: str, covered: bool) -> None:
    assert matches(pattern, name) is covered
