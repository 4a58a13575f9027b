"""How many connections one replica has to an origin, and how long it keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sidecar.model.configured import Target
from sidecar.pool.search import Search
from sidecar.proxy.origin.places import Places
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream


class Holding(RawUpstream):
    """Answers each request once it is told to; the most that were under way at once, and how many connections came."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.open = self.most = 0
        self.gate = asyncio.Event()
        self.writers: set[asyncio.StreamWriter] = set()

    async def _hold(self, exchange: Exchange) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        self.writers.add(exchange.writer)
        await self.gate.wait()
        self.open -= 1
        await exchange.reply(b'{"choices": []}')


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)


def waiting(plane: Plane) -> int:
    """Requests that wait for a place or for room."""
    return plane.replica.state.pools.waiting.count


async def test_no_more_requests_are_at_an_origin_than_it_may_have_connections() -> None:
    """Of nine at once two are at the provider; all are answered, and no grant was taken by one that waited."""
    async with Holding() as upstream:
        bounded = pool(upstream.url, new_keys(3), connections={"max": 2})
        async with sidecar({"chat": bounded}) as plane:
            calls = [asyncio.create_task(plane.chat()) for _ in range(9)]
            await until(lambda: upstream.open == 2 and waiting(plane) == 7)
            upstream.gate.set()
            replies = await asyncio.gather(*calls)
            assert [reply.status for reply in replies] == [200] * 9
            assert sorted(reply.grant for reply in replies) == list(range(9))
            assert (upstream.most, len(upstream.writers)) == (2, 2)
            assert plane.upstream.places._taken == {}


async def test_a_grant_is_not_taken_before_its_connection() -> None:
    """Who waits for a connection keeps nothing from others: the budget that is left is theirs who can go."""
    async with Holding() as upstream, StrictProvider(new_keys(1)) as free:
        (secret,) = free.accounts
        limit = {"requests": 2, "per": "hour"}
        pools = {
            "bounded": pool(upstream.url, [secret], connections={"max": 1}, limits=[limit]),
            "other": pool(free.url, [secret], max_wait="0s"),  # of the same account
        }
        async with sidecar(pools) as plane:
            first = asyncio.create_task(plane.post("/pools/bounded/chat/completions", CHAT))
            await until(lambda: upstream.open == 1)
            second = asyncio.create_task(plane.post("/pools/bounded/chat/completions", CHAT))
            await until(lambda: waiting(plane) == 1)
            assert (await plane.post("/pools/other/chat/completions", CHAT)).status == 200
            upstream.gate.set()
            assert (await first).status == 200
            assert (await second).status == 429


async def test_who_waits_for_room_leaves_its_place_to_who_can_go() -> None:
    """One model has room again in a second; another model of the same origin goes meanwhile."""
    async with StrictProvider(new_keys(1)) as provider:
        limit = {"requests": 1, "per": "1s", "model": "slow"}
        bounded = pool(provider.url, list(provider.accounts), connections={"max": 1}, limits=[limit])
        async with sidecar({"chat": bounded}) as plane:
            assert (await plane.chat(model="slow")).status == 200
            waits = asyncio.create_task(plane.chat(model="slow"))
            await until(lambda: waiting(plane) == 1)
            reply = await plane.chat(model="fast")
            assert (reply.status, reply.headers["x-sidecar-waited-ms"], waits.done()) == (200, "0", False)
            assert (await waits).status == 200
    assert provider.most_in_flight() == 1


async def test_another_origin_serves_while_the_first_is_full() -> None:
    async with Holding() as upstream, StrictProvider(new_keys(1)) as second:
        pools = {
            "first": pool(upstream.url, new_keys(1), connections={"max": 1}),
            "second": pool(second.url, list(second.accounts), connections={"max": 1}),
        }
        async with sidecar(pools, routes={"gpt-4o": [{"pool": "first"}, {"pool": "second"}]}) as plane:
            held = asyncio.create_task(plane.chat())
            await until(lambda: upstream.open == 1)
            assert (await plane.chat()).headers["x-sidecar-pool"] == "second"
            upstream.gate.set()
            assert (await held).headers["x-sidecar-pool"] == "first"
            assert (await plane.chat()).headers["x-sidecar-pool"] == "first"


