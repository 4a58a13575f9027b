"""The words of what happens to a request: asks, grants, outcomes, reports.

Moments and durations whose names end in `_us` are whole microseconds; moments are Redis's, since 1970.
Names that end in `_s` are seconds, as providers and configs speak of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal

from sidecar.model.configured import Limit

# --- what the scripts are told ----------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A key's entry in a rotation. Its text begins with the order, so that Redis breaks ties alike."""

    order: int
    weight: int
    id: str
    key: str  # the fingerprint
    account: str
    limits: int  # which of the rotation's limit sets is its own

    @cached_property
    def text(self) -> str:
        return f"{self.order:05d}|{self.weight}|{self.id}|{self.key}|{self.account}|{self.limits}"


@dataclass(frozen=True)
class Rotation:
    """The turn order of a pool's keys for one model, with all that a script must know of it.

    `digest` stands for members and limit names: replicas with another config have a rotation of their own.
    """

    pool: str
    model: str  # "" for a call without one
    digest: str
    members: tuple[Member, ...] = field(repr=False)
    limits: tuple[tuple[Limit, ...], ...] = field(repr=False)  # the distinct sets; Member.limits points here

    @cached_property
    def members_by_text(self) -> Mapping[str, Member]:
        return {member.text: member for member in self.members}

    def __hash__(self) -> int:
        return hash((self.pool, self.model, self.digest))


# --- happening --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """What an acquire asks for: the targets in order, how long each may wait, what was tried already."""

    rotations: tuple[Rotation, ...]
    max_wait_us: tuple[int, ...]
    tried: frozenset[tuple[int, str]] = frozenset()  # (index of the target, key id)


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer of an acquire: this key, this target, this moment, this number."""

    target: int  # index into the ask's rotations
    rotation: Rotation
    member: Member
    number: int  # in the rotation, from 0, without gaps
    moment_us: int
    wait_us: int  # from the answer until the moment; 0: send now

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The windows that it entered."""
        return self.rotation.limits[self.member.limits]

    @property
    def guard_us(self) -> int | None:
        """How long after its moment it may still be sent; None: no window counts it, so at any time."""
        return min((limit.guard_us for limit in self.limits), default=None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """No target has room within the wait. `wait_us` until the earliest room of any of them."""

    wait_us: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Every key of every target was tried by this request."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The grant may be sent: it counts at `moment_us`, `age_us` ago."""

    moment_us: int
    age_us: int


@dataclass(frozen=True, slots=True)
class NotYet:
    """The grant counts at `moment_us`, which lies ahead by `wait_us`."""

    wait_us: int
    moment_us: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The key rests. The grant was given back: ask again."""


class Class(StrEnum):
    """What an attempt came to. The values are the `outcome` label of the metrics."""

    OK = "ok"
    RATE_LIMIT_MINUTE = "rate_limit_minute"
    RATE_LIMIT_DAY = "rate_limit_day"
    RATE_LIMIT_TOKENS = "rate_limit_tokens"
    BILLING = "quota_exhausted_billing"
    INVALID_KEY = "invalid_key"
    PERMISSION = "permission"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    BAD_REQUEST = "bad_request"
    BLOCKED = "blocked"


class Scope(StrEnum):
    """What rests for it: the key (for all models, or for this one), or nothing, being another's fault."""

    KEY = "key"
    KEY_MODEL = "key+model"
    PROVIDER = "provider"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a dialect reads an answer: what is counted, what rests, for how long, whether another key may do better."""

    kind: Class
    scope: Scope
    other: bool
    delay_s: float | None = None  # what the answer names; None: it names nothing
    until: Literal["midnight", "month"] | None = None  # of the provider's zone, where no usable delay was named


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer as its provider counts them; None: not said. `total` as told, else input + output."""

    input: int | None = None
    output: int | None = None
    total: int | None = None
    cached: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What rests: one key of an account by its fingerprint, or (None) all of it; for one model, or (None) for all."""

    account: str
    key: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """A cooldown to set. `proved` False is a suspicion, which the request that reports it may take back."""

    subject: Subject
    delay_us: int
    reason: str
    proved: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What an attempt taught: what must rest, and which suspicions of this request were wrong."""

    request: str
    rests: tuple[Rest, ...] = ()
    clears: tuple[Subject, ...] = ()
