"""Real sidecar processes on one store, for everything that is said of replicas."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

START_S = 30.0


class Sidecar:
    """One `sidecar run`: its two URLs once it listens, its process, and all that it logged.

    The system chooses its ports: one that was free a moment ago may be somebody else's.
    """

    def __init__(
        self, config: Mapping[str, Any], environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self.url = self.ops_url = ""
        self._folder = tempfile.TemporaryDirectory()
        self.log = Path(self._folder.name) / "log"
        self.failures = Path(self._folder.name) / "failures.jsonl"
        self._config, self._environ = {"failures": str(self.failures), **config}, dict(environ or {})
        self._arguments = arguments
        self._config |= {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0"}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns once it is ready."""
        file = Path(self._folder.name) / "sidecar.yaml"
        file.write_text(json.dumps(self._config))
        clean = {
            name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH", "XDG_STATE_HOME") if name in os.environ
        }
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sidecar",
                "run",
                "--config",
                str(file),
                *self._arguments,
                stdout=log,
                stderr=log,
                env=clean | self._environ,
                cwd=self._folder.name,
            )
        await asyncio.wait_for(self._ready(), START_S)

    async def _ready(self) -> None:
        async with aiohttp.ClientSession() as http:
            while not await self._is_ready(http):
                assert self._process is not None
                assert self._process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        lines = (json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n"))
        told = next((line for line in lines if line["msg"] == "listening"), None)
        if told is None:
            return False
        self.url, self.ops_url = f"http://{told['listen']}", f"http://{told['ops_listen']}"
        with suppress(aiohttp.ClientError):
            async with http.get(f"{self.ops_url}/health/ready") as answer:
                return answer.status == 200
        return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, as a node that dies."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def close(self) -> None:
        """Ends the process and removes its folder."""
        await self.kill()
        self._folder.cleanup()


@asynccontextmanager
async def fleet(
    size: int, config: Mapping[str, Any], environ: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> AsyncIterator[list[Sidecar]]:
    """So many replicas of one config, ready. `arguments`: of `sidecar run`, besides the config."""
    replicas = [Sidecar(config, environ, arguments) for _ in range(size)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        yield replicas
    finally:
        for replica in replicas:
            await replica.close()
