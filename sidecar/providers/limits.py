"""Which limits an answer names in its headers, on success as on refusal.

Families, as their references and recorded answers have them: `x-ratelimit-limit|remaining|reset-requests|tokens`
(OpenAI, Groq, Azure, which also writes `x-rate-limit-`), with a window behind it (`-tokens-minute`: Cerebras, Mistral),
without a unit (`X-RateLimit-Limit`: OpenRouter, Together), and `anthropic-ratelimit-UNIT-limit|remaining|reset`.

A remaining of 0 on a success rests no key. It is no refusal: such answers are recorded of Together, Azure says -1 for
"not known", and a bucket that refills all the time has room again within milliseconds. The next refusal, if one comes,
names its wait exactly and costs one retry that the client does not see; a rest by guess would cost served requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sidecar.model.outcomes import NamedLimit, NamedUnit, Period
from sidecar.providers import delays

Pairs = Iterable[tuple[str, str]]

PERIODS: tuple[Period, ...] = ("", "second", "minute", "hour", "session", "day", "month")  # from the shortest on
_LENGTHS: tuple[tuple[Period, float], ...] = (("second", 1.0), ("minute", 60.0), ("hour", 3600.0), ("day", 86_400.0))
_NEAR = 1.5  # what a reset that is rounded to milliseconds may make of a window
_HEADER = re.compile(
    r"(?:x-)?rate-?limit(?:bysize)?-(?P<word>limit|remaining|reset)(?:-(?P<quota>.+))?"
    r"|anthropic-ratelimit-(?P<named>.+)-(?P<last>limit|remaining|reset)"
)


def of_headers(pairs: Pairs, now_s: float) -> list[NamedLimit]:
    """Each quota that the headers tell anything of; names in lower case. Its window only where its name says it."""
    return [_limit(quota, words, now_s) for (_, quota), words in _by_quota(pairs).items()]


def told(headers: Mapping[str, str], now_s: float) -> tuple[NamedLimit, ...]:
    """The quotas whose maximum is told, as a config could hold them: each with its unit, and its window if known."""
    found = []
    for (anthropic, quota), words in _by_quota(headers.items()).items():
        limit = _limit(quota, words, now_s)
        if limit.max and (limit.unit or quota in PERIODS):
            per = limit.per or ("minute" if anthropic else _refill(limit, words.get("reset", "")))
            found.append(NamedLimit(limit.unit or "requests", per, limit.max, limit.remaining, limit.resets_in_s))
    return tuple(found)


def _by_quota(pairs: Pairs) -> dict[tuple[bool, str], dict[str, str]]:
    """(Anthropic's family?, name of the quota) -> limit, remaining and reset as texts."""
    found: dict[tuple[bool, str], dict[str, str]] = {}
    for name, text in pairs:
        match = _HEADER.fullmatch(name) if "limit" in name else None
        if match is not None:
            named = match["named"]
            quota = found.setdefault((named is not None, named or match["quota"] or ""), {})
            quota[match["word"] or match["last"]] = text
    return found


def _limit(quota: str, words: Mapping[str, str], now_s: float) -> NamedLimit:
    most = delays.number(words.get("limit", ""))
    return NamedLimit(
        unit=_unit_of(quota),
        per=next((period for period in PERIODS[1:] if period in quota), ""),
        max=None if most is None else int(most),
        remaining=delays.number(words.get("remaining", "")),
        resets_in_s=delays.reset(words.get("reset", ""), now_s),
    )


def _unit_of(quota: str) -> NamedUnit:
    if "token" in quota:
        return "input_tokens" if "input" in quota else "output_tokens" if "output" in quota else "tokens"
    return "requests" if "req" in quota else ""


def _refill(limit: NamedLimit, reset: str) -> Period:
    """The window of a bucket that refills evenly, by how long the used part takes: 8.64 s for 1 of 10,000 is a day's.

    Only of resets written as `8.64s` or `2m59.56s`: OpenAI and Groq, which refill so, write them; a bare number may be
    the end of a fixed window.
    """
    used = (limit.max or 0) - (limit.remaining if limit.remaining is not None else limit.max or 0)
    if (
        used <= 0
        or not limit.max
        or not limit.resets_in_s
        or delays.number(reset) is not None
        or delays.duration(reset) is None
    ):
        return ""
    window_s = limit.resets_in_s * limit.max / used
    return next((period for period, length_s in _LENGTHS if 1 / _NEAR < window_s / length_s < _NEAR), "")
