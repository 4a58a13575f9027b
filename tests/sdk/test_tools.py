"""Functions that a model calls, and answers by a schema: whole and in pieces, as each Python SDK reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

from sidecar.simulate.answers import WORDS
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

TEXT = "".join(WORDS)
ASK: Any = [{"role": "user", "content": "how is the weather in Rome?"}]
ARGUMENTS = {"city": "simulated", "days": 1}
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


class Weather(BaseModel):
    city: str
    days: int


def openai_chat(url: str, stream: bool) -> tuple[Any, str]:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    asked: Any = {"model": "gpt-4o", "messages": ASK, "tools": tools}
    with openai.OpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as sdk:
        if stream:
            with sdk.chat.completions.stream(**asked) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = sdk.chat.completions.create(**asked).choices[0].message
        assert message.tool_calls
        (call,) = message.tool_calls
        assert call.type == "function"
        result = {"role": "tool", "tool_call_id": call.id, "content": "fine"}
        asked["messages"] = [*ASK, message.model_dump(exclude_none=True, exclude={"parsed"}), result]
        said = sdk.chat.completions.create(**asked).choices[0].message.content
        return json.loads(call.function.arguments), said or ""


def openai_responses(url: str, stream: bool) -> tuple[Any, str]:
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    with openai.OpenAI(api_key="unused", base_url=f"{url}/v1", max_retries=0) as sdk:
        if stream:
            with sdk.responses.stream(model="gpt-4o", input="hi", tools=tools) as events:
                first: Any = events.get_final_response()
        else:
            first = sdk.responses.create(model="gpt-4o", input="hi", tools=tools)
        (call,) = first.output
        result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"}]
        last = sdk.responses.create(model="gpt-4o", input=result, tools=tools, previous_response_id=first.id)
        return json.loads(call.arguments), last.output_text


def anthropic_messages(url: str, stream: bool) -> tuple[Any, str]:
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    asked: Any = {"model": "claude-x", "max_tokens": 99, "messages": ASK, "tools": tools}
    with anthropic.Anthropic(api_key="unused", base_url=url, max_retries=0) as sdk:
        if stream:
            with sdk.messages.stream(**asked) as events:
                first: Any = events.get_final_message()
        else:
            first = sdk.messages.create(**asked)
        assert first.stop_reason == "tool_use"
        (block,) = first.content
        result: Any = {"type": "tool_result", "tool_use_id": block.id, "content": "fine"}
        said: Any = {"role": "assistant", "content": first.content}
        asked["messages"] = [*ASK, said, {"role": "user", "content": [result]}]
        (last,) = sdk.messages.create(**asked).content
        assert last.type == "text"
        return block.input, last.text


def gemini_generate(url: str, stream: bool) -> tuple[Any, str]:
    """In a chat, which keeps what was said."""
    declared: Any = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])])
    with genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=url)) as sdk:
        chat = sdk.chats.create(model="gemini-2.0-flash", config=config)
        if stream:
            calls = [call for chunk in chat.send_message_stream("hi") for call in chunk.function_calls or ()]
        else:
            calls = chat.send_message("hi").function_calls or []
        (call,) = calls
        result = types.Part.from_function_response(name=call.name or "", response={"result": "fine"})
        return call.args, chat.send_message(result).text or ""


CALLS: dict[Callable[[str, bool], tuple[Any, str]], str] = {
    openai_chat: "openai",
    openai_responses: "openai",
    anthropic_messages: "anthropic",
    gemini_generate: "gemini",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_function_is_called_and_its_result_is_taken(
    plane: Plane, provider: StrictProvider, call: Callable[[str, bool], tuple[Any, str]], stream: bool
) -> None:
    """The answer to the result comes from another key than the call, or from the account that keeps what it goes on."""
    first = plane.replica.state.config.pools[CALLS[call]].keys[0].secret.reveal()
    provider.faults.append(Fault(key=first, status=429, headers={"retry-after": "60"}))
    assert await asyncio.to_thread(call, plane.url, stream) == (ARGUMENTS, TEXT)
    assert [arrival.status for arrival in provider.arrivals] == [429, 200, 200]


async def test_an_answer_by_a_schema_is_what_each_sdk_makes_an_object_of(plane: Plane) -> None:
    def use() -> list[Any]:
        with openai.OpenAI(api_key="unused", base_url=f"{plane.url}/v1", max_retries=0) as sdk:
            chat = sdk.chat.completions.parse(model="gpt-4o", messages=ASK, response_format=Weather)
            response = sdk.responses.parse(model="gpt-4o", input="hi", text_format=Weather)
        with anthropic.Anthropic(api_key="unused", base_url=plane.url, max_retries=0) as claude:
            message = claude.messages.parse(model="claude-x", max_tokens=9, messages=ASK, output_format=Weather)
        config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Weather)
        with genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=plane.url)) as gemini:
            generated = gemini.models.generate_content(model="gemini-2.0-flash", contents="hi", config=config)
        return [
            chat.choices[0].message.parsed,
            response.output_parsed,
            message.parsed_output,
            generated.parsed,
        ]

    assert await asyncio.to_thread(use) == [Weather(city="simulated", days=1)] * 4
