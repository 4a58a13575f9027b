"""Limits of other programs are known by their names and read as people write them; what is lost is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sidecar.config.importing import imported
from sidecar.config.importing.budgets import limits

DAY = {"per": "calendar_day", "tz": "America/Los_Angeles"}


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        ("rpm", {"requests": 7, "per": "minute"}),
        ("rpm_limit", {"requests": 7, "per": "minute"}),
        ("max_rpm", {"requests": 7, "per": "minute"}),
        ("requests_per_minute", {"requests": 7, "per": "minute"}),
        ("requestsPerMinute", {"requests": 7, "per": "minute"}),
        ("max_requests_per_hour", {"requests": 7, "per": "hour"}),
        ("rpd_limit", {"requests": 7} | DAY),
        ("daily_limit", {"requests": 7} | DAY),
        ("daily_request_limit", {"requests": 7} | DAY),
        ("daily_token_limit", {"tokens": 7} | DAY),
        ("tpm_limit", {"tokens": 7, "per": "minute"}),
        ("tpd", {"tokens": 7} | DAY),
        ("input_tokens_per_minute", {"input_tokens": 7, "per": "minute"}),
        ("otpm", {"output_tokens": 7, "per": "minute"}),
        ("monthly_token_quota", {"tokens": 7, "per": "calendar_month", "tz": "America/Los_Angeles"}),
        ("cost_per_day", None),
        ("timeout_minutes", None),
        ("weight", None),
    ],
)
def test_limits_are_known_by_any_of_their_names(field: str, limit: Mapping[str, Any] | None) -> None:
    found = limits({field: 7}, "America/Los_Angeles")
    assert found == (([limit], {field}, []) if limit else ([], set(), []))


@pytest.mark.parametrize("value", [0, "0", -1, "-1", None, "none", "Unlimited", False, ""])
def test_a_limit_without_a_number_is_none(value: object) -> None:
    assert limits({"rpm": value}, "UTC") == ([], {"rpm"}, [])


@pytest.mark.parametrize(
    ("field", "text", "limit"),
    [
        ("rpm_limit", "60", {"requests": 60, "per": "minute"}),
        ("rpm_limit", "60 rpm", {"requests": 60, "per": "minute"}),
        ("rpm_limit", "60RPM", {"requests": 60, "per": "minute"}),
        ("rpm_limit", "15/min", {"requests": 15, "per": "minute"}),
        ("rpm_limit", "15 requests per minute", {"requests": 15, "per": "minute"}),
        ("tpm_limit", "90k", {"tokens": 90_000, "per": "minute"}),
        ("tpm", "100K", {"tokens": 100_000, "per": "minute"}),
        ("tpm", "1.5M tokens/minute", {"tokens": 1_500_000, "per": "minute"}),
        ("tpm", "90,000", {"tokens": 90_000, "per": "minute"}),
        ("tpm", "9e4", {"tokens": 90_000, "per": "minute"}),
        ("limit", "15/min", {"requests": 15, "per": "minute"}),
        ("rate_limit", "90k tpm", {"tokens": 90_000, "per": "minute"}),
    ],
)
def test_a_number_may_be_written_as_people_do(field: str, text: str, limit: Mapping[str, Any]) -> None:
    assert limits({field: text}, "UTC") == ([limit], {field}, [])


@pytest.mark.parametrize(
    "value",
    ["sixty", "60/day", "60 tokens", "60%", "15/5min", "15m", "1,5k", "~60", [60], {}, True, 0.5, "os.environ/R"],
)
def test_a_limit_that_is_not_plain_is_none_and_is_named(value: object) -> None:
    assert limits({"rpm": value}, "UTC") == ([], {"rpm"}, ["rpm"])


@pytest.mark.parametrize("field", ["limit", "max", "rate"])
def test_a_time_is_no_rate(field: str) -> None:
    assert limits({field: "60s"}, "UTC") == ([], set(), [])


def test_what_cannot_be_read_is_told_wherever_it_stands() -> None:
    """Of a provider, of a key, below `limits`, of one of its models, and of a deployment."""
    key = {
        "api_key": "A_PLACEHOLDER",
        "key_id": "a",
        "rpd_limit": "many",
        "limits": {"tpm": "lots"},
        "priority_models": [{"model": "m", "rpm": "some"}],
    }
    made = imported(json.dumps({"providers": {"gemini": {"rpm_limit": "few", "keys": [key]}}}), {})
    what = "holds no number that can be read, so that limit is left out."
    assert set(made.notes) == {
        f'provider "gemini": "rpm_limit" {what}',
        f'pool gemini, key "a": "rpd_limit" {what}',
        f'pool gemini, key "a", limits: "tpm" {what}',
        f'pool gemini, key "a", model "m": "rpm" {what}',
    }
    params = {"model": "openai/m", "tpm": "100K", "rpm": "os.environ/RPM"}
    made = imported(json.dumps({"model_list": [{"model_name": "m", "litellm_params": params}]}), {})
    assert made.notes == (f'model "m": "rpm" {what}',)
    (one,) = made.document["pools"]["openai"]["keys"]
    assert one["limits"] == [{"tokens": 100_000, "per": "minute", "model": "m"}]
