"""What is worth telling: lower rooms call the `emit` they were given, metrics and log lines are made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sidecar.model.configured import Limit
from sidecar.model.outcomes import NamedLimit
from sidecar.model.words import Usage

CANCELLED = "cancelled"  # the client was gone first
ELSEWHERE = "elsewhere"  # who enabled a key through another replica, or in Redis: nothing is left there that names them


# What the cache was to a request. "": it was not asked; `waited`: the answer was another's, which was under way;
# `bypass`: its caller did not want it; `away`: it could not be reached.
Cached = Literal["", "hit", "waited", "miss", "bypass", "away"]


@dataclass(frozen=True, slots=True)
class Attempted:
    """One send to a provider has come to its outcome."""

    request_id: str
    pool: str
    key: str  # the id
    model: str
    outcome: str  # a value of Class, or CANCELLED
    status: int | None  # None: no answer came
    first_byte_s: float | None
    usage: Usage | None = None
    client: str = ""  # the id
    fingerprint: str = ""  # of the key
    # The beginning of a failure's body, which may quote secrets, so redact it; where no answer came, why.
    told: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of the data plane has been answered, or its client is gone."""

    request_id: str
    method: str
    path: str
    status: int
    outcome: str  # a value of Class, or what the sidecar itself said: `refused`, `not_found`, `cancelled`, ...
    attempts: int
    pool: str
    key: str
    model: str
    client: str
    total_s: float
    waited_s: float
    acquire_s: float
    upstream_s: float  # from the first send to the last byte, as far as the provider is to blame
    first_byte_s: float | None
    fingerprint: str = ""  # of the key
    cache: Cached = ""
    saved: Usage | None = None  # what a cached answer had cost


@dataclass(frozen=True, slots=True)
class KeyChanged:
    """A key or an account rests, or a suspicion was taken back."""

    pool: str
    key: str
    model: str | None
    reason: str
    seconds: float  # 0: taken back, or it works again; inf: until a try works
    proved: bool
    request_id: str


@dataclass(frozen=True, slots=True)
class Drifted:
    """A provider refused for a rate limit although our budget had room: the limit is too high, or somebody else uses
    the key too. Told once for each rest that follows, by the replica whose report counted first.
    """

    request_id: str
    pool: str
    key: str
    model: str
    outcome: str  # a value of Class
    limits: tuple[Limit, ...]  # ours, which the refused request had entered
    named: NamedLimit | None  # the provider's; its `model` says whether it is one model's
    zone: str  # whose midnight ends the provider's day
    count: int  # of the key's drifts so far, over all replicas


@dataclass(frozen=True, slots=True)
class LimitsNamed:
    """A success named the provider's limits; told at most once a minute for each key and model."""

    pool: str
    key: str
    model: str
    limits: tuple[NamedLimit, ...]


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """Redis went away (`up` False), came back, or was found empty (`emptied`): then budgets start from zero."""

    up: bool
    emptied: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KeptChanged:
    """The cache keeps no more answers, or cannot be reached; or no more ids of what accounts made are kept. `works`: it
    is over.
    """

    what: Literal["answers", "ids"]
    works: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoreAtRisk:
    """The budgets' Redis may evict them, for `reason`; "": no more."""

    reason: str


@dataclass(frozen=True, slots=True)
class KeyManaged:
    """An operator disabled, enabled or reset a key; told by the replica that was asked, of each pool that has it.

    A disabling or an enabling is told by all others too, with their next beat, whoever was asked.
    """

    pool: str
    key: str
    change: Literal["disabled", "enabled", "reset"]
    by: str
    elsewhere: bool = False  # learnt of: whoever was asked told and counted it


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The config was read anew; with `problems` it was rejected for them, and nothing changed."""

    cause: str  # `file`, `signal` or `admin`
    changes: tuple[str, ...] = ()  # in words, a thing each
    needs_restart: tuple[str, ...] = ()  # settings that were changed and stay as they were
    warnings: tuple[str, ...] = ()  # new with this config
    problems: tuple[str, ...] = ()
    by: str = ""  # who asked for it over the admin API


Event = (
    Attempted
    | Answered
    | KeyChanged
    | Drifted
    | LimitsNamed
    | StoreChanged
    | KeptChanged
    | StoreAtRisk
    | KeyManaged
    | Reloaded
)
Emit = Callable[[Event], None]
