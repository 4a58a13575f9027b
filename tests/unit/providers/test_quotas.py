"""Which quota was hit, and until when, is read from details, words and headers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.providers.told import anthropic, classified, detail, google, info, openai, quota, retry, short

RPM = "Rate limit reached for m in organization o on requests per min (RPM): Limit 3, Used 3, Requested 1. "
TPM = "This would exceed the rate limit of 20,000 input tokens per minute."
EXHAUSTED = "You exceeded your current quota"


@pytest.mark.parametrize(
    ("provider", "body", "headers", "expected"),
    [
        # the longest that is named, and never less than the header
        ("openai", openai(RPM + "Please try again in 20s."), {"retry-after": "7"}, (20.0, None)),
        ("openai", openai(RPM + "Please try again in 2s."), {"retry-after": "7"}, (7.0, None)),
        ("openai", openai(RPM), {"retry-after": "1", "retry-after-ms": "2500"}, (2.5, None)),
        ("openai", openai(RPM), {"retry-after": "Tue, 06 Oct 2026 15:21:00 GMT"}, (60.0, None)),
        (
            "openai",
            openai(RPM),
            {"retry-after": "Tue, 06 Oct 2026 15:21:00 GMT", "date": "Tue, 06 Oct 2026 15:20:30 GMT"},
            (30.0, None),
        ),
        ("openai", openai(RPM), {"retry-after": "0"}, (None, None)),
        ("openai", openai(RPM), {"retry-after": "soon"}, (None, None)),
        ("openai", "Rate limit exceeded. Retry after 45 seconds", {}, (45.0, None)),
        ("openai", {"error": {"message": "Slow", "retry_after": 12}}, {}, (12.0, None)),
        # of the headers that tell of a quota, the exhausted one's that was hit
        (
            "openai",
            openai(RPM),
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "8.64s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            (8.64, None),
        ),
        (
            "openai",
            openai("Slow"),
            {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "8s"},
            (None, None),
        ),
        (
            "openai",
            openai("Slow"),
            {"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "55"},
            (None, None),
        ),
        ("together", openai("Slow"), {"x-ratelimit-limit": "2", "x-ratelimit-reset": "2"}, (2.0, None)),
        (
            "anthropic",
            anthropic("rate_limit_error", TPM),
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-10-06T15:20:40Z",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-10-06T15:50:00Z",
            },
            (40.0, None),
        ),
        (
            "cerebras",
            {"message": "Slow"},
            {"x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "33011.38"},
            (33011.38, None),
        ),
        # days and months
        (
            "gemini",
            google(EXHAUSTED, "RESOURCE_EXHAUSTED", retry("31s"), quota("RequestsPerDayPerProject")),
            {},
            (None, "midnight"),
        ),
        (
            "gemini",
            google(EXHAUSTED, "RESOURCE_EXHAUSTED", quota("RequestsPerDayPerProject")),
            {"retry-after": "60"},
            (60.0, "midnight"),
        ),
        (
            "gemini",
            google(EXHAUSTED, "RESOURCE_EXHAUSTED", retry("7200.5s"), quota("RequestsPerDayPerProject")),
            {},
            (7200.5, None),
        ),
        (
            "gemini",
            google(EXHAUSTED, "RESOURCE_EXHAUSTED", retry("4s"), quota("RequestsPerMonthPerProject")),
            {},
            (None, "month"),
        ),
        ("gemini", google("Your project has exceeded its monthly spending cap."), {}, (None, "month")),
        (
            "openrouter",
            {"error": {"message": "Rate limit exceeded: free-models-per-day", "code": 429}},
            {},
            (None, "midnight"),
        ),
        ("cohere", {"message": "limited to 1000 API calls / month"}, {}, (None, "month")),
        ("ollama", {"error": "you have reached your session usage limit"}, {"retry-after": "90"}, (90.0, None)),
        (
            "gemini",
            google("* Quota exceeded for metric: x/y, limit: 20, model: m\nPlease retry in 9h54m5s."),
            {},
            (35_645.0, None),
        ),
        (
            "openai",
            openai(
                "You have reached your specified API usage limits. You will regain access on 2026-10-07 at 00:00 UTC."
            ),
            {},
            (31_200.0, None),
        ),
        # money: whatever is named is at least waited for
        ("openai", openai("?", "insufficient_quota"), {}, (None, None)),
        ("openai", openai("?", "insufficient_quota"), {"retry-after": "86400"}, (86_400.0, None)),
        ("openai", openai("?", "insufficient_quota"), {"retry-after": "1"}, (1.0, None)),
        ("openai", openai("Monthly quota of 100 calls exceeded."), {"retry-after": "7200"}, (7200.0, "month")),
    ],
)
def test_delay(provider: str, body: object, headers: dict[str, str], expected: tuple[float | None, str | None]) -> None:
    """As it is named for the quota that was hit."""
    outcome = classified(provider, 429, body, headers)
    delay = None if outcome.delay_s is None else pytest.approx(outcome.delay_s)
    assert (delay, outcome.until) == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")], "rate_limit_minute key+model"),
        (
            [quota("GenerateContentInputTokensPerModelPerMinute", metric="input_token_count")],
            "rate_limit_tokens key+model",
        ),
        ([quota("GenerateRequestsPerMinutePerProject", model="m")], "rate_limit_minute key+model"),
        ([quota("GenerateRequestsPerMinutePerProject")], "rate_limit_minute key"),
        ([quota("RequestsPerMinutePerProject"), quota("RequestsPerDayPerProjectPerModel")], "rate_limit_day key+model"),
        ([quota("RequestsPerDayPerProjectPerModel"), quota("RequestsPerMinutePerProject")], "rate_limit_day key+model"),
        ([info("RATE_LIMIT_EXCEEDED")], "rate_limit_minute key+model"),
        ([detail("QuotaFailure", violations=[{"subject": "s", "description": "d"}])], "rate_limit_minute key+model"),
        ([detail("QuotaFailure", violations="odd"), detail("RetryInfo", retryDelay=7)], "rate_limit_minute key+model"),
    ],
)
def test_google_details_in_any_order(details: list[dict[str, Any]], expected: str) -> None:
    """The longest window decides, wherever it stands; in an array, as a string inside a message, as an event."""
    body = google(
        "You exceeded your current quota, please check your plan and billing details.", "RESOURCE_EXHAUSTED", *details
    )
    wrapped = {"error": {"message": json.dumps(body, indent=2), "code": 429, "status": "Too Many Requests"}}
    for shape in (
        body,
        [body],
        wrapped,
        f"data: {json.dumps(body)}\n\n",
        google("?", "RESOURCE_EXHAUSTED", *reversed(details)),
    ):
        assert short(classified("gemini", 429, shape)) == f"{expected} other"


def test_absent_value_beside_a_named_limit_is_no_zero() -> None:
    """Where the message names the limit, the missing field says nothing."""
    body = google(
        "* Quota exceeded for metric: x/y, limit: 15\nPlease retry in 9s.",
        "RESOURCE_EXHAUSTED",
        quota("RequestsPerMinutePerProject", None),
    )
    assert short(classified("gemini", 429, body)) == "rate_limit_minute key other"


METRIC = "Quota exceeded for metric: generativelanguage.googleapis.com/{}, limit: 200\nPlease retry in 23.4s."
VERTEX = "Quota exceeded for aiplatform.googleapis.com/{}"


@pytest.mark.parametrize(
    ("provider", "message", "expected", "until"),
    [
        ("gemini", METRIC.format("generate_requests_per_model_per_day"), "rate_limit_day key+model", "midnight"),
        ("gemini", METRIC.format("generate_requests_per_day"), "rate_limit_day key+model", "midnight"),
        ("openrouter", METRIC.format("generate_requests_per_day"), "rate_limit_day key", "midnight"),
        (
            "vertex",
            VERTEX.format("global_generate_content_requests_per_day with base model: x"),
            "rate_limit_day key+model",
            "midnight",
        ),
        (
            "vertex",
            VERTEX.format("online_prediction_input_tokens_per_minute_per_base_model"),
            "rate_limit_tokens key+model",
            None,
        ),
        (
            "openrouter",
            VERTEX.format("online_prediction_requests_per_base_model with base model: x. Ask for more."),
            "rate_limit_minute key+model",
            None,
        ),
    ],
)
def test_a_metric_is_read_from_words_where_no_details_are(
    provider: str, message: str, expected: str, until: str | None
) -> None:
    """Its name tells window, unit and whose it is; a wait of seconds says nothing of a day."""
    outcome = classified(provider, 429, google(message, "RESOURCE_EXHAUSTED", retry("23s")))
    assert (short(outcome), outcome.until) == (f"{expected} other", until)
    assert outcome.delay_s is None or until is None


def test_a_spent_quota_goes_before_words_of_capacity() -> None:
    """OpenRouter speaks of high demand where the key's day is used up, and names its end in the body."""
    message = "Rate limit exceeded: limit_rpd/a/b. High demand for b on OpenRouter - limited to 50 requests per day."
    headers = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1791331200000"}
    body = {"error": {"message": message, "code": 429, "metadata": {"headers": headers}}}
    outcome = classified("openrouter", 429, body)
    assert (short(outcome), outcome.delay_s) == ("rate_limit_day key other", 31_200.0)


def test_a_gateways_volume_is_a_quota_though_its_status_is_403() -> None:
    """Azure API Management counts it for the subscription, and says when it is filled up again."""
    message = "Out of call volume quota. Quota will be replenished in 16:22:11."
    outcome = classified("azure", 403, {"statusCode": 403, "message": message})
    assert (short(outcome), outcome.delay_s, outcome.until) == ("rate_limit_day key other", 58_931.0, None)
