"""LangChain's chat models and embeddings, of each provider's package, with nothing but the base URL changed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from sidecar.model.events import Answered
from sidecar.simulate.answers import INPUT_TOKENS, WORDS
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

TEXT = "".join(WORDS)
ASK: list[BaseMessage] = [HumanMessage("how is the weather in Rome?")]
KEY = SecretStr("unused")


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


FILLED = Weather(city="simulated", days=1)


# A model and what closes its clients, which LangChain leaves to the end of the process.
Made = tuple[Any, Callable[[], None], Callable[[], Awaitable[None]]]
# All models of one URL and timeout share their clients: each has a timeout of its own, lest a port that comes again
# finds them closed.
timeouts = itertools.count(60)


def openai_chat(url: str, **options: Any) -> Made:
    model = ChatOpenAI(
        model="gpt-4o",
        api_key=KEY,
        base_url=f"{url}/v1",
        stream_usage=True,
        max_retries=0,
        timeout=next(timeouts),
        **options,
    )
    return model, model.root_client.close, model.root_async_client.close


def openai_responses(url: str) -> Made:
    return openai_chat(url, use_responses_api=True)


def anthropic_messages(url: str) -> Made:
    model = ChatAnthropic(
        model_name="claude-x", api_key=KEY, base_url=url, max_retries=0, timeout=next(timeouts), stop=None
    )
    return model, model._client.close, model._async_client.close


def gemini_generate(url: str) -> Made:
    google = pytest.importorskip("langchain_google_genai")
    model = google.ChatGoogleGenerativeAI(model="gemini-2.0-flash", google_api_key=KEY, base_url=url, max_retries=1)
    return model, model.client.close, model.client.aio.aclose


def openai_vectors(url: str) -> Made:
    """Of texts: for tokens, which it sends otherwise, it would fetch a vocabulary."""
    vectors: Any = OpenAIEmbeddings(
        model="text-embedding-3-small", api_key=KEY, base_url=f"{url}/v1", check_embedding_ctx_length=False
    )
    return vectors, vectors.client._client.close, vectors.async_client._client.close


def gemini_vectors(url: str) -> Made:
    google = pytest.importorskip("langchain_google_genai")
    vectors = google.GoogleGenerativeAIEmbeddings(model="gemini-embedding-001", google_api_key=KEY, base_url=url)
    return vectors, vectors.client.close, vectors.client.aio.aclose


MODELS: dict[Callable[[str], Made], str] = {
    openai_chat: "openai",
    openai_responses: "openai",
    anthropic_messages: "anthropic",
    gemini_generate: "gemini",
}


@asynccontextmanager
async def closing(made: Made) -> AsyncIterator[Any]:
    try:
        yield made[0]
    finally:
        made[1]()
        await made[2]()


@pytest.fixture(params=MODELS, ids=lambda make: make.__name__)
async def model(plane: Plane, provider: StrictProvider, request: pytest.FixtureRequest) -> AsyncIterator[BaseChatModel]:
    """One whose provider refuses the first key of its pool, which it must not see."""
    first = plane.replica.state.config.pools[MODELS[request.param]].keys[0].secret.reveal()
    provider.faults.append(Fault(key=first, status=429, headers={"retry-after": "60"}))
    async with closing(request.param(plane.url)) as made:
        yield made


def is_counted(message: BaseMessage) -> bool:
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    return usage is not None and (usage["input_tokens"], usage["output_tokens"]) == (INPUT_TOKENS, len(WORDS))


async def test_invoke(plane: Plane, model: BaseChatModel) -> None:
    """In a thread and in the loop."""
    for message in (await asyncio.to_thread(model.invoke, ASK), await model.ainvoke(ASK)):
        assert message.text == TEXT
        assert is_counted(message)
    assert [event.attempts for event in plane.of(Answered)] == [2, 1]


async def test_stream(plane: Plane, model: BaseChatModel) -> None:
    """In a thread and in the loop; the pieces come to a message with its usage."""
    streams = [await asyncio.to_thread(lambda: list(model.stream(ASK))), [chunk async for chunk in model.astream(ASK)]]
    for chunks in streams:
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        assert isinstance(whole, AIMessageChunk)
        assert whole.text == TEXT
        assert is_counted(whole)
    assert [event.attempts for event in plane.of(Answered)] == [2, 1]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_is_called_and_its_result_is_taken(model: BaseChatModel, stream: bool) -> None:
    bound = model.bind_tools([Weather])
    if stream:
        chunks = [chunk async for chunk in bound.astream(ASK)]
        said: Any = chunks[0]
        for chunk in chunks[1:]:
            said += chunk
    else:
        said = await bound.ainvoke(ASK)
    (call,) = said.tool_calls
    assert (call["name"], Weather(**call["args"])) == ("Weather", FILLED)
    result = ToolMessage("fine", tool_call_id=call["id"])
    assert (await bound.ainvoke([*ASK, said, result])).text == TEXT


async def test_structured_output(model: BaseChatModel) -> None:
    assert await model.with_structured_output(Weather).ainvoke(ASK) == FILLED


@pytest.mark.parametrize("make", [openai_vectors, gemini_vectors])
async def test_embeddings(plane: Plane, make: Callable[[str], Made]) -> None:
    async with closing(make(plane.url)) as vectors:
        rows = await asyncio.to_thread(vectors.embed_documents, ["a", "b"])
        assert [row[:3] for row in rows] == [[0, 0.125, 0.25]] * 2
        assert len(await vectors.aembed_query("a")) == len(rows[0])
