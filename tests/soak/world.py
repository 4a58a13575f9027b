"""The soak's processes: one Redis behind a wire that can be cut, one provider, and replicas that come and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio

import sidecar
from sidecar.store import scripts
from tests.fleet import Sidecar
from tests.servers import RedisProcess, own_process
from tests.soak import midnight, pools
from tests.soak.plan import NAMESPACE, Plan
from tests.soak.watch import Watch
from tests.store.wire import Proxy, proxy

START_S = 30.0
STARTED_S = 3.0  # by when everything runs, mostly
ADMIN_S = 30.0  # in which an operator's order is obeyed, whatever goes on
WORDS = tuple(f"word{number} " for number in range(24))  # of each answer: a stream of a second
SOURCE = Path(sidecar.__file__).parent.parent  # what is soaked is what was imported here


@dataclass(eq=False, slots=True, repr=False)
class Replica:
    """One sidecar process from its start to its end; `exit_code` None while it runs, or where it was killed."""

    name: str
    sidecar: Sidecar
    exit_code: int | None = None
    other: bool = False  # whether it was last told the other config

    def __repr__(self) -> str:
        return self.name

    def log(self) -> str:
        return self.sidecar.log.read_text(errors="replace")

    def memory_mib(self) -> float:
        """Resident."""
        lines = Path(f"/proc/{self.sidecar.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.sidecar.pid}/fd"))  # noqa: PTH208 - a count, of names that may vanish


@dataclass(slots=True)
class World:
    """Everything that runs. `serving` are the replicas that clients may call, the first of them from start to end."""

    plan: Plan
    store: RedisProcess
    wire: Proxy
    admin: redis.asyncio.Redis
    provider_url: str
    http: aiohttp.ClientSession
    environ: dict[str, str]
    midnight: float  # seconds since the soak began
    other: bool = False  # which config replicas are told
    serving: list[Replica] = field(default_factory=list)
    ever: list[Replica] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        return self.plan.config(self.provider_url, f"redis://127.0.0.1:{self.wire.port}/0", self.other)

    async def start(self) -> Replica:
        """One more replica, ready; clients call it from now on. Raises RuntimeError where it does not get ready."""
        replica = Replica(f"r{len(self.ever)}", Sidecar(self.config, self.environ), other=self.other)
        self.ever.append(replica)
        try:
            await replica.sidecar.start()
        except (AssertionError, TimeoutError) as error:
            raise RuntimeError(f"{replica.name} does not get ready: {error or 'no answer'}\n{replica.log()}") from None
        self.serving.append(replica)
        self._tell(replica)
        return replica

    def reload(self, other: bool) -> None:
        """Every replica that serves is told this config, and every one to come."""
        self.other = other
        for replica in self.serving:
            self._tell(replica)

    def _tell(self, replica: Replica) -> None:
        """The config, where it has another one."""
        if replica.other == self.other:
            return
        replica.other = self.other
        of, folder = replica.sidecar, replica.sidecar.log.parent
        own = {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0", "failures": str(of.failures)}
        (folder / "next").write_text(json.dumps(self.config | own))
        (folder / "next").replace(folder / "sidecar.yaml")  # it looks for changes by itself too, and must see no half
        of.signal(signal.SIGHUP)

    async def manage(self, deed: str, key: str) -> None:
        """What an operator does to a key, by whichever replica does it first. TimeoutError where none does."""
        async with asyncio.timeout(ADMIN_S):
            for replica in cycle(list(self.serving)):
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with self.http.post(
                        f"{replica.sidecar.ops_url}/admin/v1/keys/{key}/{deed}", timeout=aiohttp.ClientTimeout(3)
                    ) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    async def leases(self) -> dict[str, int]:
        """How many requests of each account count as in flight, as lua/README.md says that Redis keeps them."""
        seconds, micros = await self.admin.time()
        found: dict[str, int] = {}
        fields = self.admin.hscan_iter(f"sc:{{{NAMESPACE}}}:state", match="w|*|concurrency/*")
        async for name, text in fields:
            ends = (int(text[at : at + 16]) for at in range(0, len(text), 32))
            live = sum(end > seconds * 1_000_000 + micros for end in ends)
            found |= {name.decode().split("|")[1]: live} if live else {}
        return found

    async def end(self, replica: Replica) -> None:
        """SIGTERM, and its exit code once it has gone. TimeoutError where it stays."""
        replica.sidecar.signal(signal.SIGTERM)
        async with asyncio.timeout(START_S + 5):
            replica.exit_code = await replica.sidecar.wait()

    async def restart_store(self, watch: Watch) -> None:
        """Redis is killed, and begins again with what it knew. Nobody reaches it before the watch does."""
        self.wire.is_shut = True
        self.wire.cut_now()
        await watch.caught_up(self.admin)
        await watch.end()
        await self.admin.connection_pool.disconnect()
        self.store.kill()
        await asyncio.to_thread(self.store.start)
        await watch.begin(self.admin)
        for name in scripts.NAMES:
            await self.admin.script_load(scripts.load(name).text)  # a script that came as EVAL would not be recognised
        self.wire.is_shut = False

    async def order(self, **order: Any) -> None:
        """Tells the provider what to do."""
        async with self.http.post(f"{self.provider_url}/_control", json=order) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())

    async def report(self) -> dict[str, Any]:
        """What the provider counted. It takes its time over it: only when nothing is under way."""
        async with self.http.get(f"{self.provider_url}/_report") as answer:
            told: dict[str, Any] = await answer.json()
            return told

    async def connected(self) -> set[str]:
        """The ports of all connections that Redis has."""
        found: list[dict[str, str]] = await self.admin.client_list()
        return {client["addr"].rpartition(":")[2] for client in found}

    async def page(self, replica: Replica, path: str) -> str:
        async with self.http.get(replica.sidecar.ops_url + path) as answer:
            return await answer.text()

    async def status(self, folder: Path) -> dict[str, Any]:
        """What `sidecar status --json` says."""
        file = folder / "status.yaml"
        file.write_text(json.dumps(self.config))
        command = (sys.executable, "-m", "sidecar", "status", "--config", str(file), "--json")
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=PIPE, env=os.environ | self.environ, cwd=folder
        )
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"sidecar status exits {process.returncode}: {err.decode()}")
        told: dict[str, Any] = json.loads(out)
        return told


@asynccontextmanager
async def world(plan: Plan, folder: Path) -> AsyncIterator[World]:
    """Redis, provider and the first replicas, ready. All of it ends with the block, however that ends."""
    async with AsyncExitStack() as stack:
        own = stack.enter_context(own_process("the soak needs a Redis of its own", "--appendonly", "yes"))
        wire = await stack.enter_async_context(proxy(own.port))
        admin = redis.asyncio.Redis(port=own.port, client_name="soak", socket_timeout=None)
        stack.push_async_callback(admin.aclose)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30), connector=aiohttp.TCPConnector(force_close=True))
        )
        at_s = round(time.time() + STARTED_S + plan.midnight_s)
        midnight.write(folder, at_s)
        environ = {"PYTHONPATH": f"{folder}{os.pathsep}{SOURCE}"}
        url = await stack.enter_async_context(_provider(plan, folder, environ))
        built = World(plan, own, wire, admin, url, http, environ, now() + at_s - time.time())
        stack.push_async_callback(_close, built.ever)
        for _ in range(plan.replicas):
            await built.start()
        yield built


async def _close(replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        await replica.sidecar.close()


@asynccontextmanager
async def _provider(plan: Plan, folder: Path, environ: dict[str, str]) -> AsyncIterator[str]:
    """The URL of a strict provider in a process of its own: nothing of ours can make it late."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps(plan.accounts()))
    command = (sys.executable, "-m", "sidecar.simulate.provider", "--keys", str(keys))
    told = (
        "--budgets",
        json.dumps([one._asdict() for one in pools.budgets()]),
        "--words",
        json.dumps(WORDS),
        "--keeps",
    )
    process = await asyncio.create_subprocess_exec(
        *command, *told, stdin=DEVNULL, stdout=PIPE, env=os.environ | environ, cwd=folder
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_S)
        yield json.loads(line)["url"]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


_BEGAN = time.monotonic()


def now() -> float:
    """Seconds since the soak began: what every moment in it is told in."""
    return time.monotonic() - _BEGAN


def moment(at_ns: int) -> float:
    """A moment of the provider's clock, which is the machine's, in the same seconds."""
    return at_ns / 1e9 - _BEGAN
