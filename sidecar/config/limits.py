"""What a limit of the file means (unit, window, guard and the models that it counts), and what to call it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from sidecar.config.problems import Path, Problems, nearest, shown
from sidecar.config.read import duration_us
from sidecar.config.schema import LimitEntry
from sidecar.model.calendars import zones
from sidecar.model.configured import LEASE_US, SECOND_US, Calendar, Limit, Unit

_DAY_US = 24 * 3600 * SECOND_US
_WINDOWS_US = {"minute": 60 * SECOND_US, "hour": 3600 * SECOND_US, "day": _DAY_US}
_CALENDARS: dict[str, Literal["day", "month"]] = {"calendar_day": "day", "calendar_month": "month"}
_KNOWN = (*_WINDOWS_US, *_CALENDARS, "or a duration such as 90s")
LONGEST_US = 366 * _DAY_US  # less than the scripts keep what they have counted
_UNITS: tuple[Unit, ...] = ("requests", "tokens", "input_tokens", "output_tokens")
_WITH_INPUT = frozenset({"tokens", "input_tokens"})
_MOST_REQUESTS, _MOST_TOKENS = 10**9, 10**12  # a window; more is a slip of the hand
_MOST_AT_ONCE = 10_000
_LEAST_GUARD_US = 50_000
MODEL_RULE = "A model is 1 to 256 bytes of printable text"


def limits(entries: list[LimitEntry] | None, zone: str, path: Path, problems: Problems) -> tuple[Limit, ...]:
    """The limits of a pool, a key or a total; those that are wrong are told and left out.

    `zone` is the provider's, whose midnight a calendar window begins at where its entry names none.
    """
    made: dict[str, int] = {}
    found = []
    for index, entry in enumerate(entries or ()):
        here: Path = (*path, index)
        for limit in _limits(entry, zone, here, problems):
            if limit.name in made:
                problems.error(here, f"counts the same as [{made[limit.name]}]: unit, window and model. Leave one out.")
            made.setdefault(limit.name, index)
            found.append(limit)
    return tuple(found)


def concurrency(value: int | None, path: Path, problems: Problems) -> tuple[Limit, ...]:
    """The limit of requests in flight, if there is one.

    Its guard is as long as its lease, so that it is not what decides until when a grant may be sent: of one that waits
    for its connection the lease is renewed as of any other.
    """
    if value is None:
        return ()
    if not 0 < value <= _MOST_AT_ONCE:
        problems.error(path, f"{value} is no number of requests in flight. It is 1 to {_MOST_AT_ONCE}.")
        return ()
    return (Limit("concurrency", value, LEASE_US, guard_us=LEASE_US),)


def check_model(model: str, path: Path, problems: Problems) -> None:
    """Tells a model name or pattern that no call could carry."""
    if not model or not model.isprintable() or len(model.encode()) > 256:
        problems.error(path, f"{shown(model)} is no model. {MODEL_RULE}.")


# --- how a limit is called --------------------------------------------------------------------------


def per(limit: Limit) -> str:
    """The window in the words of the file: `minute`, `90s`, `calendar_day America/Los_Angeles`; "" of concurrency."""
    if limit.unit == "concurrency":
        return ""
    if limit.calendar:
        return f"calendar_{limit.calendar.period} {limit.calendar.zone}"
    return _length(limit.window_us)


def label(limit: Limit) -> str:
    """Unit and window, `requests/minute` or `concurrency`: two limits that share it differ in their model."""
    return f"{limit.unit}/{per(limit)}" if per(limit) else limit.unit


def counted(limit: Limit) -> str:
    """What a limit counts, for a sentence: `requests per minute for gemini-2.5-pro`, `requests in flight`."""
    what = f"{limit.unit} per {per(limit)}" if per(limit) else "requests in flight"
    return f"{what} for {limit.model}" if limit.model else what


def _length(window_us: int) -> str:
    name = next((name for name, length in _WINDOWS_US.items() if length == window_us), None)
    return name or (f"{window_us // SECOND_US}s" if window_us % SECOND_US == 0 else _ms(window_us))


def _ms(length_us: int) -> str:
    return f"{Decimal(length_us) / 1000:f}ms"


# --- what an entry means ----------------------------------------------------------------------------


def _limits(entry: LimitEntry, zone: str, path: Path, problems: Problems) -> Iterator[Limit]:
    """A limit for each unit of an entry, none if anything is wrong with it."""
    period = _CALENDARS.get(str(entry.per))
    window_us = 0 if period else _window_us(entry.per, (*path, "per"), problems)
    calendar = _calendar(period, entry, zone, path, problems)
    if entry.model is not None:
        check_model(entry.model, (*path, "model"), problems)
    maxima = _maxima(entry, path, problems)
    if window_us is None:
        return
    guard_us = _guard_us(entry, window_us or _DAY_US, path, problems)
    if problems.under(path):
        return
    model, enforce = str(entry.model or ""), entry.enforce is not False
    for unit, most in maxima.items():
        cached = entry.count_cached is not False or unit not in _WITH_INPUT
        yield Limit(unit, most, window_us, guard_us, model, calendar, enforce, cached)


def _maxima(entry: LimitEntry, path: Path, problems: Problems) -> dict[Unit, int]:
    said: dict[Unit, int] = {unit: most for unit in _UNITS if (most := getattr(entry, unit)) is not None}
    if not said and not problems.under(path):
        problems.error(path, "says no maximum. Give it as requests: 15.")
    for unit, most in said.items():
        bound = _MOST_REQUESTS if unit == "requests" else _MOST_TOKENS
        if not 0 < most <= bound:
            problems.error((*path, unit), f"{most} is no budget. It is 1 to {bound}.")
    if entry.count_cached is not None and said and not _WITH_INPUT & said.keys():
        problems.error((*path, "count_cached"), "belongs to tokens and input_tokens. Leave it out.")
    return said


def _calendar(
    period: Literal["day", "month"] | None, entry: LimitEntry, zone: str, path: Path, problems: Problems
) -> Calendar | None:
    here: Path = (*path, "tz")
    if period is None:
        if entry.tz is not None and not problems.under((*path, "per")):
            problems.error(here, f"belongs to {' and '.join(_CALENDARS)}: other windows slide. Leave it out.")
        return None
    if entry.tz is None:
        return Calendar(period, zone)
    if entry.tz not in zones():
        near = _zone_like(entry.tz)
        meant = f" Did you mean {shown(near)}?" if near else ""
        problems.error(here, f"{shown(entry.tz)} is no time zone.{meant} One is such as UTC or Europe/Berlin.")
    return Calendar(period, str(entry.tz))


def _zone_like(text: str) -> str | None:
    """The zone with the nearest name or city. An abbreviation is like many of them and means none."""
    names = sorted(name for name in zones() if ("/" in name and not name.startswith("Etc/")) or name == "UTC")
    cities = {name.rpartition("/")[2]: name for name in reversed(names)}
    word = text.strip().replace(" ", "_")
    near = nearest(word, (*names, *cities))
    return cities.get(near, near) if near else None


def _window_us(value: str | int, path: Path, problems: Problems) -> int | None:
    text = str(value)
    if text in _WINDOWS_US:
        return _WINDOWS_US[text]
    window_us = duration_us(value)
    if window_us is None or window_us == 0:
        problems.error(path, f"{shown(value)} is no window.", text, _KNOWN)
        return None
    if window_us > LONGEST_US:
        problems.error(path, f"{shown(value)} is too long. A window is at most 8784h, a leap year.")
        return None
    return window_us


def _guard_us(entry: LimitEntry, window_us: int, path: Path, problems: Problems) -> int:
    """Microseconds: what the limit says, else min(1 s, window/50); at least 50 ms, and less than the window."""
    here: Path = (*path, "guard")
    said_us = min(SECOND_US, window_us // 50) if entry.guard is None else duration_us(entry.guard)
    if said_us is None:
        problems.error(here, f"{shown(entry.guard)} is no duration such as 500ms or 1s.")
        return _LEAST_GUARD_US
    if entry.guard is not None and said_us < _LEAST_GUARD_US:
        problems.warn(here, f"{shown(entry.guard)} is raised to 50ms, the least that a guard can hold.")
    guard_us = max(_LEAST_GUARD_US, said_us)
    if guard_us >= window_us:
        at = here if entry.guard is not None else (*path, "per")
        problems.error(at, f"the guard, {_ms(guard_us)}, must be shorter than the window, {_ms(window_us)}.")
    return guard_us
