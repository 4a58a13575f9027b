"""Texts of headers and bodies become seconds, or nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers import delays

NOW_S = 1_791_300_000.0  # 2026-10-06T15:20:00Z


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0), ("174ms", 0.174), ("1h2m3.5s", 3723.5), ("35645.7235s", 35645.7235), ("7m12s", 432.0),
        ("10h17m5.72s", 37_025.72), ("1d2h", 93_600.0), ("500us", 0.0005), ("0s", 0.0), (" 2s ", 2.0),
        ("", None), ("7", None), ("7x", None), ("-5s", None), ("s", None), ("1m nonsense", None), ("inf s", None),
    ],
)  # fmt: skip
def test_duration(text: str, seconds: float | None) -> None:
    """Go's and Google's durations; anything around them is not understood."""
    assert delays.duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45", 45.0), ("0.5", 0.5), ("33.02", 33.02), ("0", 0.0), ("6m0s", 360.0),
        ("1791300060", 60.0), ("1791300060.5", 60.5), ("1791300060000", 60.0), ("1791300060000000", 60.0),
        ("1791299999", 0.0), ("2026-10-06T15:21:00Z", 60.0), ("2026-10-06T17:21:00+02:00", 60.0),
        ("2026-10-06T15:21:00", 60.0), ("Tue, 06 Oct 2026 15:21:00 GMT", 60.0),
        ("Mon, 05 Oct 2026 15:21:00 GMT", 0.0), ("99999999", delays.LONGEST_S),
        ("-1", None), ("nan", None), ("inf", None), ("1e3", None), ("soon", None), ("", None), ("²", None),
        ("0001-01-01T00:00:00Z", None), ("Tue, 99 Oct 2026 15:21:00 GMT", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_reset(text: str, seconds: float | None) -> None:
    """Relative or absolute; what is past is 0, what is absurd is bounded, what is no number is nothing."""
    assert delays.reset(text, NOW_S) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(("text", "seconds"), [("174", 0.174), ("0", 0.0), ("-3", None), ("NaN", None), ("1s", None)])
def test_retry_after_ms(text: str, seconds: float | None) -> None:
    """Milliseconds, as Azure writes them."""
    assert delays.retry_after_ms(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 7m12s. Visit https://x/y.", 432.0),
        ("Please try again in 174ms.", 0.174),
        ("Please retry after 45 seconds.", 45.0),
        ("Please retry in 56.185908122s.", 56.185908122),
        ("Please retry in 10h17m5.723541104s.", 37_025.723541104),
        ("Try again in 1 minute and 30 seconds", 90.0),
        ("Wait for 2 hours, 5 minutes before the next call", 7500.0),
        ("Your limit resets in 3 days", 259_200.0),
        ("try again in 20s, or retry in 40s", 40.0),
        ("You will regain access on 2026-10-07 at 00:00 UTC.", 31_200.0),
        ("Quota resets at 2026-10-07T00:00:00Z", 31_200.0),
        ("Quota will be replenished in 16:22:11.", 58_931.0),
        ("Quota will be replenished in 1.00:00:05.", 86_405.0),
        ("The call at 16:22:11 failed; try again later.", None),
        ("The limit is 20 requests per 5 minutes", None),
        ("Please try again later.", None),
        ("We retried 3 times. 5 minutes of audio are the limit", None),
        ("", None),
    ],
)
def test_spoken(text: str, seconds: float | None) -> None:
    """The longest wait that the words name; numbers of other things are none."""
    assert delays.spoken(text, NOW_S) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=80) | st.from_regex(r"(try again in |)[\d.]{0,40}(ms|s|m|h|d)?", fullmatch=True))
def test_no_text_is_an_error_or_a_senseless_delay(text: str) -> None:
    """Total: finite, not negative, bounded."""
    answers = (
        delays.duration(text),
        delays.reset(text, NOW_S),
        delays.retry_after_ms(text),
        delays.spoken(text, NOW_S),
        delays.moment(text, NOW_S),
    )
    for seconds in answers:
        assert seconds is None or (math.isfinite(seconds) and 0 <= seconds <= delays.LONGEST_S)
