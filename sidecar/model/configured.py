"""What a replica was told: pools, keys, limits, routes and clients, checked whole and frozen.

Durations whose names end in `_us` are whole microseconds; names that end in `_s` are seconds.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:  # words.py is made of what stands here
    from sidecar.model.classes import Class, Scope

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


Unit = Literal["requests", "tokens", "input_tokens", "output_tokens", "concurrency"]
Strategy = Literal["round_robin", "weighted", "least_used", "priority", "fill_first"]

LEASE_US = 15 * SECOND_US  # how long a request in flight counts without a sign of life from its replica


@dataclass(frozen=True, slots=True)
class Calendar:
    """A window that begins anew at the midnight of a zone, or at that of the first of a month."""

    period: Literal["day", "month"]
    zone: str  # of the tz database: `America/Los_Angeles`


@dataclass(frozen=True, slots=True)
class Limit:
    """So many `unit` per window, for each account, or for each account and the models that match.

    `model` is a name or a pattern with `*`; "" counts every model together. A window slides, unless `calendar` says
    when it begins anew. A limit of `concurrency` counts requests in flight; its window is LEASE_US.
    """

    unit: Unit
    max: int
    window_us: int  # 0 with a calendar
    guard_us: int  # how late a granted request may reach the provider
    model: str = ""
    calendar: Calendar | None = None
    enforce: bool = True  # False: it counts and shows, and refuses nothing
    count_cached: bool = True  # whether input that the provider had in its cache counts

    @property
    def kind(self) -> Literal["log", "calendar", "leases"]:
        """Which part of `lua/` keeps its window."""
        return "leases" if self.unit == "concurrency" else "calendar" if self.calendar else "log"

    @property
    def name(self) -> str:
        """What the limit is called in Redis: not its maximum, so that a changed maximum counts on."""
        window = f"{self.calendar.period}@{self.calendar.zone}" if self.calendar else f"{self.window_us}"
        return f"{self.unit}/{window}/{self.model}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """What connections to a provider go through."""

    scheme: Literal["direct", "http", "https", "socks5", "socks5h"]  # socks5h: the proxy looks names up
    host: str
    port: int
    login: Secret | None = None  # `user:password`
    origin: str = field(default="", compare=False)  # `env HTTPS_PROXY`; "": the config says it

    def __str__(self) -> str:
        """Without the login."""
        return "off" if self == DIRECT else f"{self.scheme}://{Address(self.host, self.port)}"

    def credentials(self) -> tuple[str, str]:
        """User and password, "" each where there is none."""
        user, _, password = self.login.reveal().partition(":") if self.login else ("", "", "")
        return user, password


DIRECT = Proxy("direct", "", 0)  # through nothing


@dataclass(frozen=True, slots=True)
class CaBundle:
    """The only certificates that a provider's may be signed by."""

    path: str  # as the config says it
    pem: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Connections:
    """What one replica keeps to an origin."""

    max: int = 0  # requests under way at once, each of which needs one of its own; 0: as many as come
    keepalive_s: float = 15.0  # that one without a request stays open


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificate that `listen` presents."""

    cert: str  # a file, with the chain
    key: str
    digest: str = field(repr=False)  # of what both held when they were read


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
    proxy: Proxy | None = None  # None: its pool's
    origin: str = ""  # where it was read: `env OPENAI_API_KEY_2`, `sidecar.yaml pools.chat.keys[0]`


@dataclass(frozen=True, slots=True)
class Auth:
    """How a key is presented: `Authorization: Bearer`, a header, a query field, or not at all."""

    kind: Literal["bearer", "header", "query", "none"]
    name: str = ""  # of the header or the query field


@dataclass(frozen=True, slots=True)
class Override:
    """What a pool says of answers that its provider's dialect would read otherwise; the first that fits decides.

    `statuses` empty: every error. `body`: what must stand in the answer, in lower case; "": anything.
    """

    kind: Class
    scope: Scope
    other: bool  # whether another key may do better
    statuses: frozenset[int] = frozenset()
    body: str = ""
    delay_s: float | None = None  # how long what the scope names rests where the answer names no delay


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
    overrides: tuple[Override, ...] = ()  # the pool's own, asked before the dialect
    asks_usage: bool = True  # whether OpenAI's streams tell their usage only where it is asked for
    probe: str | None = None  # a path below base_url, see catalogue.probe; None: the dialect's own; "": none is known

    @property
    def door(self) -> str:
        """What fails, or refuses whoever stands before it, as one: an API at its address, however many pools call it.

        Each of Azure's resources has its own firewall, and a gateway has a path for each provider behind it.
        """
        return self.base_url


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
class Breaker:
    """After so many faults of a provider in a row, each within a time of the one before, nobody asks it for a while."""

    failures: int = 10
    within_us: int = 30 * SECOND_US
    pause_us: int = 5 * SECOND_US  # doubled with each try that fails, up to a minute


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of keys of one provider."""

    name: str
    provider: Provider
    keys: tuple[Key, ...]
    strategy: Strategy = "round_robin"
    total: tuple[Limit, ...] = ()  # what the pool as a whole may spend; its windows are those of the account `+NAME`
    interactive_share: float = 0.2  # of each budget, which requests of priority `batch` leave to the others
    names_models: tuple[str, ...] = ()  # the models that its keys, limits and routes' targets name
    cooldowns: Cooldowns = Cooldowns()
    max_wait_us: int = 10 * SECOND_US
    max_attempts: int = 5
    timeout_s: float = 600.0
    first_byte_s: float | None = (
        None  # from when all of a request was sent to the head of its answer; None: `timeout_s`
    )
    idle_s: float = 300.0  # between two pieces of an answer
    retry_unsafe: bool = False
    proxy: Proxy = DIRECT
    ca_bundle: CaBundle | None = None  # None: the system's certificates are trusted
    connections: Connections = Connections()
    retry_budget: float = 0.2  # the share of a provider's traffic that may be retries after its faults; inf: any
    breaker: Breaker | None = Breaker()
    include_usage: bool | None = None  # whether a stream is asked for its usage; None: where a limit counts its tokens

    @property
    def way(self) -> str:
        """What fails as one for all who come so: a provider's door, by this pool's proxy and trusted certificates."""
        through = "" if self.proxy == DIRECT else f" through {self.proxy}"
        trusting = "" if self.ca_bundle is None else f" trusting {self.ca_bundle.path}"
        return f"{self.provider.door}{through}{trusting}"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a target changes of the parameters in a JSON body: names, dots between nested ones, and JSON texts.

    What `providers/parameters.py` knows by several names is changed under each.
    """

    fixed: tuple[tuple[str, bytes], ...] = ()  # whatever the caller said
    default: tuple[tuple[str, bytes], ...] = ()  # where the caller said nothing
    most: tuple[tuple[str, float], ...] = ()  # where the caller said more
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A pool and an upstream model; `model` None: the name that the client used.

    Those of a group share the requests that come to it by their weights; `group` and `weight` 0: this one's turn comes
    when those before it have none left.
    """

    pool: str
    model: str | None
    weight: int = 0
    parameters: Parameters = Parameters()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # set on what goes upstream; may be secret
    secrets: tuple[tuple[Secret, str], ...] = ()  # what of them nobody is told, each with its header's name instead
    account: str = ""  # whose keys alone may serve, since it made what the call names; "": all of the pool
    prefers: str = ""  # the account whose keys come before the others' turn; "": none
    group: int = field(default=0, repr=False)  # which of its route's, from 1; each stands together


