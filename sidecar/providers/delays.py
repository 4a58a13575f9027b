"""How long a provider asks us to wait: texts of headers and bodies into seconds from now.

Total functions: a text that is not understood is None, never an error, and the caller takes the pool's
default cooldown. No answer is negative, and none is longer than LONGEST_S.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 400 * 86_400.0
_EPOCH_S = 1e9  # a bare number from here on is a moment since 1970 in seconds, ...
_EPOCH_MS = 1e11  # ... from here on in milliseconds, ...
_EPOCH_US = 1e14  # ... and from here on in microseconds

_UNITS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "millisecond": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0,
    "d": 86_400.0, "day": 86_400.0, "week": 604_800.0,
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_AMOUNT = (
    r"\d+(?:\.\d+)?\s*(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|weeks?)(?![a-z])"
)
_AMOUNT_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_SPOKEN = re.compile(
    rf"\b(?:again|retry|retrying|wait|resets?|available|back)\b[^.\d]{{0,40}}?({_AMOUNT}(?:\s*(?:,|and)?\s*{_AMOUNT})*)"
)
_SPOKEN_CLOCK = re.compile(
    r"\b(?:again|retry|wait|resets?|available|replenished)\b[^.\d]{0,40}?\bin (?:(\d{1,3})\.)?(\d{1,3}):(\d\d):(\d\d)\b"
)
_SPOKEN_MOMENT = re.compile(
    r"\b(?:access|resets?|until|available|again|after|retry)\b[^\d]{0,12}"
    r"(\d{4}-\d\d-\d\d)(?:t| at | )(\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(z|utc|gmt|[+-]\d\d:?\d\d)?"
)


def bounded(seconds: float) -> float | None:
    """The number as a delay: None for NaN and infinities, 0 for what is past."""
    return min(max(seconds, 0.0), LONGEST_S) if math.isfinite(seconds) else None


def number(text: str) -> float | None:
    """A plain decimal such as `45` or `33.02`; no sign, no exponent, no word."""
    text = text.strip()
    return float(text) if len(text) <= 32 and text.isascii() and _NUMBER.fullmatch(text) else None


def duration(text: str) -> float | None:
    """Seconds in `6m0s`, `1h2m3.5s`, `174ms` or `35645.72s`: OpenAI, Groq and Google's RetryInfo write them so."""
    text = text.strip()
    parts = _PART.findall(text) if len(text) <= 64 and text.isprintable() else []
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        return None
    return bounded(sum(float(amount) * _UNITS[unit] for amount, unit in parts))


def moment(text: str, now_s: float) -> float | None:
    """Seconds until an RFC 3339 moment (Anthropic's resets) or an HTTP date; one without a zone is UTC's."""
    text = text.strip()
    if not 10 <= len(text) <= 64:
        return None
    when = _iso(text) or _http_date(text)
    return None if when is None else bounded(when.timestamp() - now_s)


def _iso(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)) if when.year > 1 else None
    except ValueError:
        return None


def _http_date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)) if when.year > 1 else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def date(text: str) -> float | None:
    """The moment of a `Date` header, in seconds since 1970."""
    when = _http_date(text) if len(text) <= 64 else None
    return None if when is None else when.timestamp()


def reset(text: str, now_s: float) -> float | None:
    """Seconds until a reset as providers write it: `55`, `33.02`, `6m0s`, a date, or a moment since 1970.

    Also a `Retry-After`: a number of seconds, or an HTTP date (RFC 9110, section 10.2.3). Moments since 1970 come in
    seconds, or in milliseconds (OpenRouter: `1791331200000`).
    """
    amount = number(text)
    if amount is None:
        return duration(text) if duration(text) is not None else moment(text, now_s)
    for since, scale in ((_EPOCH_US, 1e6), (_EPOCH_MS, 1e3), (_EPOCH_S, 1.0)):
        if amount >= since:
            return bounded(amount / scale - now_s)
    return bounded(amount)


def retry_after_ms(text: str) -> float | None:
    """Seconds in a `retry-after-ms`, as Azure and OpenAI send it."""
    amount = number(text)
    return None if amount is None else bounded(amount / 1000)


def spoken(text: str, now_s: float) -> float | None:
    """The longest wait that a sentence names.

    `try again in 7m12s`, `retry after 45 seconds`, `regain access on 2026-07-01 at 00:00 UTC`,
    `replenished in 16:22:11` (a .NET TimeSpan, with days as `1.16:22:11`).
    """
    text = text.lower()
    return max((*_spoken_spans(text), *_spoken_clocks(text), *_spoken_moments(text, now_s)), default=None)


def _spoken_spans(text: str) -> Iterator[float]:
    for span in _SPOKEN.findall(text):
        parts = _AMOUNT_PARTS.findall(span)
        seconds = bounded(sum(float(amount[:32]) * _UNITS[_singular(unit)] for amount, unit in parts))
        if seconds is not None:
            yield seconds


def _singular(unit: str) -> str:
    return unit if unit in _UNITS else unit.removesuffix("s")


def _spoken_clocks(text: str) -> Iterator[float]:
    for days, hours, minutes, seconds in _SPOKEN_CLOCK.findall(text):
        yield min(int(days or 0) * 86_400.0 + int(hours) * 3600 + int(minutes) * 60 + int(seconds), LONGEST_S)


def _spoken_moments(text: str, now_s: float) -> Iterator[float]:
    for day, clock, zone in _SPOKEN_MOMENT.findall(text):
        offset = "+00:00" if zone in {"", "z", "utc", "gmt"} else zone
        seconds = moment(f"{day}T{clock}{offset}", now_s)
        if seconds is not None:
            yield seconds
