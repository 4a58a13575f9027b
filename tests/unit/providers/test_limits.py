"""Every family of headers that name limits, with values that were seen, and the limit that a refusal names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.model.outcomes import NamedLimit
from sidecar.providers import limits
from tests.unit.providers.told import NOW_S, anthropic, classified, google, openai, quota, retry
from tests.wire.test_cases import CASES, outcome


def told(**headers: str) -> list[tuple[Any, ...]]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return [(one.unit, one.per, one.max, one.remaining, one.resets_in_s) for one in limits.told(named, NOW_S)]


def case(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((Path(CASES) / f"{name}.json").read_text("utf-8"))
    return read


def test_openais_windows_follow_from_how_fast_the_used_part_refills() -> None:
    """8.64 s for one of 10,000 requests is a day; 6 ms for 23 of 200,000 tokens a minute, as near as 6 ms tell."""
    assert limits.told(case("openai-200-ok-headers")["headers"], NOW_S) == (
        NamedLimit("requests", "day", 10_000, 9999, 8.64),
        NamedLimit("tokens", "minute", 200_000, 199_977, 0.006),
    )


def test_groqs_documented_example() -> None:
    """console.groq.com/docs/rate-limits: requests of a day, tokens of a minute."""
    assert told(
        x_ratelimit_limit_requests="14400",
        x_ratelimit_remaining_requests="14370",
        x_ratelimit_reset_requests="2m59.56s",
        x_ratelimit_limit_tokens="18000",
        x_ratelimit_remaining_tokens="17997",
        x_ratelimit_reset_tokens="7.66ms",
    ) == [("requests", "day", 14_400, 14_370, 179.56), ("tokens", "minute", 18_000, 17_997, 0.00766)]


def test_anthropics_family_is_of_a_minute_and_tells_input_from_output() -> None:
    """As platform.claude.com/docs/en/api/rate-limits lists them."""
    at = "2026-10-06T15:20:30Z"
    assert told(
        anthropic_ratelimit_requests_limit="50",
        anthropic_ratelimit_requests_remaining="49",
        anthropic_ratelimit_requests_reset=at,
        anthropic_ratelimit_tokens_limit="38000",
        anthropic_ratelimit_input_tokens_limit="30000",
        anthropic_ratelimit_input_tokens_remaining="0",
        anthropic_ratelimit_input_tokens_reset=at,
        anthropic_ratelimit_output_tokens_limit="8000",
    ) == [
        ("requests", "minute", 50, 49, 30.0),
        ("tokens", "minute", 38_000, None, None),
        ("input_tokens", "minute", 30_000, 0, 30.0),
        ("output_tokens", "minute", 8000, None, None),
    ]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # Cerebras and Mistral name the window
        (
            {"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-reset-requests-day": "33011.38"},
            [("requests", "day", 14_400, None, 33_011.38)],
        ),
        ({"x-ratelimitbysize-limit-minute": "500000"}, [("requests", "minute", 500_000, None, None)]),
        # OpenRouter and Together name neither unit nor window; a bare reset may be the end of a fixed one
        (
            {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "49", "x-ratelimit-reset": "1791331200000"},
            [("requests", "", 50, 49, 31_200.0)],
        ),
        (
            {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "99", "x-ratelimit-reset": "36"},
            [("requests", "", 100, 99, 36.0)],
        ),
        # Azure: with a hyphen more, and -1 for what it does not know
        ({"x-rate-limit-limit-tokens": "120000"}, [("tokens", "", 120_000, None, None)]),
        ({"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1"}, []),
        # nothing was used, or no reset is told: no window can follow
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "60",
                "x-ratelimit-reset-requests": "0s",
            },
            [("requests", "", 60, 60, 0.0)],
        ),
        # what a config cannot count, and what is no number
        ({"x-ratelimit-limit-input-images": "5", "x-ratelimit-limit-requests": "many"}, []),
        ({"x-ratelimit-limit-requests": "0"}, []),
        ({"retry-after": "5", "content-type": "x"}, []),
    ],
)
def test_other_families(headers: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    found = [(one.unit, one.per, one.max, one.remaining, one.resets_in_s) for one in limits.told(headers, NOW_S)]
    assert found == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemini-429-rpm-free", NamedLimit("requests", "minute", 2, 0, 56.185908122, "gemini-2.5-pro")),
        ("gemini-429-rpd-free-250", NamedLimit("requests", "day", 250, 0, None, "gemini-2.5-flash")),
        ("gemini-openai-compat-429-array-rpd", NamedLimit("requests", "day", 250, 0, None, "gemini-2.5-flash")),
        ("gemini-429-tpm-free", NamedLimit("input_tokens", "minute", 250_000, 0, 26.0, "gemini-2.5-flash")),
        ("anthropic-429-itpm", NamedLimit("input_tokens", "minute", 20_000, 0)),
        ("groq-429-tpd", NamedLimit("tokens", "day", 100_000, 0, 579.0)),
        ("openai-429-rpd", NamedLimit("requests", "day", 200, 0, 432.0)),
        ("cerebras-429-tpm", NamedLimit("tokens", "minute", 60_000, 0, 60.0)),
        # its words advertise 1000; the headers say what was spent
        ("openrouter-429-free-day", NamedLimit("requests", "day", 50, 0, 31_200.0)),
        ("mistral-429-1300", None),
        ("gemini-429-bare", None),
    ],
)
def test_the_limit_that_a_recorded_refusal_names(name: str, expected: NamedLimit | None) -> None:
    assert outcome(case(name)).named == expected


def test_of_several_violations_the_one_that_decides_is_named() -> None:
    body = google(
        "Quota exceeded",
        "RESOURCE_EXHAUSTED",
        quota("GenerateRequestsPerMinutePerProjectPerModel", "5", model="m"),
        quota("GenerateRequestsPerDayPerProjectPerModel", "100", model="m"),
        retry("20s"),
    )
    named = classified("gemini", 429, body).named
    assert named == NamedLimit("requests", "day", 100, 0, None, "m")


@pytest.mark.parametrize(
    ("provider", "body", "headers", "named"),
    [
        ("openai", openai("Rate limit reached"), {}, None),
        (
            "openai",
            openai("Rate limit reached for requests", code="rate_limit_exceeded"),
            {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "0"},
            NamedLimit("requests", "", 500, 0),
        ),
        # two quotas are spent: which one was hit is not said
        (
            "openai",
            openai("Slow down"),
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-limit-tokens": "9",
                "x-ratelimit-remaining-tokens": "0",
            },
            None,
        ),
        (
            "anthropic",
            anthropic("rate_limit_error", "This request would exceed your rate limit"),
            {
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": "2026-10-06T15:20:40Z",
            },
            NamedLimit("tokens", "", 8000, 0, 40.0),
        ),
    ],
)
def test_a_refusal_without_numbers_is_named_by_what_its_headers_show_as_spent(
    provider: str, body: object, headers: dict[str, str], named: NamedLimit | None
) -> None:
    assert classified(provider, 429, body, headers).named == named
