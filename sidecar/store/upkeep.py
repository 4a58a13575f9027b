"""The calls for which no request waits once it has a key: rotations, operators, replicas, usage. As pure as `calls`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import orjson

from sidecar.model.configured import Key
from sidecar.model.counting import Counts, Row
from sidecar.model.words import Rotation
from sidecar.store import drifts as texts
from sidecar.store.calls import Call, state_and_wakes
from sidecar.store.drifts import Drift
from sidecar.store.names import Names, off_field

SHARED = "*"  # the rotation of all models beyond MOST_MODELS
MOST_MODELS = 256  # rotations of their own that a pool has

USAGE_DAYS = 400  # that usage is kept day by day
FLUSHED_S = 2 * 86_400  # that a replica may be cut off between two sendings of one flush
MOST_ROWS = 10_000  # of usage, a day and in all time; beyond them the rows of the model `other` grow

_EPOCH = date(1970, 1, 1)


def register(names: Names, rotation: Rotation, now: str = "") -> Call:
    members = [member.text for member in rotation.members]
    keys = (names.state, *names.turns(rotation), names.models(rotation.pool))
    args = (now, rotation.model, rotation.strategy, str(MOST_MODELS), str(len(members)), *members)
    return Call("register", keys, args)


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


def disable(names: Names, key: Key, who: str, now: str = "") -> Call:
    return _admin(names, (), (now, "disable", key.fingerprint, key.account, who, "0"))


def enable(names: Names, key: Key, pools: Iterable[str], now: str = "") -> Call:
    """`pools`: all that have a key of its account."""
    return _admin(names, pools, (now, "enable", key.fingerprint, key.account, "", "0"))


def reset(names: Names, key: Key, fields: Sequence[str], pools: Iterable[str], now: str = "") -> Call:
    """`fields`: the rests and windows to forget beside its drift. `pools`: all that have a key of its account."""
    return _admin(names, pools, (now, "reset", key.fingerprint, key.account, "", str(len(fields)), *fields))


def _admin(names: Names, pools: Iterable[str], args: tuple[str, ...]) -> Call:
    state, *wakes = state_and_wakes(names, pools)
    return Call("admin", (state, names.drift, *wakes), args)


def restore(names: Names, born: str, off: Mapping[str, str], now: str = "") -> Call:
    """`off`: the text of each disabled key's field, by its fingerprint, as it was in the state of `born`."""
    texts = [text for key, told in off.items() for text in (off_field(key), told)]
    return Call("restore", (names.state,), (now, born, str(len(texts)), *texts))


def adopt(names: Names, owners: Mapping[str, str], now: str = "") -> Call:
    """`owners`: each key's account, by its fingerprint."""
    texts = [text for pair in owners.items() for text in pair]
    return Call("adopt", (names.state,), (now, str(len(texts)), *texts))


def drift(names: Names, key: str, moment_us: int, told: str, now: str = "") -> Call:
    """`key`: its fingerprint."""
    return Call("drift", (names.state, names.drift), (now, key, str(moment_us), told))


def drifts(names: Names, now: str = "") -> Call:
    return Call("drifts", (names.state, names.drift), (now,))


def read_drifts(reply: tuple[bytes, Sequence[bytes]]) -> tuple[int, dict[str, Drift]]:
    """Redis's now, and the last drift of each key by its fingerprint."""
    now, flat = reply
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return int(now), {key.decode(): texts.read(text.decode()) for key, text in pairs if key != b"swept"}


def beat(names: Names, replica: str, silence_us: int, leaves: bool = False, now: str = "") -> Call:
    return Call("beat", (names.replicas,), (now, replica, str(silence_us), "1" if leaves else "0"))


def count(names: Names, replica: str, number: int, day: date, rows: Mapping[Row, Counts], now: str = "") -> Call:
    """Adds rows to the usage of a day, which must be today by Redis's clock. `number`: of this replica's flush."""
    keys = (names.usage(day), names.usage(None), names.flushed(replica))
    flat = [text for row, counts in rows.items() for text in ("|".join(row), orjson.dumps(counts))]
    kept = (str(USAGE_DAYS * 86_400), str(FLUSHED_S))
    return Call("count", keys, (now, _number(day), str(number), *kept, str(MOST_ROWS), str(len(rows)), *flat))


def read_day(reply: bytes) -> date:
    """The day it is, by Redis's clock."""
    return _EPOCH + timedelta(days=int(reply))


def usage(names: Names, day: date | None, now: str = "") -> Call:
    """What was counted on a day; None: since counting began."""
    return Call("usage", (names.usage(day),), (now,))


def read_usage(reply: Sequence[Any]) -> tuple[date, dict[Row, Counts]]:
    """The day it is, and the rows."""
    day, flat = reply
    fields = [Row(*field.decode().split("|", 3)) for field in flat[::2]]
    return read_day(day), dict(zip(fields, map(orjson.loads, flat[1::2]), strict=True))


def _number(day: date) -> str:
    return str((day - _EPOCH).days)
