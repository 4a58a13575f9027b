"""The providers' own SDKs work with nothing but their base URL changed, and see no 429 while a key has room.

Their own retries are off: whatever they are told, they raise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from sidecar.model.events import Answered
from sidecar.simulate.answers import INPUT_TOKENS, WORDS
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, pool, sidecar

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

TEXT = "".join(WORDS)
TOTAL = INPUT_TOKENS + len(WORDS)
ASK: Any = [{"role": "user", "content": "hi"}]
COUNTED: Any = {"stream_options": {"include_usage": True}}


# --- one call of each, blocking: they run in a thread beside the server ------------------------------


def openai_chat(url: str, stream: bool, model: str = "gpt-4o") -> str:
    with openai.OpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as sdk:
        if not stream:
            answer = sdk.chat.completions.create(model=model, messages=ASK)
            assert answer.usage
            assert answer.usage.total_tokens == TOTAL
            return answer.choices[0].message.content or ""
        chunks = list(sdk.chat.completions.create(model=model, messages=ASK, stream=True, **COUNTED))
        assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [TOTAL]
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def openai_responses(url: str, stream: bool) -> str:
    with openai.OpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as sdk:
        if not stream:
            return sdk.responses.create(model="gpt-4o", input="hi").output_text
        with sdk.responses.stream(model="gpt-4o", input="hi") as events:
            return events.get_final_response().output_text


def anthropic_messages(url: str, stream: bool) -> str:
    with anthropic.Anthropic(api_key="unused", base_url=url, max_retries=0) as sdk:
        answer: anthropic.types.Message
        if stream:
            with sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASK) as events:
                answer = events.get_final_message()
        else:
            answer = sdk.messages.create(model="claude-x", max_tokens=9, messages=ASK)
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (INPUT_TOKENS, len(WORDS))
        return "".join(block.text for block in answer.content if block.type == "text")


def gemini_generate(url: str, stream: bool) -> str:
    with genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=url)) as sdk:
        if not stream:
            answer = sdk.models.generate_content(model="gemini-2.0-flash", contents="hi")
            assert answer.usage_metadata
            assert answer.usage_metadata.total_token_count == TOTAL
            return answer.text or ""
        chunks = list(sdk.models.generate_content_stream(model="gemini-2.0-flash", contents="hi"))
        assert chunks[-1].usage_metadata
        assert chunks[-1].usage_metadata.candidates_token_count == len(WORDS)
        return "".join(chunk.text or "" for chunk in chunks)


def openai_at_gemini(url: str, stream: bool) -> str:
    """Through a route: the model is Gemini's, the dialect stays OpenAI's."""
    return openai_chat(url, stream, "best")


def openai_at_geminis_own_path(url: str, stream: bool) -> str:
    with openai.OpenAI(api_key="unused", base_url=f"{url}/v1beta/openai", max_retries=0) as sdk:
        model = "gemini/gemini-2.0-flash"
        if not stream:
            return sdk.chat.completions.create(model=model, messages=ASK).choices[0].message.content or ""
        chunks = sdk.chat.completions.create(model=model, messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


CALLS: dict[Callable[[str, bool], str], str] = {
    openai_chat: "openai",
    openai_responses: "openai",
    anthropic_messages: "anthropic",
    gemini_generate: "gemini",
    openai_at_gemini: "gemini",
    openai_at_geminis_own_path: "gemini",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_429_in_the_middle_is_seen_by_no_sdk(
    plane: Plane, provider: StrictProvider, call: Callable[[str, bool], str], stream: bool
) -> None:
    """Four calls over three keys, of which the second is refused: four whole answers with their usage."""
    mine = [key.secret.reveal() for key in plane.replica.state.config.pools[CALLS[call]].keys]
    provider.faults.append(Fault(key=mine[1], status=429, headers={"retry-after": "60"}))
    for _ in range(4):
        assert await asyncio.to_thread(call, plane.url, stream) == TEXT
    counts = provider.counts()
    assert [counts[secret] for secret in mine] == [2, 1, 2]
    assert sum(counts.values()) == 5


@pytest.mark.parametrize("at", ["answer", "first"])
async def test_async_sdks_stream_past_a_429(plane: Plane, provider: StrictProvider, at: Any) -> None:
    """All three at once, refused by HTTP or by a stream's first event."""
    firsts = {
        plane.replica.state.config.pools[name].keys[0].secret.reveal() for name in ("openai", "anthropic", "gemini")
    }
    provider.faults += [Fault(key=secret, status=429, headers={"retry-after": "60"}, at=at) for secret in firsts]

    async def chat() -> str:
        async with openai.AsyncOpenAI(api_key="unused", base_url=f"{plane.url}/v1", max_retries=0) as sdk:
            stream = await sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def message() -> str:
        async with (
            anthropic.AsyncAnthropic(api_key="unused", base_url=plane.url, max_retries=0) as sdk,
            sdk.messages.stream(model="claude-x", max_tokens=9, messages=ASK) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    async def generate() -> str:
        sdk = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=plane.url))
        stream = await sdk.aio.models.generate_content_stream(model="gemini-2.0-flash", contents="hi")
        text = "".join([chunk.text or "" async for chunk in stream])
        await sdk.aio.aclose()
        sdk.close()
        return text

    assert [*await asyncio.gather(chat(), message(), generate())] == [TEXT] * 3
    assert len(provider.arrivals) == 6


