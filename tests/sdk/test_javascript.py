"""The SDKs of JavaScript in a process of Node's, as applications run them, with nothing but the base URL changed.

Their packages are those that `npm install` puts into `tests/sdk/javascript`; without them nothing here is tried.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.model.events import Answered
from sidecar.simulate.answers import INPUT_TOKENS, WORDS
from sidecar.simulate.failures import Fault
from sidecar.simulate.media import MP3, PNG
from sidecar.simulate.provider import StrictProvider
from sidecar.simulate.tokens import IMAGE_TOKENS
from tests.proxy.plane import Plane, pool, sidecar
from tests.sdk.conftest import PRESETS

FOLDER = Path(__file__).parent / "javascript"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (FOLDER / "node_modules").is_dir(),
    reason="no JavaScript SDKs: Node.js 20 and `npm install` in tests/sdk/javascript bring them",
)

TEXT = "".join(WORDS)
TOTAL = INPUT_TOKENS + len(WORDS)
MANY = 4  # what the scripts repeat, more often than there are keys
WEATHER = {"city": "simulated", "days": 1}
PICTURE = base64.b64encode(PNG).decode()
SOUND = base64.b64encode(MP3).decode()


@asynccontextmanager
async def running(script: str, url: str, *uses: str, key: str = "unused") -> AsyncIterator[Process]:
    """A process that prints what the uses came to and stays until its input ends."""
    assert NODE
    environ = {"PATH": os.environ["PATH"]}  # no key, base URL or proxy of whoever runs the tests
    process = await asyncio.create_subprocess_exec(
        NODE, str(FOLDER / script), url, key, *uses, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environ
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(script: str, url: str, *uses: str, key: str = "unused") -> Any:
    """What each use came to, by its name."""
    async with running(script, url, *uses, key=key) as process:
        out, err = await process.communicate(b"")
        assert process.returncode == 0, err.decode()
        return json.loads(out)


# --- what each can do -------------------------------------------------------------------------------

OPENAI: dict[str, Any] = {
    "chat": [TEXT, TOTAL],
    "chatStream": [TEXT, TOTAL],
    "tools": [[WEATHER], TEXT],
    "toolsStream": [[WEATHER], TEXT],
    "parsed": WEATHER,
    "responses": [TEXT] * (1 + MANY),
    "responsesStream": [TEXT, TOTAL],
    "references": [TEXT] * MANY,
    "embeddings": [[0, 0.125, 0.25]] * 2,
    "files": [["a.txt"] * MANY + ["hello"] * MANY, True],
    "images": [PICTURE, IMAGE_TOKENS + 3],  # and `user` and `image_url`
    "audio": [SOUND, TEXT],
    "batches": ["a"] * MANY,
}
ANTHROPIC: dict[str, Any] = {
    "message": [TEXT, len(WORDS)],
    "messageStream": [TEXT, len(WORDS)],
    "tools": [WEATHER, TEXT],
    "files": ["a.txt"] * MANY,
    "batches": "a",
    "count": INPUT_TOKENS,
}
GOOGLE: dict[str, Any] = {
    "generate": [TEXT, TOTAL],
    "generateStream": [TEXT, TOTAL],
    "tools": [WEATHER, TEXT],
    "files": [str(9 << 20)] * MANY,
    "caches": [TEXT] * MANY,
    "embed": 2,
}
MODEL: dict[str, Any] = {
    "text": [TEXT, TOTAL],
    "textStream": [TEXT, TOTAL],
    "toolCall": [[WEATHER], TEXT],
    "toolCallStream": [[WEATHER], TEXT],
    "object": WEATHER,
}


def of_model(kind: str) -> dict[str, Any]:
    return {f"{kind}-{name}": told for name, told in MODEL.items()}


# One process for all of a line: half a second goes to the start of each.
USES = [
    ("openai.mjs", "openai", OPENAI),
    ("anthropic.mjs", "anthropic", ANTHROPIC),
    ("google.mjs", "gemini", GOOGLE),
    ("vercel.mjs", "openai", of_model("chat") | of_model("responses")),
    ("vercel.mjs", "openai", {"openai-embed": 2, "openai-image": PICTURE, "openai-audio": [SOUND, TEXT]}),
    ("vercel.mjs", "anthropic", of_model("anthropic")),
    ("vercel.mjs", "gemini", of_model("google") | {"google-embed": 2}),
]


@pytest.mark.parametrize(("script", "of", "told"), USES)
async def test_all_uses_come_to_the_same_though_a_key_is_refused(
    plane: Plane, provider: StrictProvider, script: str, of: str, told: dict[str, Any]
) -> None:
    """The first key answers 429, once for each model, which no SDK sees; what an account made is asked of no other."""
    mine = [key.secret.reveal() for key in plane.replica.state.config.pools[of].keys]
    provider.faults.append(Fault(key=mine[0], status=429, headers={"retry-after": "60"}))
    assert await run(script, plane.url, *told) == told
    assert {arrival.key for arrival in provider.arrivals} <= set(mine)
    refused = [arrival for arrival in provider.arrivals if arrival.status >= 400]
    assert {arrival.status for arrival in refused} == {429}
    assert len({(arrival.model, arrival.path) for arrival in refused}) == len(refused)  # a form's model is not in it


# --- what goes wrong --------------------------------------------------------------------------------


def one_each(provider: StrictProvider) -> dict[str, Any]:
    """A pool of one key that speaks one dialect, for each of them."""
    return {
        kind: pool(provider.url, [secret], dialect=kind)
        for kind, secret in zip(PRESETS, provider.accounts, strict=False)
    }


@pytest.mark.parametrize(
    ("script", "use", "told"),
    [
        ("openai.mjs", "refused", [True, 401, "invalid_api_key", None]),
        ("anthropic.mjs", "refused", True),
        ("google.mjs", "refused", [True, 401]),
        ("vercel.mjs", "chat-refused", [True, 401, False]),
        ("vercel.mjs", "responses-refused", [True, 401, False]),
        ("vercel.mjs", "anthropic-refused", [True, 401, False]),
        ("vercel.mjs", "google-refused", [True, 401, False]),
    ],
)
async def test_an_unknown_token_is_each_sdks_authentication_error(
    provider: StrictProvider, script: str, use: str, told: object
) -> None:
    """Which none repeats; with the token that is known the same call is served."""
    clients = [{"id": "web", "token": "virtual"}]
    async with sidecar(one_each(provider), clients=clients) as plane:
        assert await run(script, plane.url, use, key="wrong") == {use: told}
        assert len(plane.of(Answered)) == 1
        assert provider.arrivals == []


async def test_a_known_token_is_served(provider: StrictProvider) -> None:
    clients = [{"id": "web", "token": "virtual"}]
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, clients=clients) as plane:
        assert await run("openai.mjs", plane.url, "chat", key="virtual") == {"chat": OPENAI["chat"]}
        assert [event.client for event in plane.of(Answered)] == ["web"]


async def test_an_unknown_model_is_a_not_found_error(provider: StrictProvider) -> None:
    """A pool's name in front of a model leads nowhere where that pool does not speak the caller's dialect."""
    async with sidecar(one_each(provider)) as plane:
        assert await run("openai.mjs", plane.url, "unknown") == {"unknown": [True, 404, "model_not_found", None]}
    assert provider.arrivals == []


@pytest.mark.parametrize(
    ("script", "use", "told"),
    [
        ("openai.mjs", "spent", [True, 429, "rate_limit_exceeded", "33"]),
        ("anthropic.mjs", "spent", [True, "33"]),
        ("google.mjs", "refused", [True, 429]),
        ("vercel.mjs", "chat-refused", [True, 429, True]),
        ("vercel.mjs", "anthropic-refused", [True, 429, True]),
        ("vercel.mjs", "google-refused", [True, 429, True]),
    ],
)
async def test_a_pool_without_room_is_each_sdks_rate_limit_error(
    plane: Plane, provider: StrictProvider, script: str, use: str, told: object
) -> None:
    """With the delay where the SDK looks for it."""
    provider.faults.append(Fault(status=429, headers={"retry-after": "33"}))
    assert await run(script, plane.url, use) == {use: told}


@pytest.mark.parametrize(
    ("script", "use"),
    [
        ("openai.mjs", "patient"),
        ("vercel.mjs", "chat-patient"),
        ("vercel.mjs", "responses-patient"),
        ("vercel.mjs", "anthropic-patient"),
        ("vercel.mjs", "google-patient"),
    ],
)
async def test_an_sdk_comes_again_when_it_is_told_to_and_is_served(
    plane: Plane, provider: StrictProvider, script: str, use: str
) -> None:
    """All three keys rest for a moment: one error with that moment, and the next try of the SDK finds room."""
    provider.faults.append(Fault(status=429, headers={"retry-after-ms": "300"}, times=3))
    assert await run(script, plane.url, use) == {use: TEXT}
    assert [event.status for event in plane.of(Answered)] == [429, 200]


async def test_an_sdk_does_not_come_again_where_that_makes_no_sense(plane: Plane, provider: StrictProvider) -> None:
    """The rest is longer than it would wait: two more tries of its own would find the same."""
    provider.faults.append(Fault(status=429, headers={"retry-after": "600"}))
    told = [True, 429, "rate_limit_exceeded", "600"]
    assert await run("openai.mjs", plane.url, "impatient") == {"impatient": told}
    assert [event.status for event in plane.of(Answered)] == [429]


async def test_an_error_inside_a_stream_is_thrown_by_the_sdk(plane: Plane, provider: StrictProvider) -> None:
    """What comes after the first words cannot be retried, and is not hidden."""
    provider.faults.append(Fault(status=500, at="middle"))
    is_error, text = (await run("openai.mjs", plane.url, "broken"))["broken"]
    assert is_error
    assert "The server had an error" in text
    assert len(provider.arrivals) == 1


@pytest.mark.parametrize(("script", "use"), [("openai.mjs", "aborted"), ("vercel.mjs", "chat-aborted")])
async def test_an_abort_in_the_middle_of_a_stream_cancels_the_upstream(
    plane: Plane, provider: StrictProvider, script: str, use: str
) -> None:
    """By an AbortController, and the process lives on."""
    provider.faults.append(Fault(hold=True))
    async with running(script, plane.url, use) as process:
        await provider.wait_for(lambda: provider.arrivals and provider.arrivals[0].ended == "cancelled")
        assert process.returncode is None
        event = await plane.answered()
    assert (event.status, event.outcome, event.attempts) == (499, "cancelled", 1)
