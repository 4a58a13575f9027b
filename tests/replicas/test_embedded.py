"""Sidecars of one user and their embedded store: started together, ended or killed in any order, budgets kept."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

import sidecar
from sidecar.simulate.provider import StrictProvider
from tests.embedded import Kept
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import ask, config, many, new_keys

PATIENCE_S = 60.0

T = TypeVar("T")


class User:
    """A process that uses the store."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def grant(self) -> int:
        return int(await self._said("grant"))

    async def leave(self) -> None:
        assert await self._said("leave") == "left"
        assert await self._process.wait() == 0

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def _said(self, order: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order}\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def users(count: int) -> AsyncIterator[list[User]]:
    """So many processes, none of which has used the store yet."""
    command = (sys.executable, "-m", "tests.replicas.embedded_user")
    root = Path(sidecar.__file__).parent.parent
    started = [
        User(await asyncio.create_subprocess_exec(*command, cwd=root, stdin=PIPE, stdout=PIPE)) for _ in range(count)
    ]
    try:
        yield started
    finally:
        for user in started:
            await user.kill()


async def test_those_that_start_together_share_one_server(kept: Kept) -> None:
    """Four at once, several times over: one server each time, and the numbers of the grants go on."""
    for before in (0, 4, 8):
        async with users(4) as all_four:
            numbers = await asyncio.gather(*(user.grant() for user in all_four))
            assert sorted(numbers) == list(range(before, before + 4))
            assert kept.starts == before / 4 + 1
            await asyncio.gather(*(user.leave() for user in all_four))
            assert not kept.lives


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=lambda order: "".join(map(str, order)))
async def test_the_last_to_leave_ends_the_server(order: tuple[int, ...], kept: Kept) -> None:
    async with users(3) as three:
        for user in three:
            await user.grant()
        for index in order[:-1]:
            await three[index].leave()
            assert kept.lives
        assert await three[order[-1]].grant() == 3
        await three[order[-1]].leave()
        assert not kept.lives
        assert kept.starts == 1


@pytest.mark.parametrize("killed", [(0,), (1,), (0, 1)], ids=lambda killed: "".join(map(str, killed)))
async def test_a_killed_user_does_not_count(killed: tuple[int, ...], kept: Kept) -> None:
    """The others neither lose the server nor keep it for those that are gone."""
    async with users(3) as three:
        for user in three:
            await user.grant()
        for index in killed:
            await three[index].kill()
        rest = [user for index, user in enumerate(three) if index not in killed]
        for number, user in enumerate(rest):
            assert await user.grant() == 3 + number
            await user.leave()
        assert not kept.lives


async def test_a_server_that_nobody_ended_is_the_next_ones(kept: Kept) -> None:
    """All users killed: it goes on, serves who comes and ends with them."""
    async with users(2) as both:
        assert sorted([await user.grant() for user in both]) == [0, 1]
        for user in both:
            await user.kill()
    assert kept.lives
    async with users(1) as (next_one,):
        assert await next_one.grant() == 2
        await next_one.leave()
    assert not kept.lives
    assert kept.starts == 1


async def test_who_comes_while_the_last_one_goes_gets_a_server(kept: Kept) -> None:
    """Whether it meets the old one, its end or none at all."""
    async with users(6) as all_six:
        assert await all_six[0].grant() == 0
        for going, coming in itertools.pairwise(all_six):
            await asyncio.gather(going.leave(), coming.grant())
        assert await all_six[-1].grant() == 6
        await all_six[-1].leave()
    assert not kept.lives


async def test_a_killed_server_is_started_once_by_those_that_are_there(kept: Kept) -> None:
    """And has lost nothing that it had answered."""
    async with users(4) as all_four:
        for number, user in enumerate(all_four):
            assert await user.grant() == number
        kept.kill()
        assert sorted(await asyncio.gather(*(user.grant() for user in all_four))) == [4, 5, 6, 7]
        assert kept.starts == 2
        await asyncio.gather(*(user.leave() for user in all_four))
    assert not kept.lives


async def test_budgets_of_a_day_survive_a_restart_of_everything(kept: Kept) -> None:
    """Two sidecars share them, both end, and two new ones have what is left."""
    async with StrictProvider(new_keys(2), [(3, 86_400.0)]) as provider, many() as http:
        told = config(provider, "embedded", 2, limits=[{"requests": 3, "per": "24h"}], max_wait="0s")
        async with fleet(2, told) as replicas:
            assert [(await ask(http, replicas[n % 2]))[0] for n in range(4)] == [200] * 4
            await ended(*replicas)
        assert not kept.lives
        async with fleet(2, told) as replicas:
            assert [(await ask(http, replicas[n % 2]))[0] for n in range(4)] == [200, 200, 429, 429]
            await ended(*replicas)
        assert provider.excess() == []


