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
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio

import sidecar
from tests.fleet import Sidecar
from tests.servers import RedisProcess, own_process
from tests.soak.plan import BUDGETS, Plan
from tests.store.wire import Proxy, proxy

START_S = 30.0
WORDS = tuple(f"word{number} " for number in range(24))  # of each answer: a stream of a second
ENVIRON = {"PYTHONPATH": str(Path(sidecar.__file__).parent.parent)}  # what is soaked is what was imported here


@dataclass(eq=False, slots=True)
class Replica:
    """One sidecar process from its start to its end; `exit_code` None while it runs, or where it was killed."""

    name: str
    sidecar: Sidecar
    exit_code: int | None = None

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
    serving: list[Replica] = field(default_factory=list)
    ever: list[Replica] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        return self.plan.config(self.provider_url, f"redis://127.0.0.1:{self.wire.port}/0")

    async def start(self) -> Replica:
        """One more replica, ready; clients call it from now on. Raises RuntimeError where it does not get ready."""
        replica = Replica(f"r{len(self.ever)}", Sidecar(self.config, ENVIRON))
        self.ever.append(replica)
        try:
            await replica.sidecar.start()
        except (AssertionError, TimeoutError) as error:
            raise RuntimeError(f"{replica.name} does not get ready: {error or 'no answer'}\n{replica.log()}") from None
        self.serving.append(replica)
        return replica

    async def end(self, replica: Replica) -> None:
        """SIGTERM, and its exit code once it has gone. TimeoutError where it stays."""
        replica.sidecar.signal(signal.SIGTERM)
        async with asyncio.timeout(START_S + 5):
            replica.exit_code = await replica.sidecar.wait()

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
            *command, stdout=PIPE, stderr=PIPE, env=os.environ | ENVIRON, cwd=folder
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
        own = stack.enter_context(own_process("the soak needs a Redis of its own"))
        wire = await stack.enter_async_context(proxy(own.port))
        admin = redis.asyncio.Redis(port=own.port, client_name="soak", socket_timeout=None)
        stack.push_async_callback(admin.aclose)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30), connector=aiohttp.TCPConnector(force_close=True))
        )
        url = await stack.enter_async_context(_provider(plan, folder))
        built = World(plan, own, wire, admin, url, http)
        stack.push_async_callback(_close, built.ever)
        for _ in range(plan.replicas):
            await built.start()
        yield built


async def _close(replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        await replica.sidecar.close()


@asynccontextmanager
async def _provider(plan: Plan, folder: Path) -> AsyncIterator[str]:
    """The URL of a strict provider in a process of its own: nothing of ours can make it late."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps(plan.accounts()))
    command = (sys.executable, "-m", "sidecar.simulate.provider", "--keys", str(keys))
    told = ("--budgets", json.dumps(BUDGETS), "--words", json.dumps(WORDS))
    process = await asyncio.create_subprocess_exec(
        *command, *told, stdin=DEVNULL, stdout=PIPE, env=os.environ | ENVIRON, cwd=folder
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
