"""What `lua/admin.lua` writes into the state, read without Redis. Rests and windows are read by `model/`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disabled:
    """That an operator has disabled a key; the moment in microseconds of Redis's clock."""

    since_us: int
    by: str


def read_off(text: str) -> Disabled:
    """The disabling of a field that `names.off_field` names."""
    since, by = text.split("|", 1)
    return Disabled(int(since), by)
