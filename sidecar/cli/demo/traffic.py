"""The demo's clients, and the trouble that the provider makes: what they saw is counted apart from what it saw."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Self

import aiohttp

from sidecar.cli.demo.plan import Plan
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider

TROUBLE_EVERY_S = 1.7
STREAMS = 0.25  # of the requests
# What befalls every request that nothing worse befalls: the provider takes a moment to think and to speak.
THINKING = Fault(headers_s=0.05, chunk_s=0.03)


class Traffic:
    """Sends in waves to all replicas for as long as the plan says."""

    def __init__(self, plan: Plan, provider: StrictProvider, urls: Sequence[str]) -> None:
        self.plan, self.provider = plan, provider
        self.statuses: Counter[str] = Counter()  # as clients saw them; `broken` for a connection or stream that broke
        self.failovers = 0  # attempts behind answers of 200 that another key had to make good
        self.waited = 0  # requests that waited for room
        self.longest_wait_s = 0.0
        self.sent = 0
        self.first_failure = ""  # what a client was told that was not served
        self._urls = itertools.cycle(urls)
        self._random = random.Random()  # noqa: S311 - traffic, not a secret
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self.provider.faults.append(THINKING)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._http.close()

    async def frames(self, every_s: float) -> AsyncIterator[float]:
        """The seconds since the start, now and then, until the last answer has come."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sending = [asyncio.create_task(self._send()), asyncio.create_task(self._trouble())]
        self._open.update(sending)
        while loop.time() - began < self.plan.seconds:
            yield loop.time() - began
            await asyncio.sleep(min(every_s, max(0.0, began + self.plan.seconds - loop.time())))
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        self._open.difference_update(sending)
        while self._open:
            yield loop.time() - began
            await asyncio.wait(set(self._open), timeout=every_s)
        yield loop.time() - began

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        began = due = loop.time()
        while True:
            due += self._random.expovariate(self.plan.rate_at(due - began))
            await asyncio.sleep(max(0.0, due - loop.time()))
            task = asyncio.create_task(self._request(self._random.random() < STREAMS))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _request(self, stream: bool) -> None:
        self.sent += 1
        asked = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        try:
            async with self._http.post(f"{next(self._urls)}/v1/chat/completions", json=asked) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failed("broken", type(error).__name__)
            return
        if answer.status != 200:
            self._failed(str(answer.status), body.decode(errors="replace"))
        elif stream and not body.endswith(b"data: [DONE]\n\n"):
            self._failed("broken", "a stream without its end")
        else:
            self.statuses["200"] += 1
        self._learn(answer)

    def _failed(self, status: str, text: str) -> None:
        self.statuses[status] += 1
        self.first_failure = self.first_failure or f"{status}: {text[:300]}"

    def _learn(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 200:
            self.failovers += int(answer.headers.get("x-sidecar-attempts", "1")) - 1
        waited_s = int(answer.headers.get("x-sidecar-waited-ms", "0")) / 1000
        self.waited += waited_s > 0
        self.longest_wait_s = max(self.longest_wait_s, waited_s)

    async def _trouble(self) -> None:
        """Now and then a key is refused though it has budget, or the provider fails."""
        faults = self.provider.faults
        for status in itertools.cycle((429, 500, 429, 503)):
            await asyncio.sleep(TROUBLE_EVERY_S)
            headers = {"Retry-After": "1"} if status == 429 else {}
            key = self._random.choice(list(self.plan.secrets.values()))
            faults[:-1] = [Fault(key=key, status=status, headers=headers, times=1)]
