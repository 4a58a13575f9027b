"""What the providers' own SDKs make of a stream that does not end well: an API error, never a short answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from sidecar.config import resolve
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane
from tests.sdk.conftest import plane_of
from tests.sdk.test_sdks import ASK, anthropic_messages, gemini_generate, openai_chat, openai_responses

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


async def chat_async(url: str) -> None:
    async with openai.AsyncOpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as sdk:
        async for _ in await sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True):
            pass


async def responses_async(url: str) -> None:
    async with openai.AsyncOpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as sdk:
        async for _ in await sdk.responses.create(model="gpt-4o", input="hi", stream=True):
            pass


async def messages_async(url: str) -> None:
    async with (
        anthropic.AsyncAnthropic(api_key="unused", base_url=url, max_retries=0) as sdk,
        sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASK) as stream,
    ):
        async for _ in stream.text_stream:
            pass


async def generate_async(url: str) -> None:
    sdk = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=url))
    try:
        async for _ in await sdk.aio.models.generate_content_stream(model="gemini-2.0-flash", contents="hi"):
            pass
    finally:
        await sdk.aio.aclose()
        sdk.close()


def blocking(call: Callable[[str, bool], Any]) -> Callable[[str], Awaitable[None]]:
    async def use(url: str) -> None:
        await asyncio.to_thread(call, url, True)

    use.__name__ = call.__name__
    return use


USES = [
    *map(blocking, (openai_chat, openai_responses, anthropic_messages, gemini_generate)),
    chat_async,
    responses_async,
    messages_async,
    generate_async,
]


def message(error: Any) -> str:
    return str(error.message)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_a_stream_that_breaks_in_the_middle_of_an_event_raises_an_api_error(
    plane: Plane, provider: StrictProvider, use: Callable[[str], Awaitable[None]]
) -> None:
    """Not the JSON error of half an event, not a timeout, and not an answer that is too short."""
    provider.faults.append(Fault(close="middle"))
    with pytest.raises((openai.APIError, anthropic.APIError, errors.APIError)) as raised:
        await use(plane.url)
    assert "broke off before its end" in message(raised.value)
    assert not isinstance(raised.value, openai.APIConnectionError | anthropic.APIConnectionError)
    assert len(provider.arrivals) == 1


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_signs_of_life_mean_nothing_to_an_sdk(
    provider: StrictProvider, use: Callable[[str], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the answer behind them is whole, or the error that it is."""
    monkeypatch.setattr(resolve, "LEAST_KEEPALIVE_US", 1)
    async with plane_of(provider, keepalive="50ms") as plane:
        provider.faults.append(Fault(headers_s=0.3, times=1))
        await use(plane.url)
        provider.faults[:] = [Fault(headers_s=0.3, status=400)]
        with pytest.raises((openai.APIError, anthropic.APIError, errors.APIError)) as raised:
            await use(plane.url)
        assert message(raised.value)
        assert (await plane.answered()).status == 400
