"""The words of what happens to a request: asks, grants, usage, reports.

Moments and durations whose names end in `_us` are whole microseconds; moments are Redis's, since 1970.
Names that end in `_s` are seconds, as providers and configs speak of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter

from sidecar.model.configured import Calendar, Limit, Strategy

# --- what the scripts are told ----------------------------------------------------------------------


# What a request counts in each unit, in the order of UNITS.
Amounts = tuple[int, int, int, int, int, int]
UNITS = ("requests", "tokens", "input_tokens", "output_tokens", "uncached_tokens", "uncached_input_tokens")
ONE: Amounts = (1, 0, 0, 0, 0, 0)  # a request of which nobody counts tokens


def unit_of(limit: Limit) -> int:
    """Which of UNITS a limit counts; requests in flight are counted as requests."""
    if limit.unit == "concurrency":
        return 0
    return UNITS.index(limit.unit if limit.count_cached else f"uncached_{limit.unit}")


@dataclass(frozen=True)
class Member:
    """A key's entry in a rotation. Its text begins with the order, so that Redis breaks ties alike."""

    order: int
    weight: int
    priority: int
    id: str
    key: str  # the fingerprint
    account: str
    limits: int  # which of the rotation's limit sets is its own

    @cached_property
    def text(self) -> str:
        which = f"{self.order:05d}|{self.weight}|{self.priority}"
        return f"{which}|{self.id}|{self.key}|{self.account}|{self.limits}"


@dataclass(frozen=True, slots=True)
class Total:
    """What a pool or a client as a whole may spend, whatever the key."""

    account: str  # whose its windows are
    limits: tuple[Limit, ...] = ()

    def __hash__(self) -> int:
        return hash(self.account)

    @property
    def has_lease(self) -> bool:
        """Whether it counts requests in flight."""
        return any(limit.kind == "leases" for limit in self.limits)

    @property
    def again(self) -> Total:
        """What it may still spend on a request that is among its requests already, and is sent once more."""
        left = tuple(limit for limit in self.limits if limit.unit != "requests")
        return replace(self, limits=left) if left else NOBODY

    @property
    def places(self) -> tuple[str, ...]:
        """Its account, where its requests in flight are counted."""
        return (self.account,) if self.has_lease else ()


NOBODY = Total("")  # a client without limits


@dataclass(frozen=True)
class Rotation:
    """The turn order of a pool's keys for one model, with all that a script must know of it.

    `digest` stands for members and limit names: replicas with another config have a rotation of their own.
    """

    pool: str
    model: str  # "" for a call without one
    digest: str
    # Not compared, for the digest stands for them: an equal rotation of another Pools would be compared key by key.
    members: tuple[Member, ...] = field(repr=False, compare=False)
    limits: tuple[tuple[Limit, ...], ...] = field(repr=False, compare=False)  # the distinct sets, see Member.limits
    strategy: Strategy = field(default="round_robin", compare=False)
    total: tuple[Limit, ...] = field(default=(), compare=False)  # of the pool as a whole
    line: str = field(default="", compare=False)  # of those who wait for its requests in flight; "": it counts none
    client: Total = field(default=NOBODY, compare=False)  # who asks for it: the same rotation, whoever does
    way: str = ""  # to its provider, where that has a circuit breaker

    @cached_property
    def counts_tokens(self) -> bool:
        """Whether any of its limits needs to know what a request may come to."""
        return any(self.sets_of_tokens)

    @cached_property
    def sets_of_tokens(self) -> tuple[bool, ...]:
        """Of each limit set, the pool's total and the client's with it: whether a window counts tokens."""
        return tuple(any(map(unit_of, (*limits, *self.total, *self.client.limits))) for limits in self.limits)

    @cached_property
    def sets_of_leases(self) -> tuple[bool, ...]:
        """Of each limit set, the client's with it: whether it counts requests in flight."""
        of_client = self.client.has_lease
        return tuple(of_client or any(limit.kind == "leases" for limit in limits) for limits in self.limits)

    @cached_property
    def guards_us(self) -> tuple[int | None, ...]:
        """Of each limit set, the pool's total and the client's with it: the least guard."""
        return tuple(guard_us((*limits, *self.total, *self.client.limits)) for limits in self.limits)

    @cached_property
    def calendars(self) -> tuple[Calendar, ...]:
        """Those of its limits, each once."""
        limits = (limit for one in (*self.limits, self.total, self.client.limits) for limit in one)
        return tuple(dict.fromkeys(limit.calendar for limit in limits if limit.calendar is not None))

    @cached_property
    def keys(self) -> int:
        """A number that rotations of the same keys have in common, in this process."""
        return hash(tuple(member.text for member in self.members))

    def member(self, text: str) -> Member:
        """Whose text this is. It begins with the order in which they are; a table of texts for each model would be
        larger than all else."""
        order = int(text.partition("|")[0])
        return self.members[bisect_left(self.members, order, key=attrgetter("order"))]

    def __hash__(self) -> int:
        return hash((self.pool, self.model, self.digest))