async def ended(*replicas: Sidecar) -> None:
    for replica in replicas:
        replica.signal(signal.SIGTERM)
    assert [await replica.wait() for replica in replicas] == [0] * len(replicas)


async def test_a_server_killed_under_load_comes_back_with_its_budgets(kept: Kept) -> None:
    """No client sees it, no account receives more than its budget, and one server is started again."""
    limit = {"requests": 40, "per": "24h"}
    async with StrictProvider(new_keys(4), [(40, 86_400.0)]) as provider, many() as http:
        told = config(provider, "embedded", 4, limits=[limit], max_wait="30s")
        async with fleet(2, told) as replicas:
            asked = asyncio.gather(*(in_turn(http, replica, 15) for replica in replicas for _ in range(4)))
            for reached in (30, 70):
                await provider.wait_for(partial(arrived, provider, reached))
                kept.kill()
            statuses = [status for of_one in await asked for status in of_one]
            assert statuses == [200] * 120
            assert provider.excess() == []
            assert kept.starts == 3
            await ended(*replicas)


def arrived(provider: StrictProvider, count: int) -> bool:
    return len(provider.arrivals) >= count


async def in_turn(http: aiohttp.ClientSession, replica: Sidecar, count: int) -> list[int]:
    return [(await ask(http, replica))[0] for _ in range(count)]


async def test_a_folder_that_cannot_be_loaded_is_said_and_left_alone(kept: Kept) -> None:
    """The sidecar runs, is not ready and says why; once it is mended, what was spent is spent."""
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        told = config(provider, "embedded", 1, limits=[{"requests": 2, "per": "24h"}], max_wait="0s")
        async with fleet(1, told) as (replica,):
            assert (await ask(http, replica))[0] == 200
            await ended(replica)
        data = kept.spoil()
        sidecar = Sidecar(told)
        started = asyncio.create_task(sidecar.start())
        try:
            record, *_ = await until(lambda: logged(sidecar, "store is away"))
            assert f"ended as it started in {kept.folder}: Bad file format" in record["reason"]
            assert f"move {kept.folder} away" in record["reason"]
            assert not started.done()
            kept.mend(data)
            await started
            assert [(await ask(http, sidecar))[0] for _ in range(2)] == [200, 429]
            await ended(sidecar)
        finally:
            await sidecar.close()


def logged(sidecar: Sidecar, msg: str) -> list[dict[str, str]]:
    """The lines of its log with this message."""
    text = sidecar.log.read_text() if sidecar.log.exists() else ""
    records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [record for record in records if record["msg"] == msg]


async def until(look: Callable[[], T]) -> T:
    """What it sees, once it sees something: other processes write files and send no event."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            seen = look()
            if seen:
                return seen
            await asyncio.sleep(0.01)


async def test_a_server_that_cannot_come_back_is_said(kept: Kept) -> None:
    """The reason is not only that the connection broke."""
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        told = config(provider, "embedded", 1, max_wait="0s")
        async with fleet(1, told) as (replica,):
            assert (await ask(http, replica))[0] == 200
            data = kept.spoil()
            kept.kill()
            assert (await ask(http, replica))[0] == 503
            broken = await until(
                lambda: [told for told in logged(replica, "store is away") if str(kept.folder) in told["reason"]]
            )
            assert "Bad file format" in broken[0]["reason"]
            async with http.get(f"{replica.ops_url}/health") as answer:
                assert broken[0]["reason"] in (await answer.json())["reason"]
            kept.mend(data)
            await until(lambda: logged(replica, "store is back"))
            assert (await ask(http, replica))[0] == 200
            await ended(replica)


async def test_a_folder_moved_away_is_replaced_by_an_empty_one(kept: Kept) -> None:
    """What the reason proposes works while the sidecar runs, and the folder is there to be looked at."""
    async with users(1) as (first,):
        assert await first.grant() == 0
        await first.leave()
    kept.spoil()
    async with users(1) as (second,):
        asked = asyncio.create_task(second.grant())
        await until(lambda: kept.starts >= 2)
        kept.folder.rename(kept.folder.with_name("spoilt"))
        assert await asked == 0
        await second.leave()
    assert not kept.lives
    assert list(kept.folder.with_name("spoilt").glob("appendonlydir/*.incr.aof"))


async def test_without_a_server_to_start_it_is_memory_and_said(kept: Kept, tmp_path: Path) -> None:
    """On the log, on /health, and nothing is written."""
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        told = config(provider, "embedded", 1)
        async with fleet(1, told, {"PATH": str(tmp_path)}) as (replica,):
            assert (await ask(http, replica))[0] == 200
            (warning,) = (json.loads(line) for line in replica.log.read_text().splitlines() if '"warning"' in line)
            assert "neither redis-server nor valkey-server is on the PATH" in warning["msg"]
            async with http.get(f"{replica.ops_url}/health") as answer:
                assert (await answer.json())["warning"] == warning["msg"]
            await ended(replica)
    assert not kept.state.exists()
