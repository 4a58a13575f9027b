"""Redis away, in every way that it can be: every call ends, nothing is sent twice, the Store comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from sidecar.model.configured import SECOND_US
from sidecar.model.events import StoreChanged
from sidecar.model.words import Confirmed, Report, Rest, Subject
from sidecar.store import connect
from sidecar.store.connect import StoreAway, opener
from sidecar.store.names import Names
from tests.servers import RedisProcess
from tests.store.asks import ask, granted, rotation, unexpected
from tests.store.conftest import OpenStore, Witness
from tests.store.outages import HANG_S, TURNS, acquired, is_away, is_back
from tests.store.wire import proxy

pytestmark = pytest.mark.usefixtures("short_deadline")
NAMES = Names("test")


async def has_noticed_the_end(witness: Witness) -> None:
    """The loop has read that the connections were closed."""
    async with asyncio.timeout(HANG_S):
        for lane in (witness.store._lanes.front, witness.store._lanes.back):
            while not connect.is_over(lane._connection):  # type: ignore[arg-type]  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)


async def clients_gone(raw: redis.Redis) -> None:
    """Redis has noticed that every connection of a Store is closed."""
    async with asyncio.timeout(HANG_S):
        while any(client["name"] == "sidecar" for client in raw.client_list()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


@pytest.fixture
def raw(redis_process: RedisProcess) -> redis.Redis:
    """A plain client of the process, which connects anew whenever it has to."""
    return redis.Redis(port=redis_process.port)


@pytest.fixture
def witness(redis_process: RedisProcess, open_store: OpenStore) -> Witness:
    return open_store(opener(redis_process.url))


async def test_frozen_redis_ends_every_call(redis_process: RedisProcess, witness: Witness) -> None:
    """Nothing hangs, and once it goes on the Store is up without anybody asking."""
    grant, store = await acquired(witness), witness.store
    redis_process.freeze()
    calls = (
        store.acquire(ask(TURNS), unexpected),
        store.confirm(grant, ["p"], unexpected),
        store.inspect(()),
        store.beat("a", SECOND_US),
    )
    store.release(grant, ["p"])
    store.report(Report("r", (Rest(Subject("x"), SECOND_US, "why"),)), (), lambda _: None)
    async with asyncio.timeout(HANG_S):
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(end) for end in ends} == {"Redis did not answer within 0.3 s"}
    assert all(isinstance(end, StoreAway) for end in ends)
    assert not store.up.is_set()
    assert store.reason == "Redis did not answer within 0.3 s"
    await is_away(witness, "did not answer")
    redis_process.thaw()
    await is_back(witness)
    assert witness.ups == [False, True]
    assert store.reason == ""
    assert (await acquired(witness)).number in (1, 2)  # what was sent may have run once the server went on: once


async def test_closing_while_redis_is_frozen_ends(redis_process: RedisProcess, witness: Witness) -> None:
    await acquired(witness)
    redis_process.freeze()
    waiting = asyncio.create_task(witness.store.acquire(ask(TURNS), unexpected))
    witness.store.report(Report("r"), (), lambda _: None)
    await asyncio.sleep(0)
    async with asyncio.timeout(HANG_S):
        await witness.store.close()
    assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], StoreAway)
    redis_process.thaw()


async def test_killed_redis_comes_back_empty_and_that_is_said_once(
    redis_process: RedisProcess, witness: Witness
) -> None:
    """Rotations are registered again, numbers and budgets start from zero."""
    other = rotation(2, model="other")
    await acquired(witness)
    granted(await witness.store.acquire(ask(other), unexpected))
    redis_process.kill()
    await is_away(witness, "Connect|connect")
    await is_away(witness, "Connect|connect")
    redis_process.start()
    await is_back(witness)
    asks = [ask(TURNS), ask(other)] * 5
    grants = [granted(g) for g in await asyncio.gather(*(witness.store.acquire(a, unexpected) for a in asks))]
    assert [grant.number for grant in grants] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert witness.ups == [False, True]
    assert witness.emptied == 1


async def test_restart_between_two_calls_is_not_noticed(redis_process: RedisProcess, witness: Witness) -> None:
    """A connection that ended while nobody used it has lost nothing: it is made anew."""
    await acquired(witness)
    redis_process.kill()
    redis_process.start()
    await has_noticed_the_end(witness)
    assert (await acquired(witness)).number == 0
    assert witness.ups == []
    assert witness.emptied == 1


async def test_flushed_redis_is_registered_again_and_that_is_said_once(raw: redis.Redis, witness: Witness) -> None:
    await acquired(witness)
    raw.flushall()
    grants = await asyncio.gather(*(acquired(witness) for _ in range(5)))
    assert [grant.number for grant in grants] == [0, 1, 2, 3, 4]
    assert witness.emptied == 1
    raw.flushall()
    await acquired(witness)
    assert witness.emptied == 2


async def test_replica_that_registered_nothing_also_notices(
    raw: redis.Redis, redis_process: RedisProcess, open_store: OpenStore
) -> None:
    """It found the rotation there when it came, and says so when it is gone."""
    first, second = open_store(opener(redis_process.url)), open_store(opener(redis_process.url))
    await acquired(first)
    await acquired(second)
    raw.flushall()
    await acquired(second)
    assert (first.emptied, second.emptied) == (0, 1)
    await acquired(first)  # finds what the second registered: budgets are those of the new state
    assert first.emptied == 0


async def test_shared_models_have_their_own_rotation_again_after_a_flush(
    raw: redis.Redis, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a replica knew of an earlier Redis does not split a rotation between replicas."""
    monkeypatch.setattr("sidecar.store.upkeep.MOST_MODELS", 1)
    models = [rotation(2, model=f"m{i}") for i in range(3)]
    served = [granted(await witness.store.acquire(ask(m), unexpected)).rotation.model for m in models]
    assert served == ["m0", "*", "*"]
    raw.flushall()
    served = [granted(await witness.store.acquire(ask(m), unexpected)).rotation.model for m in reversed(models)]
    assert served == ["m2", "*", "*"]
    assert witness.emptied == 1


