"""Limits by the names that other programs give them: `rpm_limit`, `tpm`, `daily_limit`, `max_requests_per_minute`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.config.importing.gathered import Line

_NOISE = frozenset({"limit", "limits", "max", "maximum", "quota", "rate", "api", "number", "of", "count"})
_UNITS = {
    "r": "requests", "req": "requests", "reqs": "requests", "request": "requests", "requests": "requests",
    "calls": "requests", "q": "requests", "queries": "requests",
    "t": "tokens", "token": "tokens", "tokens": "tokens",
    "it": "input_tokens", "input": "input_tokens", "ot": "output_tokens", "output": "output_tokens",
}  # fmt: skip
_WINDOWS = {
    "s": "1s", "sec": "1s", "second": "1s", "m": "minute", "min": "minute", "minute": "minute", "minutely": "minute",
    "h": "hour", "hour": "hour", "hourly": "hour", "d": "day", "day": "day", "daily": "day",
    "month": "month", "monthly": "month",
}  # fmt: skip
_SHORT = re.compile(r"(r|t|q|it|ot)p(s|m|h|d)\Z")
_WORDS = re.compile(r"[a-z]+")


def limits(said: Mapping[str, Any], zone: str, model: str = "") -> tuple[list[Line], set[str]]:
    """The limits in a mapping, and the fields that they took. `zone`: whose midnight begins the provider's day."""
    found, taken = [], set()
    for field, value in said.items():
        named = _named(field)
        if named is None:
            continue
        taken.add(field)
        most = _number(value)
        if most:
            found.append(Line({named[0]: most} | _per(named[1], zone) | ({"model": model} if model else {})))
    return found, taken


def lowest(found: Iterable[Line]) -> list[Line]:
    """Of those that count the same, by unit, window and model, the lowest: a list may name each once."""
    kept: dict[tuple[str, ...], Line] = {}
    for line in found:
        unit, most = next(iter(line.items()))
        name = (unit, line["per"], line.get("model", ""))
        if name not in kept or most < kept[name][unit]:
            kept[name] = line
    return list(kept.values())


def _named(field: str) -> tuple[str, str] | None:
    """Unit and window of a field's name; None: it names no limit."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field).lower()
    words = [word for word in _WORDS.findall(spaced) if word not in _NOISE | {"per", "a"}]
    if len(words) == 1 and (short := _SHORT.match(words[0])):
        return _UNITS[short[1]], _WINDOWS[short[2]]
    units = [_UNITS[word] for word in words if word in _UNITS and len(word) > 2]
    windows = [_WINDOWS[word] for word in words if word in _WINDOWS and len(word) > 2]
    if len(windows) != 1 or len(units) + 1 < len(words):
        return None
    return _unit(units), windows[0]


def _unit(units: list[str]) -> str:
    """`input_tokens_per_day` says two; one that says none counts requests."""
    return next((unit for unit in units if unit != "tokens"), "tokens" if units else "requests")


def _number(value: Any) -> int:
    """A budget; 0, below 0, null and what is no number stand for none, as those programs have it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        return max(0, int(float(str(value).replace("_", "").replace(",", ""))))
    except (ValueError, OverflowError):
        return 0


def _per(window: str, zone: str) -> dict[str, str]:
    """A provider that counts by days of a zone of its own has calendar days; else a day that slides keeps both."""
    if window == "month":
        return {"per": "calendar_month", "tz": zone}
    if window == "day" and zone != "UTC":
        return {"per": "calendar_day", "tz": zone}
    return {"per": window}
