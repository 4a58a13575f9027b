"""Calls share round trips, run once, and leave nothing behind when a caller is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from sidecar.model.configured import SECOND_US
from sidecar.model.words import Grant, Refusal, Report, Rest, Subject
from sidecar.store import batch, calls, scripts, upkeep
from sidecar.store.batch import Lane
from sidecar.store.commands import Store
from sidecar.store.connect import Opener, StoreAway
from sidecar.store.names import Names
from tests.store.asks import ask, granted, limit, rotation, run, unexpected
from tests.store.conftest import OpenStore, Place

NAMES = Names("test")


def counted(opener: Opener, sent: list[Any]) -> Opener:
    """Connections that note each pipeline they send."""

    def opened() -> AbstractConnection:
        connection = opener()
        send = connection.send_packed_command

        async def send_packed_command(command: Any, check_health: bool = True) -> None:
            sent.append(command)
            await send(command, check_health)

        connection.send_packed_command = send_packed_command  # type: ignore[method-assign]
        return connection

    return opened


async def test_concurrent_acquires_share_round_trips(place: Place, open_store: OpenStore) -> None:
    """A hundred at once are one pipeline, and their grants come in the order of the calls."""
    sent: list[Any] = []
    store, turns = open_store(counted(place.open, sent)).store, rotation(7)
    await store.acquire(ask(turns), unexpected)
    sent.clear()
    grants = await asyncio.gather(*(store.acquire(ask(turns), unexpected) for _ in range(100)))
    assert [granted(grant).number for grant in grants] == list(range(1, 101))
    assert len(sent) == 1


async def test_pipeline_has_an_end(place: Place, open_store: OpenStore) -> None:
    """More calls than fit are sent in the next one."""
    sent: list[Any] = []
    store, turns = open_store(counted(place.open, sent)).store, rotation(1)
    await store.acquire(ask(turns), unexpected)
    sent.clear()
    grants = await asyncio.gather(*(store.acquire(ask(turns), unexpected) for _ in range(2 * batch.MOST + 1)))
    assert [granted(grant).number for grant in grants] == list(range(1, 2 * batch.MOST + 2))
    assert len(sent) == 3


async def test_call_of_a_running_store_sends_no_script_text(place: Place, open_store: OpenStore) -> None:
    """An acquire is a few hundred bytes on the wire, however long the script is."""
    sent: list[Any] = []
    store, turns = open_store(counted(place.open, sent)).store, rotation(1, limit(10))
    await store.acquire(ask(turns), unexpected)
    sent.clear()
    await store.acquire(ask(turns), unexpected)
    assert len(sent[0]) < 600


async def test_forgotten_scripts_are_healed_without_a_second_effect(place: Place, store: Store) -> None:
    """After SCRIPT FLUSH, as after a failover, every call is answered and every grant is numbered once."""
    turns = rotation(2, limit(100))
    granted(await store.acquire(ask(turns), unexpected))
    place.raw.script_flush()
    grants = await asyncio.gather(*(store.acquire(ask(turns), unexpected) for _ in range(5)))
    assert [granted(grant).number for grant in grants] == [1, 2, 3, 4, 5]
    place.raw.script_flush()
    store.release(granted(grants[0]), ["p"])
    assert (await store.inspect((), [turns])).numbers == (6,)


async def test_report_runs_before_the_acquire_behind_it_on_a_redis_that_knows_only_the_acquire(
    place: Place, store: Store
) -> None:
    """Else the first report of a new Redis would rest its key too late."""
    turns = rotation(2)
    script = scripts.load("acquire")
    run(place.raw, upkeep.register(NAMES, turns))
    place.raw.script_load(script.text)
    rest = Rest(Subject("acc-k0"), SECOND_US * 3600, "rate_limit_day")
    store.report(Report("r", (rest,)), (), lambda _: None)
    assert granted(await store.acquire(ask(turns), unexpected)).member.id == "k1"


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("steps", range(5))
async def test_cancelled_acquire_leaves_its_grant_to_orphaned(store: Store, steps: int) -> None:
    """Whenever the caller goes, a grant that was made has somebody who gives it back."""
    turns = rotation(1)
    granted(await store.acquire(ask(turns), unexpected))
    orphans: asyncio.Queue[Grant] = asyncio.Queue()
    task = asyncio.create_task(store.acquire(ask(turns), orphans.put_nowait))
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.done():
        orphans.put_nowait(granted(task.result()))
    else:
        await _cancelled(task)
    numbers = {granted(await store.acquire(ask(turns), unexpected)).number}
    if numbers != {1}:  # it was sent
        numbers.add((await orphans.get()).number)
        assert numbers == {1, 2}
    assert orphans.empty()


async def test_cancelled_confirm_leaves_the_moved_grant_to_orphaned(store: Store) -> None:
    """A late grant that was confirmed for nobody is given back where it now counts."""
    turns = rotation(1, limit(1, guard_us=0))
    grant = granted(await store.acquire(ask(turns), unexpected))
    orphans: asyncio.Queue[Grant] = asyncio.Queue()
    task = asyncio.create_task(store.confirm(grant, ["p"], orphans.put_nowait))
    await asyncio.sleep(0)
    await _cancelled(task)
    orphan = await orphans.get()
    assert orphan.moment_us > grant.moment_us
    store.release(orphan, ["p"])
    await store.inspect(())
    assert granted(await store.acquire(ask(turns), unexpected)).wait_us == 0


async def test_refusal_and_withdrawal_leave_no_orphan(place: Place, open_store: OpenStore) -> None:
    """Only what was granted is given back."""
    store, turns = open_store(place.open).store, rotation(1, limit(1))
    granted(await store.acquire(ask(turns), unexpected))
    task = asyncio.create_task(store.acquire(ask(turns), unexpected))
    await asyncio.sleep(0)
    await _cancelled(task)
    assert isinstance(await store.acquire(ask(turns), unexpected), Refusal)


async def test_call_that_cannot_be_written_does_not_end_the_lane(place: Place) -> None:
    """A mistake of ours is told to the caller; the lane goes on."""
    lane = Lane(place.open, lambda away: None)
    with pytest.raises(UnicodeEncodeError):
        await lane.call(calls.Call("inspect", ("{x}",), ("", "1", "\ud800")))
    assert len(await lane.call(calls.Call("inspect", ("{x}",), ("", "0")))) == 1
    await lane.close()


async def test_closed_store_is_away(store: Store) -> None:
    """Calls in flight, and later ones, end at once."""
    turns = rotation(1)
    await store.acquire(ask(turns), unexpected)
    tasks = [asyncio.create_task(store.acquire(ask(turns), unexpected)) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, StoreAway) for end in ends)
    with pytest.raises(StoreAway, match="closed"):
        await store.acquire(ask(turns), unexpected)


async def test_close_ends_a_lane_whose_connection_swallowed_the_cancel(place: Place) -> None:
    """As fakeredis's does where its answer comes at that moment."""
    reading = asyncio.Event()

    async def swallow() -> bytes:
        reading.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return b"0"

    lane = Lane(place.open, lambda away: None)
    await lane.call(calls.Call("inspect", ("{x}",), ("", "0")))
    assert lane._connection is not None
    lane._connection.read_response = swallow  # type: ignore[method-assign,assignment]
    last = lane.submit(calls.Call("inspect", ("{x}",), ("", "0")))
    await reading.wait()
    await lane.close()
    assert await last == b"0"


