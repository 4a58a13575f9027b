"""The demo's processes, a private store and real sidecars: awaited by what they say, ended with their block."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

import sidecar

SERVERS = ("redis-server", "valkey-server")
READY_S = 60.0
END_S = 10.0
OURS = ("SIDECAR_", "REDIS_URL", "PROXY_API_KEY")  # variables that would change what the demo's config says


class WorldError(Exception):
    """A process did not start; the text has its last words."""


@dataclass(frozen=True, slots=True)
class StoreProcess:
    """A store of the demo's own."""

    url: str
    name: str


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[StoreProcess]:
    """A Redis or Valkey in a folder of its own where one is installed, else a simulated one."""
    server = next((found for name in SERVERS if (found := shutil.which(name))), None)
    if server is None:
        async with _process(sys.executable, "-m", "sidecar.cli.demo.fake_store", cwd=folder) as (process, last):
            port = await _line(process, last, "", "the simulated store")
            yield StoreProcess(f"redis://127.0.0.1:{port.strip()}/0", "a simulated Redis (fakeredis)")
        return
    socket = folder / "store.sock"
    options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no", "--dir", str(folder))
    async with _process(server, *options, cwd=folder) as (process, last):
        await _line(process, last, "ready to accept connections", server)
        yield StoreProcess(f"unix://{socket}", f"a private {Path(server).name}")


async def replicas(stack: AsyncExitStack, config: Path, count: int) -> list[str]:
    """The URLs of so many sidecars, each a process of its own; they end with the stack."""
    started = [
        await stack.enter_async_context(
            _process(
                sys.executable, "-m", "sidecar", "run", "--config", str(config), "--log", "json", cwd=config.parent
            )
        )
        for _ in range(count)
    ]
    lines = [await _line(process, last, '"msg":"listening"', "a sidecar") for process, last in started]
    for process, last in started:
        stack.push_async_callback(_cancelled, asyncio.create_task(_drain(process, last)))
    return [f"http://{orjson.loads(line)['listen']}" for line in lines]


@asynccontextmanager
async def _process(*command: str, cwd: Path) -> AsyncIterator[tuple[Process, deque[str]]]:
    """A process whose words come through one pipe; at the end it is asked to end, then made to.

    It has a session of its own: Ctrl-C reaches the demo alone, which ends its processes in order.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    package = str(Path(sidecar.__file__).parent.parent)
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environ.get("PYTHONPATH"))))
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=environ,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process, deque(maxlen=5)
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()


async def _line(process: Process, last: deque[str], sign: str, name: str) -> str:
    """The first line that holds the sign, in whatever case. Raises WorldError where it does not come."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            async for line in process.stdout:
                last.append(line.decode(errors="replace").rstrip())
                if sign in last[-1].lower():
                    return last[-1]
    except TimeoutError:
        pass
    raise WorldError(f"{name} does not start:\n  " + "\n  ".join(last or ["it said nothing."]))


async def _drain(process: Process, last: deque[str]) -> None:
    """Reads on, or the process would stop at a full pipe."""
    assert process.stdout is not None
    async for line in process.stdout:
        last.append(line.decode(errors="replace").rstrip())


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