# --- happening --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """What an acquire asks for: the targets in order, how long each may wait, what was tried already."""

    rotations: tuple[Rotation, ...]
    max_wait_us: tuple[int, ...]
    tried: frozenset[tuple[int, str]] = frozenset()  # (index of the target, key id)
    amounts: Amounts = ONE
    shares: tuple[float, ...] = ()  # of each budget, that it leaves to others; for each target; none: 0
    probing: bool = False  # a prober's call, in a rotation of its own: dead keys may be granted
    waited_us: int = 0  # since it came
    ticket: int = 0  # by which it stands in line for a place in flight, as it was told; 0: it does not

    @property
    def client(self) -> Total:
        """What who asks may spend: all rotations say the same."""
        return self.rotations[0].client if self.rotations else NOBODY


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer of an acquire: this key, this target, this moment, this number."""

    target: int  # index into the ask's rotations
    rotation: Rotation
    member: Member
    number: int  # in the rotation, from 0, without gaps
    moment_us: int
    wait_us: int  # from the answer until the moment; 0: send now
    amounts: Amounts = ONE  # what it entered
    runs: bool = True  # whether it counts among the requests in flight; a reservation does not yet
    finds: int = 0  # 1: its key rested, so a success is to be reported; 2: it rests still, and this is a probe
    share: float = 0.0  # of the places in flight, that it leaves to others

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Those of the account that it entered."""
        return self.rotation.limits[self.member.limits]

    @property
    def counts_tokens(self) -> bool:
        """Whether any window counts its tokens, so that what it came to is to be told."""
        return self.rotation.sets_of_tokens[self.member.limits]

    @property
    def has_lease(self) -> bool:
        """Whether it counts among the requests in flight once it runs."""
        return self.rotation.sets_of_leases[self.member.limits]

    @property
    def probes(self) -> bool:
        """Whether it goes out although its key rests, to find out whether the key must."""
        return self.finds == 2

    @property
    def guard_us(self) -> int | None:
        """How long after its moment it may still be sent; None: no window holds it, so at any time."""
        return self.rotation.guards_us[self.member.limits]

    def dated(self, answer: Confirmed | NotYet) -> Grant:
        """The grant as it counts by that answer."""
        runs = isinstance(answer, Confirmed)
        return replace(self, moment_us=answer.moment_us, wait_us=0, finds=answer.finds, runs=runs)