async def test_the_rest_of_each_sdk_works(plane: Plane) -> None:
    """Embeddings, token counts, lists of models."""

    def use() -> None:
        with openai.OpenAI(api_key="unused", base_url=f"{plane.url}/v1", max_retries=0) as sdk:
            embedded = sdk.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
            assert len(embedded.data) == 2
            assert "best" in [model.id for model in sdk.models.list()]
        with anthropic.Anthropic(api_key="unused", base_url=plane.url, max_retries=0) as claude:
            assert claude.messages.count_tokens(model="claude-x", messages=ASK).input_tokens == INPUT_TOKENS
            assert [model.type for model in claude.models.list()] == []
        with genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=plane.url)) as gemini:
            counted = gemini.models.count_tokens(model="gemini-2.0-flash", contents="hi")
            assert counted.total_tokens == INPUT_TOKENS
            vectors = gemini.models.embed_content(model="gemini-embedding-001", contents=["a", "b"]).embeddings
            assert vectors
            assert len(vectors) == 2
            assert "models/best" in [model.name for model in gemini.models.list()]

    await asyncio.to_thread(use)


# --- the sidecar's own errors -----------------------------------------------------------------------


def raised(url: str, name: str, model: str) -> BaseException:
    """What an SDK raises when it asks for this model."""
    try:
        if name == "openai":
            openai_chat(url, stream=False, model=model)
        elif name == "anthropic":
            with anthropic.Anthropic(api_key="unused", base_url=url, max_retries=0) as claude:
                claude.messages.create(model=model, max_tokens=9, messages=ASK)
        else:
            with genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=url)) as gemini:
                gemini.models.generate_content(model=model, contents="hi")
    except (openai.APIError, anthropic.APIError, errors.APIError) as error:
        return error
    raise AssertionError("it raised nothing")


async def test_an_unknown_token_is_each_sdks_authentication_error(provider: StrictProvider) -> None:
    clients = [{"id": "web", "token": "virtual"}]
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, clients=clients) as plane:

        def use() -> None:
            with (
                openai.OpenAI(api_key="wrong", base_url=f"{plane.url}/v1", max_retries=0) as sdk,
                pytest.raises(openai.AuthenticationError) as refused,
            ):
                sdk.models.list()
            assert refused.value.code == "invalid_api_key"
            with (
                anthropic.Anthropic(api_key="wrong", base_url=plane.url, max_retries=0) as claude,
                pytest.raises(anthropic.AuthenticationError),
            ):
                claude.messages.create(model="m", max_tokens=9, messages=ASK)
            with (
                genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=plane.url)) as gemini,
                pytest.raises(errors.ClientError) as told,
            ):
                gemini.models.generate_content(model="m", contents="hi")
            assert (told.value.code, told.value.status) == (401, "UNAUTHENTICATED")
            with openai.OpenAI(api_key="virtual", base_url=f"{plane.url}/v1", max_retries=0) as known:
                assert known.chat.completions.create(model="m", messages=ASK).choices

        await asyncio.to_thread(use)


