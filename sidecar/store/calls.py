"""Model words as the scripts' KEYS and ARGV, and their replies as model words. Pure: no connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sidecar.model.configured import Limit
from sidecar.model.words import Ask, Confirmed, Exhausted, Grant, NotYet, Refusal, Report, Rotation, Withdrawn
from sidecar.store.names import Names, rest_field

SHARED = "*"  # the rotation of all models beyond MOST_MODELS
MOST_MODELS = 256  # rotations of their own that a pool has


@dataclass(frozen=True, slots=True)
class Call:
    """One script call: which, and its KEYS and ARGV."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | bytes, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The rotation of this target is not registered."""

    target: int


def _limits(limits: Iterable[Limit]) -> list[str]:
    flat = [
        text for limit in limits for text in (limit.name, str(limit.max), str(limit.window_us), str(limit.guard_us))
    ]
    return [str(len(flat) // 4), *flat]


def _keys(names: Names, pools: Iterable[str]) -> tuple[str, ...]:
    """The state, and the wake set of every pool whose keys may have room earlier for it."""
    return names.state, *(names.wake(pool) for pool in pools)


@lru_cache(maxsize=1024)
def _target(names: Names, rotation: Rotation) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """KEYS of a target, and its limits in ARGV: the same for every call, which so costs nothing per limit here."""
    sets = [text for limits in rotation.limits for text in _limits(limits)]
    return names.turns(rotation), (str(len(rotation.limits)), *sets)


def acquire(names: Names, ask: Ask, now: str = "") -> Call:
    keys: list[str] = [names.state]
    args: list[str] = [now, str(len(ask.tried)), *(f"{target}|{key}" for target, key in ask.tried)]
    for rotation, max_wait_us in zip(ask.rotations, ask.max_wait_us, strict=True):
        more_keys, limits = _target(names, rotation)
        keys += more_keys
        args += (rotation.model, str(max_wait_us), *limits)
    return Call("acquire", tuple(keys), tuple(args))


def read_acquire(ask: Ask, reply: Sequence[bytes | int]) -> Grant | Refusal | Exhausted | Missing:
    match reply:
        case [b"granted", target, bytes(member), moment, wait, number]:
            rotation = ask.rotations[int(target)]
            return Grant(
                target=int(target),
                rotation=rotation,
                member=rotation.members_by_text[member.decode()],
                number=int(number),
                moment_us=int(moment),
                wait_us=int(wait),
            )
        case [b"refused", wait]:
            return Refusal(int(wait))
        case [b"exhausted"]:
            return Exhausted()
        case [b"missing", target]:
            return Missing(int(target))
    raise ValueError(f"acquire answered {reply!r}")


def confirm(names: Names, grant: Grant, pools: Iterable[str], now: str = "") -> Call:
    """`pools`: all that have a key of the grant's account."""
    args = (now, grant.member.text, grant.rotation.model, str(grant.moment_us), *_limits(grant.limits))
    return Call("confirm", _keys(names, pools), args)


def read_confirm(reply: Sequence[bytes]) -> Confirmed | NotYet | Withdrawn:
    match reply:
        case [b"confirmed", moment, age]:
            return Confirmed(int(moment), int(age))
        case [b"not yet", wait, moment]:
            return NotYet(int(wait), int(moment))
        case [b"withdrawn"]:
            return Withdrawn()
    raise ValueError(f"confirm answered {reply!r}")


def release(names: Names, grant: Grant, pools: Iterable[str], now: str = "") -> Call:
    """`pools`: all that have a key of the grant's account."""
    args = (now, grant.member.text, str(grant.moment_us), *_limits(grant.limits))
    return Call("release", _keys(names, pools), args)


def report(names: Names, report: Report, pools: Iterable[str], now: str = "") -> Call:
    """`pools`: all that have a key of an account in `report.clears`."""
    rests = [
        text
        for rest in report.rests
        for text in (rest_field(rest.subject), str(rest.delay_us), "1" if rest.proved else "0", rest.reason)
    ]
    clears = [text for subject in report.clears for text in (rest_field(subject), subject.account)]
    args = (now, report.request, str(len(report.rests)), *rests, str(len(report.clears)), *clears)
    return Call("report", _keys(names, pools), args)


def read_report(report: Report, reply: Sequence[bytes]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each rest how long the key rests now (microseconds), for each clear whether it was taken back."""
    rests = len(report.rests)
    return tuple(int(text) for text in reply[:rests]), tuple(text == b"1" for text in reply[rests:])


def register(names: Names, rotation: Rotation, now: str = "") -> Call:
    members = [member.text for member in rotation.members]
    keys = (names.state, *names.turns(rotation), names.models(rotation.pool))
    return Call("register", keys, (now, rotation.model, str(MOST_MODELS), str(len(members)), *members))


def read_register(reply: Sequence[bytes]) -> tuple[bool, str]:
    """Whether the model has a rotation of its own, and when this state began."""
    own, born = reply
    return own == b"own", born.decode()


def inspect(names: Names, fields: Sequence[str], rotations: Sequence[Rotation] = (), now: str = "") -> Call:
    keys = (names.state, *(names.turns(rotation)[1] for rotation in rotations))
    return Call("inspect", keys, (now, str(len(fields)), *fields))


def models(names: Names, pools: Iterable[str]) -> Call:
    return Call("models", tuple(names.models(pool) for pool in pools), ())


def read_models(pools: Iterable[str], reply: Sequence[Sequence[bytes]]) -> dict[str, tuple[str, ...]]:
    """By pool, sorted."""
    return {pool: tuple(sorted(name.decode() for name in names)) for pool, names in zip(pools, reply, strict=True)}


def beat(names: Names, replica: str, silence_us: int, now: str = "") -> Call:
    return Call("beat", (names.replicas,), (now, replica, str(silence_us)))