@pytest.mark.parametrize("count", [0, 1, 5, 40])
async def test_cut_reply_is_away_and_its_script_ran_once(
    raw: redis.Redis, redis_process: RedisProcess, open_store: OpenStore, count: int
) -> None:
    """The grant is lost, not made again: the number after it is taken."""
    async with proxy(redis_process.port) as passing:
        witness = open_store(opener(f"redis://127.0.0.1:{passing.port}"))
        assert (await acquired(witness)).number == 0
        passing.cut_next_reply_after(count)
        await is_away(witness, "closed|lost|reset")
        assert int(raw.hget(NAMES.turns(TURNS)[1], "seq") or 0) == 2
        await is_back(witness)
        assert (await acquired(witness)).number == 2
        assert witness.ups == [False, True]
        assert witness.emptied == 0
        await witness.store.close()


async def test_idle_connection_that_was_cut_is_made_anew(redis_process: RedisProcess, open_store: OpenStore) -> None:
    """A server's or a proxy's idle timeout costs nobody a request."""
    async with proxy(redis_process.port) as passing:
        witness = open_store(opener(f"redis://127.0.0.1:{passing.port}"))
        for number in range(3):
            assert (await acquired(witness)).number == number
            connections = passing.connections
            passing.cut_now()
            await has_noticed_the_end(witness)
        assert passing.connections == connections
        assert witness.ups == []
        await witness.store.close()


@pytest.mark.parametrize("userinfo", ["", ":wrong@", "nobody:wrong@"])
async def test_wrong_password_is_told_without_it(
    raw: redis.Redis, redis_process: RedisProcess, open_store: OpenStore, userinfo: str
) -> None:
    """And once Redis takes it, the Store is up."""
    raw.config_set("requirepass", "right")
    witness = open_store(opener(f"redis://{userinfo}127.0.0.1:{redis_process.port}"))
    await is_away(witness, "(?i)auth|username-password")
    assert "wrong" not in witness.store.reason
    assert "wrong" not in repr(witness.events)
    admin = redis.Redis(port=redis_process.port, password="right")
    if userinfo.startswith("nobody"):
        admin.acl_setuser("nobody", enabled=True, passwords=["+wrong"], categories=["+@all"], keys=["*"])
    else:
        admin.config_set("requirepass", userinfo[1:-1])
    await is_back(witness)
    assert (await acquired(witness)).number == 0


