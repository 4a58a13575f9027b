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

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane
from tests.sdk.test_sdks import ASK, anthropic_messages, gemini_generate, openai_chat, openai_responses

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

Error = openai.APIError | anthropic.APIError | errors.APIError


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


def message(error: Error) -> str:
    return str(error.message)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_a_stream_that_breaks_in_the_middle_of_an_event_raises_an_api_error(
    plane: Plane, provider: StrictProvider, use: Callable[[str], Awaitable[None]]
) -> None:
    """Not the JSON error of half an event, not a timeout, and not an answer that is too short."""
    provider.faults.append(Fault(close="middle"))
    with pytest.raises((openai.APIError, anthropic.APIError, errors.APIError)) as raised:
        await use(plane.url)
    error: Any = raised.value
    assert "broke off before its end" in message(error)
    assert not isinstance(error, openai.APIConnectionError | anthropic.APIConnectionError)
    assert len(provider.arrivals) == 1