@dataclass(frozen=True, slots=True)
class Cache:
    """How answers are kept for requests that ask the same."""

    ttl_s: float = 600.0
    max_bytes: int = 1024 * 1024  # of an answer; a larger one is not kept
    scope: Literal["all", "client"] = "all"  # whose requests are the same


@dataclass(frozen=True, slots=True)
class Route:
    """Where the calls for a name or a pattern go, and what is done with their answers."""

    targets: tuple[Target, ...]
    mask_model: bool = False  # answers call the model as the caller did
    fallback_on: frozenset[str] = frozenset()  # the answers that send a request to the next target at once
    retry_empty: bool = False  # an answer without content is one that another key may better
    cache: Cache | Literal["off"] | None = None  # how its answers are kept; None: as all others are
    name: str = field(default="", compare=False)  # by which the config has it; "": it is none of the config's


PLAIN = Route(())  # by which a name leads somewhere that is no route's


@dataclass(frozen=True, slots=True)
class Token:
    """A virtual key."""

    digest: str  # see tokens.digest
    expires_s: int | None = None  # since 1970; None: it does not
    secret: Secret | None = None  # itself, where the config says it: texts are searched for it. None: nobody knows it

    @property
    def name(self) -> str:
        """What it is called where anybody may read it: who knows the virtual key can tell which it is."""
        return self.digest[:8]

    def expired(self, now_s: float) -> bool:
        return self.expires_s is not None and self.expires_s <= now_s


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls, known by its virtual keys: of several, as while one takes another's place, each is as good."""

    id: str
    tokens: tuple[Token, ...] = ()
    models: tuple[str, ...] = ()  # names or patterns that it may ask for, before any route; none: all
    limits: tuple[Limit, ...] = ()  # over all keys, pools and replicas; their windows are those of the account `@ID`
    batch: bool = False  # whether its requests have the priority `batch`, whatever they say

    @property
    def account(self) -> str:
        """Whose its windows are, in Redis."""
        return f"@{self.id}"

    @property
    def secrets(self) -> Iterator[Secret]:
        """Of its virtual keys those that the config says."""
        return (token.secret for token in self.tokens if token.secret is not None)


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
    routes: Mapping[str, Route] = field(default_factory=dict)
    clients: tuple[Client, ...] = ()
    listen: Address = Address("127.0.0.1", 4000)
    ops_listen: Address = Address("127.0.0.1", 9464)
    tls: Tls | None = None  # of `listen`; None: plain HTTP
    redis: str = field(default="embedded", repr=False)  # may hold a password
    namespace: str = "default"
    max_body: int = 100 * 1024 * 1024
    cache: Cache | None = None  # of requests whose route does not say otherwise
    cache_redis: str = field(default="", repr=False)  # may hold a password; "": `redis`
    cache_total: int = 256 * 1024 * 1024  # bytes of all answers
    max_waiting: int = 1000  # requests of one replica that may wait for room at once; beyond it 429
    keepalive_s: float | None = None  # between two signs to who waits for a stream; None: only who asks gets them
    hosts: tuple[str, ...] = ()
    failures: str = ""  # the file of failed attempts; "": none is written
    admin_token: Secret | None = None
    warnings: tuple[str, ...] = ()  # duplicates, empty values, placeholders: told at start and by `check`
