"""What a limit of the file means: a sliding window, its guard and the models that it counts."""

from __future__ import annotations

from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import duration_us
from sidecar.config.schema import LimitEntry
from sidecar.model.configured import SECOND_US, Limit

_WINDOWS_US = {"minute": 60 * SECOND_US, "hour": 3600 * SECOND_US, "day": 24 * 3600 * SECOND_US}
_CALENDAR = ("calendar_day", "calendar_month")
_KNOWN = (*_WINDOWS_US, *_CALENDAR, "or a duration such as 90s")
LONGEST_US = 366 * 24 * 3600 * SECOND_US  # less than the scripts keep what they have counted
_MOST = 10**9  # requests a window; more is a slip of the hand
_LEAST_GUARD_US = 50_000
_OTHER_UNITS = ("tokens", "input_tokens", "output_tokens")
MODEL_RULE = "A model is 1 to 256 bytes of printable text"


def limits(entries: list[LimitEntry] | None, path: Path, problems: Problems) -> tuple[Limit, ...]:
    """The limits of a pool or a key; those that are wrong or not supported are told and left out."""
    made: dict[str, int] = {}
    found = []
    for index, entry in enumerate(entries or ()):
        here: Path = (*path, index)
        limit = _limit(entry, here, problems)
        if limit is None:
            continue
        if limit.name in made:
            problems.error(here, f"counts the same as [{made[limit.name]}]: unit, window and model. Leave one out.")
        made.setdefault(limit.name, index)
        found.append(limit)
    return tuple(found)


def per(window_us: int) -> str:
    """A window in the words of the file: `minute`, `90s`."""
    name = next((name for name, length in _WINDOWS_US.items() if length == window_us), None)
    return name or (f"{window_us // SECOND_US}s" if window_us % SECOND_US == 0 else f"{window_us / 1000:g}ms")


def check_model(model: str, path: Path, problems: Problems) -> None:
    """Tells a model name or pattern that no call could carry."""
    if not model or not model.isprintable() or len(model.encode()) > 256:
        problems.error(path, f"{shown(model)} is no model. {MODEL_RULE}.")


def _limit(entry: LimitEntry, path: Path, problems: Problems) -> Limit | None:
    window_us = _window_us(entry.per, (*path, "per"), problems)
    supported = _check_unsupported(entry, path, problems)
    if entry.model is not None:
        check_model(entry.model, (*path, "model"), problems)
    if entry.requests is None:
        if supported and not problems.under(path):
            problems.error(path, "says no maximum. Give it as requests: 15.")
        return None
    if not 0 < entry.requests <= _MOST:
        problems.error((*path, "requests"), f"{entry.requests} is no budget. It is 1 to {_MOST}.")
    if window_us is None:
        return None
    guard_us = _guard_us(entry, window_us, path, problems)
    if problems.under(path):
        return None
    return Limit("requests", entry.requests, window_us, guard_us, str(entry.model or ""))


def _window_us(value: str | int, path: Path, problems: Problems) -> int | None:
    text = str(value)
    if text in _WINDOWS_US:
        return _WINDOWS_US[text]
    if text in _CALENDAR:
        problems.error(path, f'"{text}" is not supported yet. Use a sliding window: minute, hour, day or a duration.')
        return None
    window_us = duration_us(value)
    if window_us is None or window_us == 0:
        problems.error(path, f"{shown(value)} is no window.", text, _KNOWN)
        return None
    if window_us > LONGEST_US:
        problems.error(path, f"{shown(value)} is too long. A window is at most 8784h, a leap year.")
        return None
    return window_us


def _check_unsupported(entry: LimitEntry, path: Path, problems: Problems) -> bool:
    """Tells what this version cannot hold. True: nothing."""
    wanted = [unit for unit in _OTHER_UNITS if getattr(entry, unit) is not None]
    for unit in wanted:
        problems.error((*path, unit), "not supported yet. Limit requests instead.")
    if entry.tz is not None:
        problems.error((*path, "tz"), "not supported yet, as the calendar windows that it belongs to.")
    if entry.enforce is False:
        problems.error((*path, "enforce"), "false is not supported yet. A limit holds, or is left out.")
    return not wanted


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
        problems.error(
            at, f"the guard, {guard_us / 1000:g}ms, must be shorter than the window, {window_us / 1000:g}ms."
        )
    return guard_us
