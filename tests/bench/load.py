"""The load: one shape of request at one concurrency for some seconds, by wrk where it is installed.

Where it is not, this file is its own client: `python -m tests.bench.load URL BODY CONCURRENCY SECONDS PAUSE_MS`
prints the same line of JSON. It is slower than wrk, so both its ratios and its latencies flatter the sidecar.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

POST = Path(__file__).with_name("post.lua")
# The credential is what an SDK sends; the proxies replace it, and the simulated provider takes it on the direct way.
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer floor"}


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for: one event stream or one JSON answer a request."""

    shape: str  # plain, stream
    concurrency: int
    pause_ms: int = 0  # of each connection before each request

    @property
    def name(self) -> str:
        return f"{self.shape} {self.concurrency}" + (" paced" if self.pause_ms else "")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one client saw of one target."""

    requests: int
    seconds: float
    median_ms: float
    p99_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def command(load: Load, url: str, body: Path, seconds: float) -> list[str]:
    """The client as a command that prints its sample in its last line."""
    if not has_wrk():
        own = [sys.executable, "-m", "tests.bench.load", url, str(body)]
        return [*own, str(load.concurrency), str(seconds), str(load.pause_ms)]
    wrk = ["wrk", "-t1", f"-c{load.concurrency}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    return [*wrk, "-s", str(POST), url, "--", str(body), str(load.pause_ms)]


def run(load: Load, url: str, body: Path, seconds: float, core: Sequence[str]) -> Sample:
    """Runs the client; `core` is a command that pins what follows. Raises RuntimeError where requests failed."""
    done = subprocess.run([*core, *command(load, url, body, seconds)], capture_output=True, text=True, check=True)
    sample = Sample(**json.loads(done.stdout.strip().splitlines()[-1]))
    if sample.failed or not sample.requests:
        raise RuntimeError(f"{load.name}: {sample.failed} of {sample.requests} requests to {url} failed")
    return sample


# --- without wrk --------------------------------------------------------------------------------------


async def _ask(session: aiohttp.ClientSession, url: str, body: bytes, load: Load, until: float) -> list[float]:
    """Seconds of each request of one connection; a negative one failed."""
    took = []
    while (now := time.perf_counter()) < until:
        if load.pause_ms:
            await asyncio.sleep(load.pause_ms / 1000)
            now = time.perf_counter()
        async with session.post(url, data=body, headers=HEADERS) as answer:
            await answer.read()
        seconds = time.perf_counter() - now
        took.append(seconds if answer.ok else -seconds)
    return took


async def _client(load: Load, url: str, body: bytes, seconds: float) -> Sample:
    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asking = (_ask(session, url, body, load, began + seconds) for _ in range(load.concurrency))
        took = [one for each in await asyncio.gather(*asking) for one in each]
    ordered = sorted(abs(one) * 1000 for one in took)
    middle, slow = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return Sample(len(took), time.perf_counter() - began, middle, slow, sum(one < 0 for one in took))


def main(url: str, body: str, concurrency: str, seconds: str, pause_ms: str) -> None:
    load = Load("", int(concurrency), int(pause_ms))
    sample = asyncio.run(_client(load, url, Path(body).read_bytes(), float(seconds)))
    fields = {name: getattr(sample, name) for name in Sample.__slots__}
    sys.stdout.write(json.dumps(fields) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
