"""Limits, totals, concurrency and strategies: what the file may say, and what it comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.limits import LONGEST_US, counted, label, per
from sidecar.model.configured import LEASE_US, Calendar, Config, Limit, Strategy

from .conftest import Desk

MINUTE, SECOND = 60_000_000, 1_000_000
LOS_ANGELES = "America/Los_Angeles"
TOKENS = Limit("tokens", 5, MINUTE, SECOND)


def one(desk: Desk, entries: str, provider: str = "openai", more: str = "") -> tuple[Limit, ...]:
    """The budget of the only key of a pool with these limits."""
    config = desk.load(
        f"pools: {{p: {{provider: {provider}, keys: [{{id: a, secret: s1}}], limits: {entries}{more}}}}}"
    )
    return next(iter(config.budgets.values()), ())


def pool(desk: Desk, fields: str, keys: str = "[{id: a, secret: s1}]") -> Config:
    return desk.load(f"pools: {{p: {{provider: openai, keys: {keys}, {fields}}}}}")


def test_several_units_in_one_entry_are_a_limit_each(desk: Desk) -> None:
    """They share window, guard and model; only those with input in them may leave cached input out."""
    entry = "[{requests: 3, tokens: 500, input_tokens: 400, output_tokens: 100, per: 90s, model: m-*, guard: 2s%s}]"
    told = (("input_tokens", 400), ("output_tokens", 100), ("requests", 3), ("tokens", 500))
    assert one(desk, entry % "") == tuple(Limit(unit, most, 90 * SECOND, 2 * SECOND, "m-*") for unit, most in told)  # type: ignore[arg-type]
    uncached = {limit.unit for limit in one(desk, entry % ", count_cached: false") if not limit.count_cached}
    assert uncached == {"tokens", "input_tokens"}


@pytest.mark.parametrize(
    ("provider", "said", "zone"),
    [("openai", "", "UTC"), ("gemini", "", LOS_ANGELES), ("gemini", ", tz: Europe/Berlin", "Europe/Berlin")],
)
def test_calendar_is_of_the_zone_that_is_said_else_of_the_providers(
    desk: Desk, provider: str, said: str, zone: str
) -> None:
    found = one(desk, f"[{{requests: 9, per: calendar_day{said}}}, {{tokens: 7, per: calendar_month{said}}}]", provider)
    assert found == (
        Limit("requests", 9, 0, SECOND, calendar=Calendar("day", zone)),
        Limit("tokens", 7, 0, SECOND, calendar=Calendar("month", zone)),
    )


def test_zone_of_a_variable_is_a_plain_text(desk: Desk) -> None:
    entry = "{requests: 9, per: calendar_day, tz: '${TZ}'}"
    text = f"pools: {{p: {{provider: openai, keys: [{{id: a, secret: s1}}], limits: [{entry}]}}}}"
    ((limit,),) = desk.load(text, {"TZ": "Europe/Berlin"}).budgets.values()
    assert limit.calendar is not None
    assert type(limit.calendar.zone) is str


def test_one_calendar_in_two_zones_is_two_limits(desk: Desk) -> None:
    found = one(desk, f"[{{requests: 9, per: calendar_day}}, {{requests: 8, per: calendar_day, tz: {LOS_ANGELES}}}]")
    assert {limit.calendar.zone for limit in found if limit.calendar} == {"UTC", LOS_ANGELES}


def test_limit_that_is_not_enforced_says_so(desk: Desk) -> None:
    assert one(desk, "[{tokens: 5, per: minute, enforce: false}]") == (replace(TOKENS, enforce=False),)
    assert one(desk, "[{tokens: 5, per: minute, enforce: true, count_cached: true}]") == (TOKENS,)


# --- concurrency and totals -------------------------------------------------------------------------


def test_concurrency_is_a_limit_of_every_account_and_never_decides_a_send_by(desk: Desk) -> None:
    config = pool(desk, "concurrency: 8", "[{id: a, secret: s1}, {id: b, secret: s2}]")
    assert list(config.budgets.values()) == [(Limit("concurrency", 8, LEASE_US, LEASE_US),)] * 2


def test_concurrency_of_an_account_is_the_lowest_over_its_pools(desk: Desk) -> None:
    entry = "%s: {provider: openai, keys: [{id: x, secret: s1}], concurrency: %d}"
    config = desk.load(f"pools: {{{entry % ('a', 9)}, {entry % ('b', 4)}}}")
    assert list(config.budgets.values()) == [(Limit("concurrency", 4, LEASE_US, LEASE_US),)]
    assert config.warnings == (
        "sidecar.yaml: pools: the limits of the secret of a/x, b/x differ, requests in flight: 9 at a/x, 4 at b/x."
        " The lowest, 4, holds for all of them.",
    )


def test_total_is_the_pools_and_of_no_account(desk: Desk) -> None:
    config = pool(desk, "total: [{requests: 9, per: minute}, {tokens: 5, per: minute, model: m-*, enforce: false}]")
    assert config.pools["p"].total == (
        Limit("requests", 9, MINUTE, SECOND),
        replace(TOKENS, model="m-*", enforce=False),
    )
    assert config.pools["p"].names_models == ("m-*",)
    assert config.budgets == {}


# --- one limit of each name -------------------------------------------------------------------------


def shared(desk: Desk, *entries: str) -> tuple[tuple[Limit, ...], tuple[str, ...]]:
    """The budget of one account in as many pools as there are entries, and what was told of it."""
    made = [
        f"{name}: {{provider: openai, keys: [{{id: x, secret: s-{name}, account: acme}}], limits: [{entry}]}}"
        for name, entry in zip("abc", entries, strict=False)
    ]
    config = desk.load(f"pools: {{{', '.join(made)}}}")
    return config.budgets["=acme"], tuple(text.partition("differ, ")[2] for text in config.warnings)


def test_lowest_of_the_enforced_ones_holds(desk: Desk) -> None:
    entries = ("{tokens: 3, per: minute, enforce: false}", "{tokens: 9, per: minute}", "{tokens: 5, per: 60s}")
    assert shared(desk, *entries) == (
        (TOKENS,),
        (
            "tokens per minute: 3 (counts only) at a/x, 9 at b/x, 5 at c/x."
            " The lowest that is enforced, 5, holds for all of them.",
        ),
    )


def test_lowest_of_those_that_only_count_where_none_is_enforced(desk: Desk) -> None:
    entries = ("{tokens: 9, per: minute, enforce: false}", "{tokens: 5, per: minute, enforce: false}")
    assert shared(desk, *entries) == (
        (replace(TOKENS, enforce=False),),
        ("tokens per minute: 9 (counts only) at a/x, 5 (counts only) at b/x. The lowest, 5, holds for all of them.",),
    )


@pytest.mark.parametrize("turned", [False, True])
def test_cached_input_counts_if_it_counts_anywhere_and_that_is_told(desk: Desk, turned: bool) -> None:
    entries = ["{tokens: 5, per: minute, count_cached: false}", "{tokens: 6, per: minute}"]
    (found,), (told,) = shared(desk, *(reversed(entries) if turned else entries))
    assert found == TOKENS
    assert "5 without cached input at" in told
    assert told.endswith("The lowest, 5, cached input included, holds for all of them.")


def test_limit_that_only_counts_does_not_say_what_counts_for_an_enforced_one(desk: Desk) -> None:
    entries = ("{tokens: 5, per: minute, count_cached: false}", "{tokens: 6, per: minute, enforce: false}")
    assert shared(desk, *entries)[0] == (replace(TOKENS, count_cached=False),)


# --- strategies -------------------------------------------------------------------------------------

KEYS = "[{id: a, secret: s1, weight: 3, priority: 2}, {id: b, secret: s2}]"


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_weights_and_priorities_reach_the_keys_where_the_strategy_asks_for_them(desk: Desk, strategy: Strategy) -> None:
    config = pool(desk, f"strategy: {strategy}", KEYS)
    found = config.pools["p"]
    assert found.strategy == strategy
    weights, priorities = zip(*((key.weight, key.priority) for key in found.keys), strict=True)
    assert weights == ((3, 1) if strategy == "weighted" else (1, 1))
    assert priorities == ((2, 0) if strategy == "priority" else (0, 0))
    told = {text.split(": ")[2].split()[0] for text in config.warnings}
    assert told == {"weights", "priorities"} - {{"weighted": "weights", "priority": "priorities"}.get(strategy, "")}


def test_weight_of_one_and_priority_of_none_are_worth_no_warning(desk: Desk) -> None:
    assert pool(desk, "max_wait: 1s", "[{id: a, secret: s1, weight: 1, priority: 0}]").warnings == ()


def test_keys_of_the_environment_weigh_alike(desk: Desk) -> None:
    text = "pools: {p: {provider: openai, strategy: weighted, keys: {from_env: OPENAI_API_KEY}}}"
    found = desk.load(text, {"OPENAI_API_KEY": "k1,k2"}).pools["p"].keys
    assert [(key.weight, key.priority) for key in found] == [(1, 0), (1, 0)]


@pytest.mark.parametrize(
    ("said", "share"), [("0.25", 0.25), ("0", 0), ("0.9", 0.9), ("20%", 0.2), ("'0.5'", 0.5), ("90%", 0.9), ("0%", 0)]
)
def test_interactive_share_is_a_part_or_a_percentage(desk: Desk, said: str, share: float) -> None:
    assert pool(desk, f"interactive_share: {said}").pools["p"].interactive_share == share


def test_interactive_share_and_waiting_bound_of_variables(desk: Desk) -> None:
    entry = "{provider: openai, keys: [{id: a, secret: s1}], interactive_share: '${SHARE}'}"
    text = f"max_waiting: '${{MOST}}'\npools: {{p: {entry}}}"
    config = desk.load(text, {"MOST": "0", "SHARE": "30%"})
    assert (config.max_waiting, config.pools["p"].interactive_share) == (0, 0.3)
    assert desk.load(text, {"MOST": "5", "SHARE": "0.1", "SIDECAR_MAX_WAITING": "7"}).max_waiting == 7


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "window", "sentence"),
    [
        (TOKENS, "minute", "tokens per minute"),
        (replace(TOKENS, window_us=90 * SECOND, model="m"), "90s", "tokens per 90s for m"),
        (replace(TOKENS, window_us=24 * 60 * MINUTE), "day", "tokens per day"),
        (replace(TOKENS, window_us=1_234_567_500), "1234567.5ms", "tokens per 1234567.5ms"),
        (
            replace(TOKENS, window_us=0, calendar=Calendar("day", LOS_ANGELES)),
            "calendar_day America/Los_Angeles",
            "tokens per calendar_day America/Los_Angeles",
        ),
        (
            replace(TOKENS, window_us=0, calendar=Calendar("month", "UTC")),
            "calendar_month UTC",
            "tokens per calendar_month UTC",
        ),
        (Limit("concurrency", 8, LEASE_US, LEASE_US), "", "requests in flight"),
    ],
)
def test_window_is_called_as_in_the_file(limit: Limit, window: str, sentence: str) -> None:
    assert (per(limit), counted(limit)) == (window, sentence)
    assert label(limit) == (f"tokens/{window}" if window else "concurrency")


WINDOWS = st.one_of(
    st.tuples(st.integers(1, LONGEST_US) | st.sampled_from([LEASE_US, MINUTE]), st.none()),
    st.tuples(
        st.just(0), st.builds(Calendar, st.sampled_from(["day", "month"]), st.sampled_from(["UTC", LOS_ANGELES]))
    ),
)
LIMITS = st.builds(
    lambda unit, window, model: Limit(unit, 1, window[0], SECOND, model, window[1]),
    st.sampled_from(["requests", "tokens", "input_tokens", "output_tokens"]),
    WINDOWS,
    st.sampled_from(["", "m", "m-*"]),
) | st.just(Limit("concurrency", 1, LEASE_US, LEASE_US))


@given(LIMITS, LIMITS)
def test_limits_of_two_names_have_two_labels(one: Limit, other: Limit) -> None:
    """Else two series of a metric would be one."""
    assert ((label(one), one.model) == (label(other), other.model)) == (one.name == other.name)
