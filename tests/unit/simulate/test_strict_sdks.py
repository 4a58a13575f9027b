"""The providers' own SDKs are satisfied with what the strict provider answers, refuses and breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from sidecar.simulate.answers import INPUT_TOKENS, WORDS
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

SECRET = "secret-of-key-one"
TEXT = "".join(WORDS)
ASK: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(params=["/v1", "/v1beta/openai", "/openai/v1"])
async def openai_sdk(provider: StrictProvider, request: pytest.FixtureRequest) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=SECRET, base_url=provider.url + request.param, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def anthropic_sdk(provider: StrictProvider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=SECRET, base_url=provider.url, max_retries=0) as sdk:
        yield sdk


def _gemini(provider: StrictProvider, secret: str = SECRET) -> genai.Client:
    return genai.Client(api_key=secret, http_options=types.HttpOptions(base_url=provider.url))


@pytest.fixture
async def gemini_sdk(provider: StrictProvider) -> AsyncIterator[genai.Client]:
    client = _gemini(provider)
    yield client
    await client.aio.aclose()
    client.close()


async def test_openai_chat(openai_sdk: openai.AsyncOpenAI) -> None:
    answer = await openai_sdk.chat.completions.create(model="gpt-4o", messages=ASK)
    assert answer.choices[0].message.content == TEXT
    assert answer.model == "gpt-4o"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (INPUT_TOKENS, len(WORDS))


@pytest.mark.parametrize("counted", [True, False])
async def test_openai_chat_stream_tells_its_usage_only_when_asked(
    openai_sdk: openai.AsyncOpenAI, counted: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if counted else {}
    stream = await openai_sdk.chat.completions.create(model="m", messages=ASK, stream=True, **options)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [INPUT_TOKENS + len(WORDS)] * counted


async def test_openai_completions(openai_sdk: openai.AsyncOpenAI) -> None:
    answer = await openai_sdk.completions.create(model="m", prompt="hi")
    stream = await openai_sdk.completions.create(model="m", prompt="hi", stream=True)
    assert answer.choices[0].text == TEXT
    assert "".join([chunk.choices[0].text async for chunk in stream]) == TEXT


async def test_openai_embeddings_decode_alike_from_floats_and_base64(openai_sdk: openai.AsyncOpenAI) -> None:
    packed = await openai_sdk.embeddings.create(model="m", input=["a", "b"])
    plain = await openai_sdk.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
    assert [row.embedding for row in packed.data] == [row.embedding for row in plain.data]
    assert len(packed.data) == 2
    tokens = await openai_sdk.embeddings.create(model="m", input=[1, 2, 3], dimensions=4)
    assert [len(row.embedding) for row in tokens.data] == [4]


async def test_openai_responses(openai_sdk: openai.AsyncOpenAI) -> None:
    answer = await openai_sdk.responses.create(model="m", input="hi")
    assert answer.output_text == TEXT
    assert answer.usage
    assert answer.usage.total_tokens == INPUT_TOKENS + len(WORDS)


async def test_openai_responses_stream(openai_sdk: openai.AsyncOpenAI) -> None:
    """Read by the SDK's own accumulator, which checks that events build on one another."""
    async with openai_sdk.responses.stream(model="m", input="hi") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        assert tuple(deltas) == WORDS
        assert (await stream.get_final_response()).output_text == TEXT


async def test_openai_models(openai_sdk: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in openai_sdk.models.list()]
    assert names
    assert (await openai_sdk.models.retrieve("org/any-name")).id == "org/any-name"


async def test_openai_errors_are_raised_as_their_own_types(provider: StrictProvider) -> None:
    async with openai.AsyncOpenAI(api_key="unknown", base_url=provider.url + "/v1", max_retries=0) as sdk:
        with pytest.raises(openai.AuthenticationError) as refused:
            await sdk.models.list()
    assert refused.value.code == "invalid_api_key"


