"""What is sent beside the common traffic: of limited clients, in every dialect, alike at once, to the frail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from tests.soak import belonging, stampedes
from tests.soak.callers import LIMITED
from tests.soak.dialects import CHAT, DIALECTS
from tests.soak.routes import BREAKS, REPEATS, SHARED
from tests.soak.traffic import WAITS, Clients, Sent
from tests.soak.world import now

LEAVES = 0.1  # of all scenes
FRAIL: Mapping[str, float] = {BREAKS: 4, REPEATS: 8, SHARED: 2}

Scene = Callable[[Clients, random.Random], Coroutine[Any, Any, None]]


async def _limited(clients: Clients, draw: random.Random) -> None:
    """A client with a limit of its own, at a pool with room."""
    client = draw.choice(LIMITED)
    sent = Sent("json", draw.choice(clients.targets), now(), client=client, asked="roomy/gpt-4o")
    stream = client == "single"
    wait = draw.choice(WAITS)
    headers = {} if wait is None else {"x-sidecar-max-wait": wait}
    await clients.send(sent, CHAT.body(sent.asked, "word " * draw.choice((1, 40, 100)), 24, stream), headers)


async def _speaks(clients: Clients, draw: random.Random) -> None:
    dialect, model = DIALECTS[draw.choice(list(DIALECTS))]
    stream = draw.random() < 0.7
    sent = Sent("json", draw.choice(clients.targets), now(), asked=model, dialect=dialect)
    await clients.send(sent, dialect.body(model, "Hi", 24, stream), path=dialect.path(model, stream))


async def _waits(clients: Clients, draw: random.Random) -> None:
    """A stream of a pool that has no room, whose client wants a sign of life."""
    sent = Sent("json", draw.choice(clients.targets), now(), asked="chat/gpt-4o")
    await clients.send(sent, CHAT.body(sent.asked, "Hi", 8, True), {"x-sidecar-keepalive": "true"})


async def _frail(clients: Clients, draw: random.Random) -> None:
    asked = draw.choices(list(FRAIL), list(FRAIL.values()))[0]
    sent = Sent("json", draw.choice(clients.targets), now(), asked=asked)
    await clients.send(sent, CHAT.body(sent.asked, "Hi", 4, draw.random() < 0.3), {"x-sidecar-max-wait": "0"})


SCENES: Mapping[Scene, float] = {  # how often a second
    _limited: 5,
    _speaks: 3,
    _waits: 0.5,
    _frail: 14,
    stampedes.play: 0.5,
    belonging.play: 0.5,
}


async def run(clients: Clients, seed: int) -> None:
    """While clients send, until it is cancelled."""
    draw = random.Random(f"scenes {seed}")
    while True:
        await clients.sending.wait()
        await asyncio.sleep(draw.expovariate(sum(SCENES.values())))
        if clients.sending.is_set():
            scene = draw.choices(list(SCENES), list(SCENES.values()))[0]
            playing = scene(clients, random.Random(draw.getrandbits(64)))
            clients.begin(_cut_short(playing, draw.uniform(0.005, 0.8)) if draw.random() < LEAVES else playing)


async def _cut_short(playing: Coroutine[Any, Any, None], seconds: float) -> None:
    """Its client goes away, wherever that leaves it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await playing
