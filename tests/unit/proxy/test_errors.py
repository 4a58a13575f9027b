"""The sidecar's own answers: their status, and when to come back."""

from __future__ import annotations

import pytest

from sidecar.proxy.errors import Refused, bad_request, out_of_budget, retry_after, store_away

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("wait_us", "seconds", "milliseconds"),
    [
        (0, 1, 1),
        (-5, 1, 1),
        (1, 1, 1),
        (1_000, 1, 1),
        (1_001, 1, 2),
        (999_999, 1, 1000),
        (1_000_000, 1, 1000),
        (1_000_001, 2, 1001),
        (59_950_000, 60, 59_950),
        (DAY_MS * 1000, 86_400, DAY_MS),
        (DAY_MS * 1000 + 1, 86_400, DAY_MS),
        (10**15, 86_400, DAY_MS),
    ],
)
def test_retry_after_is_rounded_up_and_at_most_a_day(wait_us: int, seconds: int, milliseconds: int) -> None:
    """A client that comes back then is not too early."""
    assert retry_after(wait_us) == {"Retry-After": str(seconds), "retry-after-ms": str(milliseconds)}


def test_out_of_budget_is_429_with_the_moment() -> None:
    error = out_of_budget(59_950_000)
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert error.headers == {"Retry-After": "60", "retry-after-ms": "59950", "x-should-retry": "true"}
    assert "60 s" in error.message


def test_store_away_is_503_and_says_why() -> None:
    error = store_away("Connection refused")
    assert (error.status, error.code, error.headers) == (
        503,
        "store_unavailable",
        {"Retry-After": "1", "x-should-retry": "true"},
    )
    assert "Connection refused" in error.message


def test_bad_request_is_400() -> None:
    error = bad_request("Say a model.")
    assert (error.status, error.code, str(error)) == (400, "invalid_request", "Say a model.")
    assert error.headers == {"x-should-retry": "false"}


def test_headers_of_an_error_are_its_own() -> None:
    told = {"Retry-After": "1"}
    error = Refused(503, "late", "Later.", told)
    error.headers["x"] = "y"
    assert told == {"Retry-After": "1"}