async def test_openai_stream_raises_an_error_that_comes_inside(provider: StrictProvider) -> None:
    provider.faults.append(Fault(status=500, at="middle"))
    async with openai.AsyncOpenAI(api_key=SECRET, base_url=provider.url + "/v1", max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(model="m", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="The server had an error"):
            [chunk async for chunk in stream]


async def test_anthropic_messages(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    answer = await anthropic_sdk.messages.create(model="claude-x", max_tokens=9, messages=ASK)
    assert [block.text for block in answer.content if block.type == "text"] == [TEXT]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (INPUT_TOKENS, len(WORDS))


async def test_anthropic_stream(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    """Read by the SDK's own accumulator."""
    async with anthropic_sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASK) as stream:
        assert tuple([text async for text in stream.text_stream]) == WORDS
        final = await stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", len(WORDS))


async def test_anthropic_counts_tokens_and_lists_models(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    counted = await anthropic_sdk.messages.count_tokens(model="claude-x", messages=ASK)
    assert counted.input_tokens == INPUT_TOKENS
    assert [model.display_name async for model in anthropic_sdk.models.list()]


async def test_anthropic_errors_are_raised_as_their_own_types(provider: StrictProvider) -> None:
    provider.faults.append(Fault(status=529))
    async with anthropic.AsyncAnthropic(api_key="unknown", base_url=provider.url, max_retries=0) as sdk:
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await sdk.messages.create(model="m", max_tokens=9, messages=ASK)
    async with anthropic.AsyncAnthropic(api_key=SECRET, base_url=provider.url, max_retries=0) as sdk:
        with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
            await sdk.messages.create(model="m", max_tokens=9, messages=ASK)


async def test_anthropic_stream_raises_an_error_that_comes_inside(
    provider: StrictProvider, anthropic_sdk: anthropic.AsyncAnthropic
) -> None:
    provider.faults.append(Fault(status=529, at="middle"))
    async with anthropic_sdk.messages.stream(model="m", max_tokens=9, messages=ASK) as stream:
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            [text async for text in stream.text_stream]


async def test_gemini_generates(gemini_sdk: genai.Client) -> None:
    answer = await gemini_sdk.aio.models.generate_content(model="gemini-2.0-flash", contents="hi")
    assert answer.text == TEXT
    assert answer.usage_metadata
    assert answer.usage_metadata.total_token_count == INPUT_TOKENS + len(WORDS)


async def test_gemini_streams(gemini_sdk: genai.Client) -> None:
    stream = await gemini_sdk.aio.models.generate_content_stream(model="gemini-2.0-flash", contents="hi")
    chunks = [chunk async for chunk in stream]
    assert tuple(chunk.text for chunk in chunks) == WORDS
    assert chunks[-1].usage_metadata
    assert chunks[-1].usage_metadata.candidates_token_count == len(WORDS)


async def test_gemini_counts_embeds_and_lists(gemini_sdk: genai.Client) -> None:
    models = gemini_sdk.aio.models
    assert (await models.count_tokens(model="m", contents="hi")).total_tokens == INPUT_TOKENS
    embedded = await models.embed_content(model="m", contents=["a", "b"])
    assert embedded.embeddings
    assert len(embedded.embeddings) == 2
    assert [model.name async for model in await models.list()]


async def test_gemini_errors_are_raised_as_their_own_types(provider: StrictProvider) -> None:
    client = _gemini(provider, "unknown")
    with pytest.raises(errors.ClientError, match="API_KEY_INVALID") as refused:
        await client.aio.models.generate_content(model="m", contents="hi")
    assert refused.value.code == 400
    await client.aio.aclose()
    client.close()


async def test_gemini_stream_raises_an_error_that_comes_inside(
    provider: StrictProvider, gemini_sdk: genai.Client
) -> None:
    provider.faults.append(Fault(status=503, at="middle"))
    stream = await gemini_sdk.aio.models.generate_content_stream(model="m", contents="hi")
    with pytest.raises(errors.ServerError, match="overloaded"):
        [chunk async for chunk in stream]


async def test_the_synchronous_sdks_are_served_too(provider: StrictProvider) -> None:
    assert await asyncio.to_thread(_ask_synchronously, provider) == [TEXT] * 6
    assert provider.counts()[SECRET] == 6


def _ask_synchronously(provider: StrictProvider) -> list[str | None]:
    with openai.OpenAI(api_key=SECRET, base_url=provider.url + "/v1") as sdk:
        chat = sdk.chat.completions
        whole = chat.create(model="m", messages=ASK).choices[0].message.content
        chunks = chat.create(model="m", messages=ASK, stream=True)
        said = [whole, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)]
    with anthropic.Anthropic(api_key=SECRET, base_url=provider.url) as claude:
        message = claude.messages.create(model="m", max_tokens=9, messages=ASK)
        said += [block.text for block in message.content if block.type == "text"]
        with claude.messages.stream(model="m", max_tokens=9, messages=ASK) as stream:
            said.append(stream.get_final_text())
    with _gemini(provider) as gemini:
        said.append(gemini.models.generate_content(model="m", contents="hi").text)
        parts = gemini.models.generate_content_stream(model="m", contents="hi")
        said.append("".join(part.text or "" for part in parts))
    return said