async def test_a_small_bound_of_one_pool_holds_up_nobody_of_another_at_its_origin() -> None:
    """There is room for those of the larger, whoever waits within the smaller."""
    async with Holding() as upstream:
        pools = {
            "small": pool(upstream.url, new_keys(1), connections={"max": 1}),
            "large": pool(upstream.url, new_keys(1), connections={"max": 3}),
        }
        async with sidecar(pools) as plane:
            small = [asyncio.create_task(plane.chat(model="small/m")) for _ in range(2)]
            await until(lambda: upstream.open == 1 and waiting(plane) == 1)
            large = [asyncio.create_task(plane.chat({"x-sidecar-max-wait": "0"}, model="large/m")) for _ in range(3)]
            await until(lambda: sum(call.done() for call in large) >= 1)
            await until(lambda: upstream.open == 3 or all(call.done() for call in large))
            upstream.gate.set()
            assert [(await call).status for call in small] == [200, 200]
            assert sorted([(await call).status for call in large]) == [200, 200, 503]
            assert upstream.most == 3
            assert plane.upstream.places._taken == {}


async def test_a_place_that_came_free_while_another_origin_was_asked_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody leaves one any more, so who waited for that would wait in vain."""
    places = Places()
    pools = {
        "full": pool("http://full.test", new_keys(1), connections={"max": 1}),
        "spent": pool("http://spent.test", new_keys(1), limits=[{"requests": 1, "per": "hour"}]),
    }
    async with sidecar(pools) as plane:
        of_plane = plane.replica.state.pools
        acquire = of_plane.acquire

        async def ask(*names: str) -> str:
            targets = tuple(Target(name, "m") for name in names)
            search = Search("".join(names), targets, asyncio.get_running_loop().time() + 60)
            return (await places.acquire(of_plane, search, True))[1]

        async def and_then_one_ends(search: Search, wait: bool = True) -> object:
            got = await acquire(search, wait)
            monkeypatch.setattr(of_plane, "acquire", acquire)
            places.leave("full.test")
            return got

        assert [await ask("full"), await ask("spent")] == ["full.test", ""]
        monkeypatch.setattr(of_plane, "acquire", and_then_one_ends)
        assert await ask("full", "spent") == "full.test"


async def test_a_wait_for_a_connection_ends_like_one_for_room() -> None:
    async with (
        Holding() as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), connections={"max": 1})}, max_waiting=1) as plane,
    ):
        held = asyncio.create_task(plane.chat())
        await until(lambda: upstream.open == 1)
        told = await plane.chat({"x-sidecar-max-wait": "0"})
        assert (told.status, told.data["error"]["code"], told.headers["Retry-After"]) == (503, "no_connection", "1")
        waits = asyncio.create_task(plane.chat())
        await until(lambda: waiting(plane) == 1)
        assert (await plane.chat()).status == 503  # one more than may wait
        upstream.gate.set()
        assert [(await held).status, (await waits).status] == [200, 200]


@pytest.mark.parametrize("leaves", ["client", "provider"])
async def test_a_place_is_free_again_however_its_request_ended(provider: StrictProvider, leaves: str) -> None:
    fault = Fault(hang=True, times=1) if leaves == "client" else Fault(status=503, times=1)
    provider.faults.append(fault)
    bounded = pool(provider.url, list(provider.accounts), connections={"max": 1}, max_attempts=1)
    async with sidecar({"chat": bounded}) as plane:
        first = asyncio.create_task(plane.chat())
        if leaves == "client":
            await provider.wait_for(lambda: provider.open == 1)
            first.cancel()
        else:
            assert (await first).status == 503
        assert (await plane.chat()).status == 200
        assert plane.upstream.places._taken == {}


async def test_a_place_that_came_as_its_waiter_left_is_the_next_ones() -> None:
    """The waiter is cancelled in the very moment in which it was given one."""
    places, took = Places(), []

    async with sidecar({"chat": pool("http://h.test", new_keys(1), connections={"max": 1})}) as plane:
        pools = plane.replica.state.pools

        async def ask(name: str) -> None:
            search = Search(name, (Target("chat", "m"),), asyncio.get_running_loop().time() + 60)
            _, place = await places.acquire(pools, search, True)
            took.append((name, place))

        await ask("first")
        second, third = asyncio.create_task(ask("second")), asyncio.create_task(ask("third"))
        await until(lambda: waiting(plane) == 2)
        places.leave("h.test")
        second.cancel()
        await third
        assert took == [("first", "h.test"), ("third", "h.test")]


async def test_a_connection_is_kept_as_long_as_its_pool_says() -> None:
    async with Holding() as upstream:
        upstream.gate.set()
        pools = {
            "kept": pool(upstream.url, new_keys(1), connections={"keepalive": "1h"}),
            "closed": pool(upstream.url, new_keys(1), connections={"keepalive": "0s"}),
        }
        async with sidecar(pools) as plane:
            for name, connections in (("kept", 1), ("closed", 4)):
                for _ in range(3):
                    assert (await plane.post(f"/pools/{name}/chat/completions", CHAT)).status == 200
                assert len(upstream.writers) == connections
