"""The words of the domain: what is configured, and what happens to a request.

Moments and durations whose names end in `_us` are whole microseconds; moments are Redis's, since 1970.
Names that end in `_s` are seconds, as providers and configs speak of them.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal, NoReturn

SECOND_US = 1_000_000


class Secret:
    """A text that shows itself to nobody but `reveal`, which is called where it goes on the wire."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        """Compares in constant time, so that a guess learns nothing from how long it took."""
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret stays in this process's memory")


# --- configured -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """So many `unit` per sliding window, for each account, or for each account and the models that match.

    `model` is a name or a pattern with `*`; "" counts every model together.
    """

    unit: Literal["requests"]
    max: int
    window_us: int
    guard_us: int  # how late a granted request may reach the provider
    model: str = ""

    @property
    def name(self) -> str:
        """What the limit is called in Redis: not its maximum, so that a changed maximum counts on."""
        return f"{self.unit}/{self.window_us}/{self.model}"


@dataclass(frozen=True, slots=True)
class Key:
    """One credential of a pool. Redis, logs and metrics know its id and its fingerprint, never the secret."""

    id: str
    secret: Secret
    fingerprint: str  # what Redis calls the key
    account: str  # what Redis calls what the provider counts a quota for
    weight: int = 1
    priority: int = 0
    models: tuple[str, ...] = ()  # names or patterns that it may serve; none: all
    origin: str = ""  # where it was read: `env OPENAI_API_KEY_2`, `sidecar.yaml pools.chat.keys[0]`


@dataclass(frozen=True, slots=True)
class Auth:
    """How a key is presented: `Authorization: Bearer`, a header, a query field, or not at all."""

    kind: Literal["bearer", "header", "query", "none"]
    name: str = ""  # of the header or the query field


@dataclass(frozen=True, slots=True)
class Provider:
    """An API family, from the catalogue or from a pool's own `base_url`, `dialect` and `auth`."""

    name: str
    base_url: str
    auth: Auth  # of the provider's own dialect
    dialects: Mapping[str, Speech]  # that it speaks
    counts: Literal["account", "account+model"] = "account"  # what a 429 rests where the answer does not say
    zone: str = "UTC"  # whose midnight ends a daily quota
    headers: Mapping[str, str] = field(default_factory=dict)  # added where the client sent none
    models_by_account: bool = True  # whether a model that one account does not find may be there for another
    probe: str | None = None  # a path below base_url, see catalogue.probe; None: the dialect's own; "": none is known


@dataclass(frozen=True, slots=True)
class Speech:
    """How a provider speaks one dialect: where, with which credential, and in which dialect its errors are read."""

    prefix: str  # replaces the dialect's own leading segment: `/v1` for openai, anthropic and gemini's `/v1beta`
    auth: Auth


@dataclass(frozen=True, slots=True)
class Cooldowns:
    """How long a key rests where the answer names nothing (`default_us`), and where no wait cures (`max_us`)."""

    default_us: int = 60 * SECOND_US
    max_us: int = 3600 * SECOND_US


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of keys of one provider."""

    name: str
    provider: Provider
    keys: tuple[Key, ...]
    names_models: tuple[str, ...] = ()  # the models that its keys, limits and routes' targets name
    cooldowns: Cooldowns = Cooldowns()
    max_wait_us: int = 10 * SECOND_US
    max_attempts: int = 5
    timeout_s: float = 600.0
    retry_unsafe: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A pool and an upstream model; `model` None: the name that the client used."""

    pool: str
    model: str | None


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls, known by a virtual key."""

    id: str
    token: Secret


@dataclass(frozen=True, slots=True)
class Address:
    """Where a plane listens. Port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a replica was told, checked whole."""

    pools: Mapping[str, Pool]
    budgets: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)  # account -> its limits over all pools
    routes: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    clients: tuple[Client, ...] = ()
    listen: Address = Address("127.0.0.1", 4000)
    ops_listen: Address = Address("127.0.0.1", 9464)
    redis: str = field(default="memory", repr=False)  # may hold a password
    namespace: str = "default"
    max_body: int = 100 * 1024 * 1024
    hosts: tuple[str, ...] = ()
    admin_token: Secret | None = None
    warnings: tuple[str, ...] = ()  # duplicates, empty values, placeholders: told at start and by `check`


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
