"""The soak's clients: what each sent, to whom, and all that it was told, judged later and elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import aiohttp
from yarl import URL

from tests.soak import dialects
from tests.soak.callers import EVERYBODY
from tests.soak.dialects import ANSWER, MODEL, SIGN, Dialect
from tests.soak.plan import RATE
from tests.soak.pools import DENSE_SIGNS, SLOW
from tests.soak.world import Replica, now

TOTAL_S = 60.0  # what takes longer hangs: the longest freeze, wait and stream together are a third of it
SWELL, PERIOD_S = 0.6, 14.0  # how far the rate rises above its mean and falls below it, and how often
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}

# What common traffic is made of, and what the scenes add to it.
Kind = Literal["json", "stream", "abandoned", "impatient", "bad", "cached", "made", "uses"]
MIX: Mapping[Kind, int] = {"json": 50, "stream": 25, "abandoned": 8, "impatient": 5, "bad": 7}
DENSE = "!" * DENSE_SIGNS
LONG_MODEL = "flight/long-1"
MODELS: Mapping[str, float] = {
    "main": 8,
    "chat/gpt-4o": 4,
    f"chat/{SLOW.model.replace('*', '1')}": 4,
    "spare/gpt-4o-mini": 4,
    "heavy/gpt-4o": 8,
    "flight/gpt-4o": 5,
    "ranked/gpt-4o": 7,
}
LINGERS = 0.006  # of all requests: with those that fail, some two at a time
WAITS = (None, None, None, "0", "0.4", "6")  # x-sidecar-max-wait; None: the pool's own
BATCH = 0.15  # of all requests


class Bad(NamedTuple):
    """A request that the sidecar answers with 400 itself."""

    body: bytes
    headers: Mapping[str, str] = {}
    path: str = CHAT


_WELL = json.dumps({"model": "main", "messages": []}).encode()
BAD = (
    Bad(b'{"model": "main", "messages": ['),
    Bad(b'{"messages": []}'),
    Bad(b'{"model": 7, "messages": []}'),
    Bad(_WELL, {"x-sidecar-max-wait": "soon"}),
    Bad(_WELL, {"Content-Encoding": "gzip"}),
    Bad(_WELL, path="/v1/%2e%2e/chat/completions"),
)


class Granted(NamedTuple):
    """The grant that an answer names."""

    pool: str
    model: str
    number: int
    key: str


@dataclass(eq=False, slots=True)
class Sent:
    """One request. `end` says what became of it: a status, or `broken` (before an answer), `cut` (within one), `told`
    (by a stream, of its own end), `silent` (a stream that ends well though it is not whole), `hung`, `left` (by the
    client itself)."""

    kind: Kind
    replica: Replica
    began: float
    client: str = EVERYBODY
    asked: str = ""  # the model
    dialect: Dialect = dialects.CHAT
    same: str = ""  # what all that ask the same have in common
    made: Sent | None = None  # the request that made what this one names
    tag: str = ""  # what the provider knows it by; it begins with the client
    ended: float = math.inf
    end: int | Literal["", "broken", "cut", "told", "silent", "hung", "left"] = ""
    text: str = ""  # of an answer that is no 200, or why there is none
    body: bytes = b""  # of what was made
    digest: str = ""  # of the body of a 200
    called: frozenset[str] = frozenset()  # what its answer calls its model
    attempts: int | None = None  # as its answer says
    cache: str = ""  # likewise
    is_signed: bool = False  # its stream began before anything was known
    retry_after: str | None = None
    granted: Granted | None = None
    arrival: int | None = None  # which of the provider's it is, as its answer says


@dataclass(slots=True)
class Clients:
    """They send for as long as `sending` is set, in waves, each request to one of `targets` by chance."""

    targets: Sequence[Replica]
    seed: int
    secrets: Sequence[str]
    tokens: Mapping[str, str]  # each client's virtual key
    sent: list[Sent] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    sending: asyncio.Event = field(default_factory=asyncio.Event)
    open: set[asyncio.Task[None]] = field(default_factory=set)
    _http: aiohttp.ClientSession = field(init=False)

    async def run(self) -> None:
        """Until it is cancelled, with all that is under way."""
        draw = random.Random(f"traffic {self.seed}")
        self._http = _session()
        try:
            while True:
                await self.sending.wait()
                rate = RATE * (1 + SWELL * math.sin(2 * math.pi * now() / PERIOD_S))
                await asyncio.sleep(draw.expovariate(rate))
                if self.sending.is_set():
                    kind: Kind = draw.choices(list(MIX), list(MIX.values()))[0]
                    self.begin(self._call(kind, draw.choice(self.targets), random.Random(draw.getrandbits(64))))
        finally:
            for task in self.open:
                task.cancel()
            await asyncio.gather(*self.open, return_exceptions=True)
            await self._http.close()

    async def quiet(self) -> None:
        """Stops, and returns once nothing is under way and no connection is kept."""
        self.sending.clear()
        while self.open:
            await asyncio.wait(set(self.open))
        await self._http.close()
        self._http = _session()

    async def crowd(self, client: str, model: str, count: int) -> Counter[object]:
        """What became of so many at once of one client, over all replicas, that do not wait for room."""
        before = len(self.sent)
        for number in range(count):
            replica = self.targets[number % len(self.targets)]
            sent = Sent("json", replica, now(), client=client, asked=model)
            self.begin(self.send(sent, _chat(model), {"x-sidecar-max-wait": "0"}))
        await self.quiet()
        return Counter(one.end for one in self.sent[before:])

    async def burst(self, model: str, count: int, priority: str = "interactive") -> list[Sent]:
        """So many at once, over all replicas, that do not wait for room."""
        before = len(self.sent)
        headers = {"x-sidecar-max-wait": "0", "x-sidecar-priority": priority}
        for number in range(count):
            replica = self.targets[number % len(self.targets)]
            self.begin(self.send(Sent("json", replica, now(), asked=model), _chat(model), headers))
        await self.quiet()
        return self.sent[before:]

    async def walk(self, model: str, count: int) -> list[Sent]:
        """So many one after the other, each to the next replica: texts, streams and dense ones in turn."""
        before = len(self.sent)
        for number in range(count):
            sent = Sent("json", self.targets[number % len(self.targets)], now(), asked=model)
            stream, dense = number % 3 == 1, number % 3 == 2 and "flight/" in model
            await self.send(sent, _chat(model, DENSE if dense else "word " * 20, 8, stream, tells=True))
        return self.sent[before:]

    def begin(self, calling: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Goes on beside everything else; `quiet` waits for it."""
        task = asyncio.create_task(calling)
        self.open.add(task)
        task.add_done_callback(self.open.discard)
        return task

    # --- one request ----------------------------------------------------------------------------------

    async def _call(self, kind: Kind, replica: Replica, draw: random.Random) -> None:
        sent = Sent(kind, replica, now())
        wait = draw.choice(WAITS)
        headers = {} if wait is None else {"x-sidecar-max-wait": wait}
        headers |= {"x-sidecar-priority": "batch"} if draw.random() < BATCH else {}
        if kind == "bad":
            bad = draw.choice(BAD)
            await self.send(sent, bad.body, bad.headers, bad.path)
            return
        streams = kind in {"stream", "abandoned"} or (kind == "impatient" and draw.random() < 0.5)
        model = draw.choices(list(MODELS), list(MODELS.values()))[0]
        if kind == "stream" and draw.random() < LINGERS / MIX[kind] * sum(MIX.values()):
            model = LONG_MODEL
        sent.asked, body = model, _asking(model, streams, draw)
        if kind != "impatient":
            await self.send(sent, body, headers)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(draw.uniform(0.005, 0.6)):
                await self.send(sent, body, headers)

    async def send(
        self,
        sent: Sent,
        body: bytes | Mapping[str, Any],
        headers: Mapping[str, str] = {},
        path: str = CHAT,
        method: str = "POST",
    ) -> None:
        """One request, of which all that it comes to is written down."""
        sent.tag = f"{sent.client}-{len(self.sent)}"
        self.sent.append(sent)
        url = URL(sent.replica.sidecar.url + path, encoded=True)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        own = {"Authorization": f"Bearer {self.tokens[sent.client]}", "x-client-request-id": sent.tag}
        own["x-sidecar-keepalive"] = "false"
        try:
            async with self._http.request(method, url, data=data, headers={**JSON, **own, **headers}) as answer:
                try:
                    await self._read(sent, answer)
                except aiohttp.ClientError as error:
                    sent.end, sent.text = "cut", type(error).__name__
        except aiohttp.ClientError as error:
            sent.end, sent.text = "broken", f"{type(error).__name__}: {error}"
        except TimeoutError:
            sent.end = "hung"
        except asyncio.CancelledError:
            sent.end = "left"
            raise
        finally:
            sent.ended = now()

    async def _read(self, sent: Sent, answer: aiohttp.ClientResponse) -> None:
        headers = answer.headers
        self._look("headers", repr(headers))
        if "x-sidecar-grant" in headers:
            pool, model, key = (headers[f"x-sidecar-{name}"] for name in ("pool", "model", "key"))
            sent.granted = Granted(pool, model, int(headers["x-sidecar-grant"]), key)
        sent.retry_after, sent.cache = headers.get("Retry-After"), headers.get("x-sidecar-cache", "")
        sent.attempts = int(headers["x-sidecar-attempts"]) if "x-sidecar-attempts" in headers else None
        streams = headers.get("Content-Type", "").startswith("text/event-stream")
        body = b""
        events = 0
        async for data in answer.content.iter_any():
            body += data
            events += data.count(b"\n\n")
            if sent.arrival is None and (found := ANSWER.search(body)):
                sent.arrival = int(found[1])
            if sent.kind == "abandoned" and streams and events >= 3:
                answer.close()
                sent.end = "left"
                return
        self._look("body", body.decode(errors="replace"))
        sent.end = answer.status
        sent.is_signed = body.startswith(SIGN)
        if answer.status != 200:
            sent.text = body.decode(errors="replace")[:300]
            return
        said = body.replace(SIGN, b"") if sent.is_signed else body
        sent.digest, sent.body = hashlib.blake2b(said, digest_size=12).hexdigest(), body if sent.kind == "made" else b""
        sent.called = frozenset(name.decode() for name in MODEL.findall(body))
        if streams:
            _end(sent, body)

    def _look(self, where: str, text: str) -> None:
        if any(secret in text for secret in self.secrets):
            self.leaks.append(f"a secret in the {where} of an answer")


def _end(sent: Sent, body: bytes) -> None:
    """How a stream has ended. One that was begun in time may learn only then that it gets no answer."""
    end = dialects.end(sent.dialect, body)
    if end.how != "whole":
        sent.end, sent.text = "told" if end.how == "error" else "silent", end.text
        if sent.is_signed and end.status and "upstream_broken" not in end.text:
            sent.end = end.status


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=TOTAL_S))


def _asking(model: str, stream: bool, draw: random.Random) -> bytes:
    """Of any length. Dense ones go where the provider allows for them, and are no streams, which may tell nothing."""
    dense = model.startswith("flight/") and not stream and draw.random() < 0.3
    text = DENSE if dense else "word " * draw.choice((1, 40, 150))
    return _chat(model, text, draw.choice((8, 24, 100, 300)), stream, tells=draw.random() < 0.5)


def _chat(model: str, text: str = "Hi", most: int = 24, stream: bool = False, tells: bool = False) -> bytes:
    """`most` tokens may be answered; with `tells` a stream says how many there were."""
    asked = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": most, "stream": stream}
    return json.dumps(asked | ({"stream_options": {"include_usage": True}} if stream and tells else {})).encode()
