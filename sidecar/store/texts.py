"""What the scripts write into the state, read without Redis. Windows are read by `model/windows.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resting:
    """A cooldown as `lua/parts/cooldown.lua` writes it; moments in microseconds of Redis's clock."""

    until_us: int
    proved: bool  # False: a suspicion, which the request that set it may take back
    reason: str


def read_rest(text: str) -> Resting:
    """The cooldown of a field that `names.rest_field` names."""
    until, _since, proved, _streak, _request, reason = text.split("|", 5)
    return Resting(int(until), proved == "1", reason)