def guard_us(limits: Iterable[Limit]) -> int | None:
    """The least guard of windows that hold grants back; None: there are none."""
    return min((limit.guard_us for limit in limits if limit.enforce and limit.kind != "leases"), default=None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """No target has room within the wait. `wait_us` until the earliest room of any of them."""

    wait_us: int
    ticket: int = 0  # by which who may wait stands in line for a place in flight; 0: none would help
    by_client: bool = False  # whether it is the client's own limits that have none

    @property
    def busy(self) -> bool:
        """Whether there may be room sooner, as soon as a request in flight ends."""
        return self.ticket > 0


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No key of any target is left that this request has not tried, is not disabled or dead, and may ever have room."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The grant may be sent: it counts at `moment_us`, `age_us` ago. `finds`: as a Grant's."""

    moment_us: int
    age_us: int
    finds: int = 0


@dataclass(frozen=True, slots=True)
class NotYet:
    """The grant counts at `moment_us`, which lies ahead by `wait_us`. `finds`: as a Grant's."""

    wait_us: int
    moment_us: int
    finds: int = 0


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The grant was given back, so ask again: the key rests, or it or the client has as many requests in flight as may
    be."""


LEAST_TOKENS = 16  # no request is estimated below: a key without room for so many rests


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer as its provider counts them; None: not said.

    `input` is all that the model read, in every dialect: with what came out of the provider's cache and what was
    written into it, and what tools fed back. `output` is what the provider calls so: what it thinks is part of it at
    OpenAI and Anthropic and not at others. `written` is the whole.
    """

    input: int | None = None
    output: int | None = None
    total: int | None = None  # as told, else input + output
    cached: int | None = None  # of the input: read from the provider's cache
    reasoning: int | None = None

    @property
    def written(self) -> int | None:
        """All that was billed as output: what the total has above the input, where that is more than was called output.

        Google (ai.google.dev/api/generate-content, `UsageMetadata`) and xAI count thoughts beside it, Google's
        OpenAI-compatible API in the total alone.
        """
        if self.total is None or self.input is None:
            return self.output
        return max(self.output or 0, self.total - self.input)

    @property
    def kinds(self) -> Iterator[tuple[str, int]]:
        """What there is to count, each under the name it is counted by; a total is no more than its parts."""
        told = {"input": self.input, "output": self.written, "cached": self.cached, "reasoning": self.reasoning}
        return ((kind, count) for kind, count in told.items() if count)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens that a request is taken to cost until its answer tells: reserved at acquire, settled at report.

    `input` + `output` is at least LEAST_TOKENS.
    """

    input: int
    output: int

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Subject:
    """What rests: one key of an account by its fingerprint, or (None) all of it; for one model, or (None) for all."""

    account: str
    key: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """A cooldown to set. `proved` False is a suspicion, which the request that reports it may take back.

    A length that the provider did not name (`most_us` > 0) doubles with every refusal in a row, up to `most_us`.
    """

    subject: Subject
    delay_us: int
    reason: str
    proved: bool = True
    dead: bool = False  # it ends by the success of a prober's call, whatever the delay
    most_us: int = 0
    throttle: str = ""  # the pool whose provider may be what refuses, where the answer says nothing of a quota


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault of a provider."""

    subject: Subject  # the provider, for a model
    failures: int  # so many requests in a row that meet one, each within so long of the one before, make it rest
    within_us: int
    pause_us: int
    again: bool = False  # its request has told one before: it counts only where it was to find out whether it works


@dataclass(frozen=True, slots=True)
class Report:
    """What an attempt taught: what must rest, which suspicions of this request were wrong, and what rests no more."""

    request: str
    rests: tuple[Rest, ...] = ()
    clears: tuple[Subject, ...] = ()
    ends: tuple[Subject, ...] = ()  # that a success ends, unless they began after its grant
    pool: str = ""  # whose own rest a success ends
    works: Subject | None = None  # the provider whose rest, or whose faults in a row, that ends too
    failed: Failed | None = None
    left: Subject | None = None  # the provider of which this was to find out whether it works, and came to nothing
    moment_us: int = 0  # of the attempt's grant


@dataclass(frozen=True, slots=True)
class Reported:
    """What came of a report: for each rest how long it lasts now (microseconds; None: the pool rests instead), for each
    clear and for each end (the pool's last, if it was named) whether a rest ended early."""

    rests: tuple[int | None, ...]
    clears: tuple[bool, ...]
    ends: tuple[bool, ...]
    pool_rests_us: int = 0
    freed: tuple[Subject, ...] = ()  # what rested for refusals that are the provider's throttle, and rests no more
    provider_rests_us: int = 0  # from now on, for this fault