async def test_a_model_that_is_not_for_the_client_is_each_sdks_permission_error(provider: StrictProvider) -> None:
    """Which none of them repeats, and which says what it may use."""
    clients = [{"id": "web", "token": "virtual", "models": ["gpt-4o*"]}]
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, clients=clients) as plane:

        def use() -> None:
            with (
                openai.OpenAI(api_key="virtual", base_url=f"{plane.url}/v1") as sdk,
                pytest.raises(openai.PermissionDeniedError) as refused,
            ):
                sdk.chat.completions.create(model="o3", messages=ASK)
            assert refused.value.code == "model_not_found"
            assert "It may use: gpt-4o*." in refused.value.message
            with (
                anthropic.Anthropic(api_key="virtual", base_url=plane.url) as claude,
                pytest.raises(anthropic.PermissionDeniedError),
            ):
                claude.messages.create(model="m", max_tokens=9, messages=ASK)
            with (
                genai.Client(api_key="virtual", http_options=types.HttpOptions(base_url=plane.url)) as gemini,
                pytest.raises(errors.ClientError) as told,
            ):
                gemini.models.generate_content(model="m", contents="hi")
            assert (told.value.code, told.value.status) == (403, "PERMISSION_DENIED")

        await asyncio.to_thread(use)
        assert [event.attempts for event in plane.of(Answered)] == [0, 0, 0]


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
async def test_an_unknown_model_is_each_sdks_not_found_error(provider: StrictProvider, name: str) -> None:
    """A pool's name in front of a model leads nowhere where that pool does not speak the caller's dialect."""
    pools = {
        kind: pool(provider.url, [secret], dialect=kind)
        for kind, secret in zip(("openai", "anthropic", "gemini"), provider.accounts, strict=False)
    }
    other = {"openai": "anthropic/m", "anthropic": "gemini/m", "gemini": "openai/m"}[name]
    async with sidecar(pools) as plane:
        error = await asyncio.to_thread(raised, plane.url, name, other)
    assert isinstance(error, openai.NotFoundError | anthropic.NotFoundError | errors.ClientError)
    if isinstance(error, errors.ClientError):
        assert (error.code, error.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini"])
async def test_a_pool_without_room_is_each_sdks_rate_limit_error(
    plane: Plane, provider: StrictProvider, name: str
) -> None:
    """With the delay where the SDK looks for it."""
    provider.faults.append(Fault(status=429, headers={"retry-after": "33"}))
    error = await asyncio.to_thread(raised, plane.url, name, f"{name}/m")
    if isinstance(error, errors.ClientError):
        assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")
    else:
        assert isinstance(error, openai.RateLimitError | anthropic.RateLimitError)
        assert error.response.headers["retry-after"] == "33"
        assert int(error.response.headers["retry-after-ms"]) <= 33_000


async def test_an_error_inside_a_stream_is_raised_by_the_sdk(plane: Plane, provider: StrictProvider) -> None:
    """What comes after the first words cannot be retried, and is not hidden."""
    provider.faults.append(Fault(status=500, at="middle"))

    def use() -> None:
        with openai.OpenAI(api_key="unused", base_url=f"{plane.url}/v1", max_retries=0) as sdk:
            stream = sdk.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
            with pytest.raises(openai.APIError, match="The server had an error"):
                list(stream)

    await asyncio.to_thread(use)
    assert len(provider.arrivals) == 1
