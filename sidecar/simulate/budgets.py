"""What the strict provider counts, and how much of it an account may have: data, and no count yet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

SECOND_NS = 1_000_000_000
UNITS = ("requests", "tokens", "input_tokens", "output_tokens", "concurrency")


@lru_cache(maxsize=1024)
def matches(pattern: str, name: str) -> bool:
    """Whether a pattern with `*` covers the name. A call that names no model is covered by "" alone."""
    if not pattern or not name:
        return not pattern
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


@dataclass(slots=True)
class Arrival:
    """One request, from its headers on. Fields fill as more of it is known."""

    at_ns: int  # of the provider's clock, when its headers were read
    method: str
    path: str  # as it came, without the query
    key: str = ""  # the secret presented; "" where none or several were
    account: str = ""  # "" for a key that is not known
    model: str = ""  # "" until the body is read, and for a call without one
    status: int = 0  # 0: nothing was answered (yet)
    ended: Literal["open", "answered", "cancelled", "closed"] = "open"  # cancelled by the client, closed by a fault
    input: int = 0  # tokens that it cost, or would have cost where a budget refused it; none where a fault failed it
    output: int = 0
    cached: int = 0  # of the input
    came: int = 0  # its place in the order of all that came and left, from 1
    left: int = 0  # likewise; 0: it is in flight
    tag: str = ""  # `x-client-request-id`: what its caller calls the request, in every attempt (OpenAI's reference)


class Budget(NamedTuple):
    """So much of `unit` for each account: in any window [t, t + window_s), in a period of the calendar, or in flight.

    `model` is a name or a pattern with `*`: one budget for all names that match it; "" counts every arrival.
    """

    max: int
    window_s: float = 0  # 0 with a calendar and for concurrency
    model: str = ""
    unit: Literal["requests", "tokens", "input_tokens", "output_tokens", "concurrency"] = "requests"
    calendar: Literal["", "day", "month"] = ""
    zone: str = "UTC"  # whose midnight begins the day or the month
    account: str = ""  # this account's alone; "": every account has one of its own
    per: Literal["account", "key"] = "account"  # key: every key has one of its own
    cached: bool = True  # whether cached input counts

    @property
    def window_ns(self) -> int:
        return round(self.window_s * SECOND_NS)

    def check(self) -> Budget:
        """Itself. Raises ValueError where it allows nothing, or is no budget."""
        windows = (self.window_s > 0) + (self.calendar in {"day", "month"}) + (self.unit == "concurrency")
        if self.max < 1 or windows != 1:
            raise ValueError(
                f"{self} allows nothing: at least 1, in a window longer than 0 s, a calendar, or in flight"
            )
        if self.unit not in UNITS or self.per not in {"account", "key"} or self.calendar not in {"", "day", "month"}:
            raise ValueError(f"{self}: unit is one of {', '.join(UNITS)}; per is account or key; calendar day or month")
        ZoneInfo(self.zone)
        return self

    def concerns(self, arrival: Arrival) -> bool:
        return self.account in {"", arrival.account} and matches(self.model, arrival.model)

    def holder(self, arrival: Arrival) -> str:
        """Who has it."""
        return arrival.key if self.per == "key" else arrival.account

    def amount(self, arrival: Arrival) -> int:
        """How much of it this arrival takes."""
        read = arrival.input if self.cached else arrival.input - arrival.cached
        tokens = {"tokens": read + arrival.output, "input_tokens": read, "output_tokens": arrival.output}
        return tokens.get(self.unit, 1)


Given = Budget | tuple[Any, ...] | list[Any] | Mapping[str, Any]  # a Budget, or its fields in order or by name


def budget(given: Given) -> Budget:
    """Checked. Raises ValueError or TypeError for what is none."""
    return (Budget(**given) if isinstance(given, Mapping) else Budget(*given)).check()
