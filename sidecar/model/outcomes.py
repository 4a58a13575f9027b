"""What an attempt came to: as a dialect reads its answer, or as the wire shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sidecar.model.classes import Class, Scope

NamedUnit = Literal["", "requests", "tokens", "input_tokens", "output_tokens"]
Period = Literal["", "second", "minute", "hour", "session", "day", "month"]


@dataclass(frozen=True, slots=True)
class NamedLimit:
    """A limit of the provider's as an answer names it. What the answer does not say is "" or None."""

    unit: NamedUnit = ""
    per: Period = ""
    max: int | None = None
    remaining: float | None = None
    resets_in_s: float | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a dialect reads an answer: what is counted, what rests, for how long, whether another key may do better."""

    kind: Class
    scope: Scope
    other: bool
    delay_s: float | None = None  # what the answer names; None: it names nothing
    until: Literal["midnight", "month"] | None = None  # of the provider's zone, where no usable delay was named
    named: NamedLimit | None = None  # of a rate limit: the one that was hit, where the answer names its maximum
    bare: bool = False  # of a rate limit: the answer may name a length, but says nothing of a quota
    works: bool = False  # of a fault: it is this answer's, and no sign that the provider fails


# Those that hang on how the attempt went alone: whoever judges it, a dialect or the wire, means the same.
OK = Outcome(Class.OK, Scope.REQUEST, other=False)
BLOCKED = Outcome(Class.BLOCKED, Scope.REQUEST, other=False)
BROKEN = Outcome(Class.SERVER_ERROR, Scope.PROVIDER, other=True)  # there was the beginning of an answer, or none
HOLLOW = Outcome(Class.SERVER_ERROR, Scope.PROVIDER, other=True, works=True)  # nothing in it
TIMED_OUT = Outcome(Class.TIMEOUT, Scope.PROVIDER, other=True)
UNREACHED = Outcome(Class.CONNECT, Scope.PROVIDER, other=True)  # nothing was sent