def as_replica(raw: redis.Redis) -> Callable[[], Any]:
    raw.replicaof("127.0.0.1", "1")
    return lambda: raw.replicaof("NO", "ONE")


def out_of_memory(raw: redis.Redis) -> Callable[[], Any]:
    raw.config_set("maxmemory", 1)
    return lambda: raw.config_set("maxmemory", 0)


def without_replicas(raw: redis.Redis) -> Callable[[], Any]:
    raw.config_set("min-replicas-to-write", 1)
    return lambda: raw.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(as_replica, "read only replica"), (out_of_memory, "maxmemory"), (without_replicas, "good replicas")],
)
@pytest.mark.parametrize("known", [True, False], ids=["registered", "new"])
async def test_redis_that_takes_no_writes_is_away_until_it_does(
    raw: redis.Redis, witness: Witness, spoil: Callable[[redis.Redis], Callable[[], Any]], reason: str, known: bool
) -> None:
    """It answers reads all the while; that does not count as being back."""
    if known:
        await acquired(witness)
    mend = spoil(raw)
    for _ in range(3):
        await is_away(witness, reason)
    assert witness.ups == [False]
    mend()
    await is_back(witness)
    assert (await acquired(witness)).number == int(known)
    assert witness.ups == [False, True]
    assert witness.emptied == 0


async def test_redis_that_starts_later_is_found(redis_process: RedisProcess, open_store: OpenStore) -> None:
    """Refused at start, then up: the first grant is number 0 and nothing was emptied."""
    redis_process.kill()
    witness = open_store(opener(redis_process.url))
    await is_away(witness, "Connect|connect")
    redis_process.start()
    await is_back(witness)
    assert (await acquired(witness)).number == 0
    assert witness.events == [StoreChanged(up=False, reason=witness.events[0].reason), StoreChanged(up=True)]  # type: ignore[union-attr]


async def test_grant_survives_an_outage(redis_process: RedisProcess, witness: Witness) -> None:
    """What was granted before can be confirmed after."""
    grant = await acquired(witness)
    redis_process.freeze()
    await is_away(witness, "did not answer")
    redis_process.thaw()
    await is_back(witness)
    assert isinstance(await witness.store.confirm(grant, ["p"], unexpected), Confirmed)


async def test_evicted_rotation_is_made_again_where_it_was(raw: redis.Redis, witness: Witness) -> None:
    """Numbers go on while the hash remains; nothing was emptied."""
    await acquired(witness)
    raw.delete(NAMES.turns(TURNS)[0])
    assert (await acquired(witness)).number == 1
    raw.delete(*NAMES.turns(TURNS)[:2])
    assert (await acquired(witness)).number == 0
    assert witness.emptied == 0


async def test_closed_store_leaves_no_connection(raw: redis.Redis, witness: Witness) -> None:
    """Also not those of an outage, of probes and of the queue."""
    await acquired(witness)
    await witness.store.inspect(())
    assert sum(client["name"] == "sidecar" for client in raw.client_list()) == 2
    mend = out_of_memory(raw)
    await is_away(witness, "maxmemory")
    await witness.store.close()
    mend()
    await clients_gone(raw)


async def test_what_gathered_behind_a_frozen_batch_fails_with_it(
    redis_process: RedisProcess, open_store: OpenStore
) -> None:
    """One deadline after the other would keep the last of many for minutes."""
    tried: list[str] = []

    def counted() -> Any:
        tried.append("connection")
        return opener(redis_process.url)()

    await acquired(witness := open_store(counted))
    redis_process.freeze()
    try:
        before, calls = len(tried), [acquired(witness) for _ in range(1000)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, StoreAway) for answer in answers)
        assert len(tried) <= before + 1  # the probe for its return, and no connection for the rest
    finally:
        redis_process.thaw()
    await is_back(witness)
