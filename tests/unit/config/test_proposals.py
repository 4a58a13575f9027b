"""What a provider names, as somebody would write it into the config."""

from __future__ import annotations

import pytest

from sidecar.config import proposals
from sidecar.model.configured import Calendar, Limit
from sidecar.model.events import Drifted
from sidecar.model.outcomes import NamedLimit

from .conftest import Desk

PACIFIC = "America/Los_Angeles"
MINUTE_US = 60_000_000
OURS = Limit("requests", 20, MINUTE_US, 1_000_000)


@pytest.mark.parametrize(
    ("named", "zone", "written"),
    [
        (NamedLimit("requests", "minute", 10), "UTC", "{requests: 10, per: minute}"),
        (NamedLimit("requests", "second", 2), "UTC", "{requests: 2, per: 1s}"),
        (NamedLimit("tokens", "hour", 9, model="gpt-4o"), "UTC", "{tokens: 9, per: hour, model: gpt-4o}"),
        (NamedLimit("requests", "hour", 9, model="a/b:free"), "UTC", '{requests: 9, per: hour, model: "a/b:free"}'),
        (NamedLimit("requests", "day", 250), "UTC", "{requests: 250, per: day}"),
        (NamedLimit("requests", "day", 250), PACIFIC, f"{{requests: 250, per: calendar_day, tz: {PACIFIC}}}"),
        (NamedLimit("tokens", "month", 9), "UTC", "{tokens: 9, per: calendar_month}"),
        (NamedLimit("requests", "", 9), "UTC", None),
        (NamedLimit("requests", "session", 9), "UTC", None),
    ],
)
def test_an_entry_of_limits(named: NamedLimit, zone: str, written: str | None) -> None:
    assert proposals.entry(named, zone) == written


@pytest.mark.parametrize("model", ["gpt-4o", "a/b:free", "4", "null-1", "ein Modell, {x: y}"])
def test_an_entry_can_be_pasted(desk: Desk, model: str) -> None:
    entry = proposals.entry(NamedLimit("requests", "minute", 10, model=model), "UTC")
    config = desk.load(f"pools: {{p: {{provider: openai, keys: [{{id: a, secret: k}}], limits: [{entry}]}}}}")
    (limit,) = config.budgets[config.pools["p"].keys[0].account]
    assert (limit.max, limit.window_us, limit.model) == (10, MINUTE_US, model)


@pytest.mark.parametrize(
    ("limit", "fits"),
    [
        (OURS, True),
        (Limit("requests", 20, MINUTE_US, 1, "gpt*"), True),
        (Limit("requests", 20, MINUTE_US, 1, "o3"), False),
        (Limit("requests", 20, 2 * MINUTE_US, 1), False),
        (Limit("requests", 20, 0, 1, calendar=Calendar("day", "UTC")), False),
        (Limit("tokens", 20, MINUTE_US, 1), False),
        (Limit("requests", 20, MINUTE_US, 1, enforce=False), False),
    ],
)
def test_a_limit_of_ours_that_counts_the_same(limit: Limit, fits: bool) -> None:
    named = NamedLimit("requests", "minute", 10, model="gpt-4o")
    assert proposals.alike([limit], named) == (limit if fits else None)


@pytest.mark.parametrize(
    ("named", "advice"),
    [
        (NamedLimit("requests", "minute", 10), "pools.chat.limits: {requests: 10, per: minute}"),
        (NamedLimit("tokens", "minute", 10), "pools.chat.limits: {tokens: 10, per: minute}"),
        (
            NamedLimit("requests", "minute", 20),
            "pools.chat.limits: less than {requests: 20, per: minute}, by what the key is used for elsewhere",
        ),
        (None, "pools.chat.limits: lower what is above the provider's limit, or find who else uses the key"),
        (
            NamedLimit("requests", "", 10),
            "pools.chat.limits: lower what is above the provider's limit, or find who else uses the key",
        ),
    ],
)
def test_advice_against_a_drift(named: NamedLimit | None, advice: str) -> None:
    """A limit of ours that is no higher than the provider's was not too high: somebody else spends it."""
    drift = Drifted("r", "chat", "a", "m", "rate_limit_minute", (OURS,), named, "UTC", 1)
    assert proposals.advice(drift) == advice


@pytest.mark.parametrize(
    ("named", "calendar"),
    [
        (NamedLimit("requests", "day", 250), Calendar("day", PACIFIC)),
        (NamedLimit("input_tokens", "month", 9), Calendar("month", PACIFIC)),
    ],
)
def test_an_entry_of_a_calendar_can_be_pasted_and_is_found_again(
    desk: Desk, named: NamedLimit, calendar: Calendar
) -> None:
    entry = proposals.entry(named, PACIFIC)
    config = desk.load(f"pools: {{p: {{provider: openai, keys: [{{id: a, secret: k}}], limits: [{entry}]}}}}")
    (limit,) = config.budgets[config.pools["p"].keys[0].account]
    assert (limit.unit, limit.max, limit.calendar) == (named.unit, named.max, calendar)
    assert proposals.alike([limit], named) == limit
