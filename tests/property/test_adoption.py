"""`lua/adopt.lua` and its twin move the same, whatever accounts hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.model import rests
from sidecar.model.adoption import adopt
from sidecar.model.rests import Resting
from sidecar.model.room import Held, Shared
from sidecar.model.words import Subject
from sidecar.store import upkeep
from sidecar.store.names import Names, rest_field
from tests.store.asks import run

NAMES = Names("adoption")
NOW = 1_790_000_000_000_000
LOG, DAY, LEASES = "tokens/60000000/", "requests/day@America/New_York/gpt-*", "concurrency/15000000/m"
ACCOUNTS = ("=a", "=b", "0f", "1f")

_PAIRS = st.lists(st.tuples(st.integers(NOW, NOW + 4), st.integers(1, 3)), max_size=4)
_COUNTS = _PAIRS.map(lambda pairs: tuple(sorted(dict(pairs).items())))
_LEASES = _PAIRS.map(lambda pairs: tuple(sorted(pairs)))
_HELD = st.fixed_dictionaries({}, optional={LOG: _COUNTS, DAY: _COUNTS, LEASES: _LEASES})
_WINDOWS = st.dictionaries(st.sampled_from(ACCOUNTS), _HELD)
_RESTING = st.dictionaries(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from([None, "m"])), st.integers(1, 9))
_OWN_RESTS = st.sets(st.sampled_from(ACCOUNTS))
_CALLED = st.dictionaries(st.sampled_from(ACCOUNTS), st.sampled_from(ACCOUNTS))


_OWNERS = st.dictionaries(st.sampled_from(["k0", "k1", "k2", "k3"]), st.sampled_from(ACCOUNTS))


def _text(limit: str, held: Held) -> str:
    total = f"{sum(number for _, number in held):016d}" if limit == LOG else ""
    return total + "".join(f"{one:016d}{other:016d}" for one, other in held)


def _state(shared: Shared) -> dict[str, str]:
    windows = {f"w|{account}|{limit}": _text(limit, held) for (account, limit), held in shared.windows.items()}
    called = {f"as|{name}": account for name, account in shared.called.items()}
    owners = {f"of|{key}": account for key, account in shared.owners.items()}
    return windows | called | owners | {rest_field(subject): _rest(rest) for subject, rest in shared.rests.items()}


def _rest(rest: Resting) -> str:
    moments = "|".join(f"{moment:016d}" for moment in (rest.ends, rest.since, rest.next))
    grants = "".join(f"{moment:016d}" for moment in rest.grants)
    return f"{moments}|{rest.kind}|{rest.streak}|{grants}|{rest.request}|{rest.reason}"


@pytest.fixture(scope="module")
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as raw:
        yield raw


@settings(max_examples=200)
@given(_OWNERS, _OWNERS, _WINDOWS, _RESTING, _OWN_RESTS, _CALLED)
def test_script_and_model_move_the_same(
    client: redis.Redis,
    before: dict[str, str],
    told: dict[str, str],
    windows: dict[str, dict[str, Held]],
    resting: dict[tuple[str, str | None], int],
    own: set[str],
    called: dict[str, str],
) -> None:
    tell_apart = count()
    shared = Shared(
        {(account, limit): held for account, limits in windows.items() for limit, held in limits.items()},
        {
            subject: Resting(NOW + 10 * seconds + next(tell_apart), NOW, NOW, rests.PROVED, 0, "r", "why|so")
            for subject, seconds in [
                *((Subject(account, None, model), seconds) for (account, model), seconds in resting.items()),
                *((Subject(account, f"fp-{account}"), 1) for account in own),
            ]
        },
        owners=before,
        called=called,
    )
    client.delete(NAMES.state)
    client.hset(NAMES.state, mapping=_state(shared) | {"moved": str(NOW + 1), "clock": "0" * 32})  # type: ignore[arg-type]
    answer = run(client, upkeep.adopt(NAMES, told, str(NOW)))
    assert answer == adopt(shared, told)
    found = {name.decode(): text.decode() for name, text in client.hgetall(NAMES.state).items()}  # type: ignore[union-attr]
    others = {name.removeprefix("sa|"): text for name, text in found.items() if name.startswith("sa|")}
    known = {name: text for name, text in found.items() if name not in {"clock", "moved"} and name[:3] != "sa|"}
    assert known == _state(shared)
    if others:  # written anew with the names themselves
        assert {(old, new) for new, text in others.items() for old in text.split("\n")} == set(shared.called.items())