async def test_close_sends_what_is_queued(place: Place, open_store: OpenStore) -> None:
    """A report made just before the end is not lost."""
    store, turns = open_store(place.open).store, rotation(1, limit(1))
    grant = granted(await store.acquire(ask(turns), unexpected))
    store.report(Report("r", (Rest(Subject("acc-x"), SECOND_US, "why"),)), (), lambda _: None)
    store.release(grant, ["p"])
    await store.close()
    assert place.raw.hexists(NAMES.state, "c|account|acc-x")
    assert place.raw.hget(NAMES.state, f"w|{grant.member.account}|{limit(1).name}") == b"0" * 16


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_number_their_grants_without_gaps(real: Place, replicas: int) -> None:
    """Each in a thread and a loop of its own, on one Redis: the k-th grant of all goes to key k mod N."""
    turns = rotation(7, limit(1000))
    grants: list[Grant] = []

    async def replica() -> Sequence[Grant]:
        store = Store(real.open, "test", lambda _: None)
        answers = [granted(await store.acquire(ask(turns), unexpected)) for _ in range(20)]
        answers += map(granted, await asyncio.gather(*(store.acquire(ask(turns), unexpected) for _ in range(80))))
        await store.close()
        return answers

    threads = [threading.Thread(target=lambda: grants.extend(asyncio.run(replica()))) for _ in range(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((grant.number, grant.member.id) for grant in grants) == [
        (k, f"k{k % 7}") for k in range(100 * replicas)
    ]
