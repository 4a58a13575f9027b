"""OpenAI's responses: the object, and the events that a stream of it is made of, as its Python SDK reads them."""

from __future__ import annotations

from sidecar.simulate.calls import Call, Data
from sidecar.simulate.tokens import CREATED, Said

Steps = list[tuple[str, Data]]  # an event's name and what it says besides


def response(call: Call, said: Said) -> tuple[Data, Data]:
    """As it begins and as it ends."""
    begun: Data = {
        "id": f"resp_{call.number}",
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": call.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": None,
    }
    usage = {
        "input_tokens": said.cost.input,
        "input_tokens_details": {"cached_tokens": said.cost.cached, "cache_write_tokens": 0},
        "output_tokens": said.cost.output,
        "output_tokens_details": {"reasoning_tokens": said.cost.reasoning},
        "total_tokens": said.cost.total,
    }
    end: Data = {"status": "completed"}
    if said.cut:
        end = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    item = _function_call(call, said) if said.function else _message(call, said)
    return begun, begun | end | {"output": [item], "usage": usage}


def steps(begun: Data, done: Data, said: Said) -> Steps:
    """All events between the first and the last, these included."""
    (item,) = done["output"]
    empty: Data = {"arguments": ""} if said.function else {"content": []}
    return [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item | {"status": "in_progress"} | empty}),
        *(_arguments(item, said) if said.function else _text(item, said)),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        (f"response.{done['status']}", {"response": done}),
    ]


def _message(call: Call, said: Said) -> Data:
    part = {"type": "output_text", "text": "".join(said.words), "annotations": [], "logprobs": []}
    return {
        "id": f"msg_{call.number}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def _text(item: Data, said: Said) -> Steps:
    inside = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    (part,) = item["content"]
    return [
        ("response.content_part.added", inside | {"part": part | {"text": ""}}),
        *(("response.output_text.delta", inside | {"delta": word, "logprobs": []}) for word in said.words),
        ("response.output_text.done", inside | {"text": part["text"], "logprobs": []}),
        ("response.content_part.done", inside | {"part": part}),
    ]


def _function_call(call: Call, said: Said) -> Data:
    return {
        "id": f"fc_{call.number}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{call.number}",
        "name": said.function,
        "arguments": "".join(said.words),
    }


def _arguments(item: Data, said: Said) -> Steps:
    inside = {"item_id": item["id"], "output_index": 0}
    done = {"name": item["name"], "arguments": item["arguments"]}
    return [
        *(("response.function_call_arguments.delta", inside | {"delta": word}) for word in said.words),
        ("response.function_call_arguments.done", inside | done),
    ]
