"""What is read of the state, and what `lua/admin.lua` writes into it. `model/` reads rests and windows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Inspected:
    """What `inspect` read: Redis's now, each field's text or None, each rotation's next number or None."""

    now_us: int
    fields: dict[str, str | None]
    numbers: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Disabled:
    """That an operator has disabled a key; the moment in microseconds of Redis's clock."""

    since_us: int
    by: str


def read_off(text: str) -> Disabled:
    """The disabling of a field that `names.off_field` names."""
    since, by = text.split("|", 1)
    return Disabled(int(since), by)


def write_off(disabled: Disabled) -> str:
    """The text of such a field."""
    return f"{disabled.since_us:016d}|{disabled.by}"
