"""Limits by the names that other programs give them: `rpm_limit`, `tpm`, `daily_limit`, `max_requests_per_minute`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sidecar.config.importing.gathered import Gathered, Line
from sidecar.config.problems import shown

_NOISE = frozenset(
    {"limit", "limits", "max", "maximum", "quota", "rate", "api", "number", "of", "count", "per", "a", "every"}
)
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
_RATE = re.compile(r"/|\bper\b|\b(?:r|t|q|it|ot)p(?:s|m|h|d)\b", re.IGNORECASE)
_AMOUNT = re.compile(
    r"(\d{1,3}(?:,\d{3})+|\d[\d_]*(?:\.\d+)?(?:[eE]\+?\d+)?)([kKM](?![A-Za-z]))?([A-Za-z\s/().:_-]*)", re.ASCII
)
_TIMES = {None: 1, "k": 1_000, "K": 1_000, "M": 1_000_000}  # `15m` may mean minutes
_NONE = ("", "none", "null", "unlimited", "infinity", "inf", "false", "off")

Parts = tuple[list[str], list[str]]  # units, windows


class Said(NamedTuple):
    """What a mapping says of limits: the limits, the fields that name one, and those of them that cannot be read."""

    limits: list[Line]
    taken: set[str]
    unread: list[str]

    def tell(self, place: str, gathered: Gathered) -> None:
        """Names the limits that are lost, so that no key is thought to be bounded which is not."""
        names = ", ".join(map(shown, self.unread))
        if names:
            gathered.note(f"{place}: {names} holds no number that can be read, so that limit is left out.")


def limits(said: Mapping[str, Any], zone: str, model: str = "") -> Said:
    """The limits in a mapping. `zone`: whose midnight begins the provider's day."""
    found = Said([], set(), [])
    for field, value in said.items():
        named = _named(field, value)
        if named is None:
            continue
        found.taken.add(field)
        most = _most(value, *named)
        if most is None:
            found.unread.append(field)
        elif most:
            found.limits.append(Line({named[0]: most} | _per(named[1], zone) | ({"model": model} if model else {})))
    return found


def lowest(found: Iterable[Line]) -> list[Line]:
    """Of those that count the same, by unit, window and model, the lowest: a list may name each once."""
    kept: dict[tuple[str, ...], Line] = {}
    for line in found:
        unit, most = next(iter(line.items()))
        name = (unit, line["per"], line.get("model", ""))
        if name not in kept or most < kept[name][unit]:
            kept[name] = line
    return list(kept.values())


def _named(field: str, value: Any) -> tuple[str, str] | None:
    """Unit and window of a field's name, or of its text (`limit: 15/min`); None: it is no limit."""
    words = _words(field)
    parts = _parts(words, 3) if words else _rate(_amount(value)[2])
    if parts is None or len(parts[1]) != 1:
        return None
    return _unit(parts[0]), parts[1][0]


def _rate(text: str) -> Parts | None:
    """What follows a number. A window alone is none, and cannot be told from a time: `15m`."""
    parts = _parts(_words(text), 1)
    return None if parts and parts[1] and not _RATE.search(text) else parts


def _words(text: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    return [word for word in _WORDS.findall(spaced) if word not in _NOISE]


def _parts(words: list[str], shortest: int) -> Parts | None:
    """What words name; None: one of them is neither a unit nor a window. Of names, letters alone are neither."""
    if len(words) == 1 and (short := _SHORT.match(words[0])):
        return [_UNITS[short[1]]], [_WINDOWS[short[2]]]
    known = [word for word in words if len(word) >= shortest]
    units = [_UNITS[word] for word in known if word in _UNITS]
    windows = [_WINDOWS[word] for word in known if word in _WINDOWS]
    return (units, windows) if len(units) + len(windows) == len(words) else None


def _unit(units: list[str]) -> str:
    """`input_tokens_per_day` says two; one that says none counts requests."""
    return next((unit for unit in units if unit != "tokens"), "tokens" if units else "requests")


def _most(value: Any, unit: str, window: str) -> int | None:
    """A budget: 15, "90k", "60 rpm". 0, below 0, null and the words for it stand for none, as those programs have it.

    None: it cannot be read, or says another unit or window than its field.
    """
    if value is None or value is False or str(value).strip().lower() in _NONE or str(value).lstrip().startswith("-"):
        return 0
    number, factor, more = _amount(value)
    parts = _rate(more)
    if parts is None:
        return None
    units, windows = parts
    if (units and _unit(units) != unit) or set(windows) - {window}:
        return None
    try:
        most = float(number.replace("_", "").replace(",", "")) * factor
        return None if 0 < most < 1 else int(most)
    except (ValueError, OverflowError):
        return None


def _amount(value: Any) -> tuple[str, int, str]:
    """A number's text, what it is multiplied by, and what follows it; the text is "" where there is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return "", 1, ""
    read = _AMOUNT.fullmatch(str(value).strip())
    return (read[1], _TIMES[read[2]], read[3]) if read else ("", 1, "")


def _per(window: str, zone: str) -> dict[str, str]:
    """A provider that counts by days of a zone of its own has calendar days; else a day that slides keeps both."""
    if window == "month":
        return {"per": "calendar_month", "tz": zone}
    if window == "day" and zone != "UTC":
        return {"per": "calendar_day", "tz": zone}
    return {"per": window}
