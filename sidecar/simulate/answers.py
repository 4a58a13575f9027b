"""What a healthy provider answers, in each dialect: pure functions from a call to the bytes of its answer.

Shapes are those of the providers' references (OpenAI chat, completions, embeddings, responses; Anthropic messages;
Gemini v1beta) as far as their own SDKs read them. What they say and cost is `tokens.Said`.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import orjson

from sidecar.simulate import responses
from sidecar.simulate.calls import GEMINI, Call, CallError, Data
from sidecar.simulate.tokens import CREATED, INPUT_TOKENS, WORDS, Said, say

__all__ = ["CREATED", "INPUT_TOKENS", "MODELS", "WORDS", "Answer", "answer", "echo", "sse"]

MODELS = ("simulated-small", "simulated-large")  # what the lists of models name; any other name is served too


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and the body in the pieces it is sent in; `stream`: each piece on its own."""

    status: int
    chunks: tuple[bytes, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False


def answer(call: Call, said: Said | None = None) -> Answer:
    """What the provider says to it. Raises CallError where a body that is needed cannot be read."""
    said = said or say(call)
    kind = _KINDS.get((call.dialect.removeprefix("gemini-"), call.operation))
    if call.method == "POST" and kind:
        if call.data is None:
            raise CallError("We could not parse the JSON body of your request.")
        if not call.model and call.operation not in _MODEL_OPTIONAL:
            raise CallError("you must provide a model parameter")
        return kind(call, said)
    if call.dialect == "gemini" and call.method == "POST" and (found := GEMINI.fullmatch(call.operation)):
        return _gemini(call, found["verb"], said)
    if call.method == "GET" and call.operation.split("/")[0] == "models":
        return _models(call)
    return _json(echo(call))


def echo(call: Call) -> Data:
    """What exactly arrived. Header names and values are pairs, as latin-1, in their order; nothing is unquoted."""
    return {
        "method": call.method,
        "path": call.path,
        "query": call.query,
        "headers": call.headers,
        "sha256": hashlib.sha256(call.body).hexdigest(),
        "length": len(call.body),
    }


def _json(data: object) -> Answer:
    return Answer(200, (orjson.dumps(data),), {"Content-Type": "application/json"})


def _events(chunks: Sequence[bytes]) -> Answer:
    return Answer(200, tuple(chunks), {"Content-Type": "text/event-stream; charset=utf-8"}, stream=True)


def sse(data: object, event: str = "", end: bytes = b"\n\n") -> bytes:
    """One server-sent event."""
    return (f"event: {event}\n".encode() if event else b"") + b"data: " + orjson.dumps(data) + end


# --- OpenAI -----------------------------------------------------------------------------------------


def _usage(said: Said) -> Data:
    cost = said.cost
    return {
        "prompt_tokens": cost.input,
        "completion_tokens": cost.output,
        "total_tokens": cost.total,
        "prompt_tokens_details": {"cached_tokens": cost.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": cost.reasoning, "audio_tokens": 0},
    }


def _chat(call: Call, said: Said) -> Answer:
    head = {
        "id": f"chatcmpl-{call.number}",
        "created": CREATED,
        "model": call.model,
        "system_fingerprint": "fp_simulated",
    }
    if call.stream:
        deltas = [*_deltas(call, said), {}]
        choices = [{"delta": delta, "finish_reason": None if delta else _finish(said)} for delta in deltas]
        return _openai_stream(call, head | {"object": "chat.completion.chunk"}, choices, said)
    choice: Data = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(said.words), "refusal": None, "annotations": []},
        "logprobs": None,
        "finish_reason": _finish(said),
    }
    if said.function:
        choice["message"] |= {"content": None, "tool_calls": [_tool_call(call, said, "".join(said.words))]}
    return _json(head | {"object": "chat.completion", "choices": [choice], "usage": _usage(said)})


def _deltas(call: Call, said: Said) -> list[Data]:
    """Of a call of a function the first has its name, and all others a piece of its arguments."""
    begun: Data = {"role": "assistant", "content": "", "refusal": None}
    if not said.function:
        return [begun, *({"content": word} for word in said.words)]
    named: Data = begun | {"content": None, "tool_calls": [{"index": 0} | _tool_call(call, said, "")]}
    return [named, *({"tool_calls": [{"index": 0, "function": {"arguments": word}}]} for word in said.words)]


def _tool_call(call: Call, said: Said, arguments: str) -> Data:
    called = {"name": said.function, "arguments": arguments}
    return {"id": f"call_{call.number}", "type": "function", "function": called}


def _finish(said: Said) -> str:
    return "tool_calls" if said.function else "length" if said.cut else "stop"


def _completions(call: Call, said: Said) -> Answer:
    head = {"id": f"cmpl-{call.number}", "object": "text_completion", "created": CREATED, "model": call.model}
    if call.stream:
        choices: list[Data] = [{"text": word, "finish_reason": None} for word in said.words]
        return _openai_stream(call, head, [*choices, {"text": "", "finish_reason": _finish(said)}], said)
    choice = {"index": 0, "text": "".join(said.words), "logprobs": None, "finish_reason": "stop"}
    return _json(head | {"choices": [choice], "usage": _usage(said)})


def _openai_stream(call: Call, head: Data, choices: list[Data], said: Said) -> Answer:
    """One chunk a choice; the usage in a chunk of its own, after the finish, where `stream_options` asks for it."""
    options = (call.data or {}).get("stream_options") or {}
    counted = bool(options.get("include_usage"))
    silent = {"usage": None} if counted else {}
    chunks = [sse(head | {"choices": [{"index": 0, "logprobs": None} | choice]} | silent) for choice in choices]
    if counted:
        chunks.append(sse(head | {"choices": [], "usage": _usage(said)}))
    return _events([*chunks, b"data: [DONE]\n\n"])


def _embeddings(call: Call, said: Said) -> Answer:
    """One vector an input, as base64 of little-endian float32 where asked: what OpenAI's Python SDK does unasked."""
    data = call.data or {}
    given = data.get("input")
    count = len(given) if isinstance(given, list) and not any(isinstance(token, int) for token in given) else 1
    vector = _vector(data.get("dimensions"))
    packed = data.get("encoding_format") == "base64"
    value = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector
    rows = [{"object": "embedding", "index": index, "embedding": value} for index in range(count)]
    usage = {"prompt_tokens": said.cost.input, "total_tokens": said.cost.input}
    return _json({"object": "list", "data": rows, "model": call.model, "usage": usage})


def _vector(dimensions: object) -> list[float]:
    return [index / 8 for index in range(dimensions if isinstance(dimensions, int) else 8)]


def _responses(call: Call, said: Said) -> Answer:
    begun, done = responses.response(call, said)
    if not call.stream:
        return _json(done)
    steps = responses.steps(begun, done, said)
    return _events([sse({"type": name, "sequence_number": at} | step, name) for at, (name, step) in enumerate(steps)])


# --- Anthropic --------------------------------------------------------------------------------------


def _messages(call: Call, said: Said) -> Answer:
    message: Data = {
        "id": f"msg_{call.number}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": [_block(call, said, "".join(said.words))],
        "stop_reason": "tool_use" if said.function else "max_tokens" if said.cut else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": said.cost.input - said.cost.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": said.cost.cached,
            "output_tokens": said.cost.output,
        },
    }
    return _message_stream(call, message, said) if call.stream else _json(message)


def _block(call: Call, said: Said, text: str) -> Data:
    if not said.function:
        return {"type": "text", "text": text}
    return {
        "type": "tool_use",
        "id": f"toolu_{call.number}",
        "name": said.function,
        "input": orjson.loads(text or "{}"),
    }


def _message_stream(call: Call, message: Data, said: Said) -> Answer:
    """Usage comes twice, as Anthropic sends it: input at the start, all of it, cumulated, before the stop."""
    begun = message | {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    kind, piece = ("input_json_delta", "partial_json") if said.function else ("text_delta", "text")
    steps: list[Data] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": _block(call, said, "")},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": kind, piece: word}} for word in said.words),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": message["usage"],
        },
        {"type": "message_stop"},
    ]
    return _events([sse(step, step["type"]) for step in steps])


# --- Gemini -----------------------------------------------------------------------------------------


def _gemini(call: Call, verb: str, said: Said) -> Answer:
    if call.data is None:
        raise CallError("Invalid JSON payload received. Unexpected token.")
    if verb == "countTokens":
        return _json({"totalTokens": said.prompt, "promptTokensDetails": _modality(said.prompt)})
    if verb == "embedContent":
        return _json({"embedding": {"values": _vector(call.data.get("outputDimensionality"))}})
    if verb == "batchEmbedContents":
        asked = call.data.get("requests") or []
        return _json({"embeddings": [{"values": _vector(one.get("outputDimensionality"))} for one in asked]})
    if verb == "generateContent":
        return _json(_generated(call, said, "".join(said.words), last=True))
    if verb == "streamGenerateContent":
        return _generated_stream(call, said)
    return _json(echo(call))


def _modality(count: int) -> list[Data]:
    return [{"modality": "TEXT", "tokenCount": count}]


def _generated(call: Call, said: Said, text: str, last: bool) -> Data:
    """An answer, or a part of one: the last part alone has the finish and the tokens of the candidate.

    Thoughts stand beside the candidate's tokens, and both are in the total.
    """
    cost = said.cost
    part: Data = (
        {"functionCall": {"name": said.function, "args": orjson.loads(text)}} if said.function else {"text": text}
    )
    candidate: Data = {"content": {"parts": [part], "role": "model"}, "index": 0}
    usage: Data = {"promptTokenCount": cost.input, "totalTokenCount": cost.total if last else cost.input}
    usage["promptTokensDetails"] = _modality(cost.input)
    if cost.cached:
        usage["cachedContentTokenCount"] = cost.cached
    if last:
        shown = cost.output - cost.reasoning
        candidate["finishReason"] = "MAX_TOKENS" if said.cut else "STOP"
        usage |= {"candidatesTokenCount": shown, "candidatesTokensDetails": _modality(shown)}
    if last and cost.reasoning:
        usage["thoughtsTokenCount"] = cost.reasoning
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": call.model,
        "responseId": f"simulated-{call.number}",
    }


def _generated_stream(call: Call, said: Said) -> Answer:
    """Server-sent events between CRLFs with `alt=sse`, else one JSON array that grows: both as Google sends them."""
    words = ("".join(said.words),) if said.function else said.words or ("",)  # a call of a function comes whole
    parts = [_generated(call, said, word, last=at == len(words)) for at, word in enumerate(words, 1)]
    if parse_qs(call.query).get("alt") == ["sse"]:
        return _events([sse(part, end=b"\r\n\r\n") for part in parts])
    chunks = [(b"[" if at == 0 else b"\n,\r\n") + orjson.dumps(part) for at, part in enumerate(parts)]
    return Answer(200, (*chunks, b"\n]"), {"Content-Type": "application/json; charset=UTF-8"}, stream=True)


# --- lists of models, and who answers what ----------------------------------------------------------


def _models(call: Call) -> Answer:
    """The list, or one of it; a name that is not in the list is known too."""
    name = call.operation.removeprefix("models").strip("/")
    describe = _DESCRIBE[call.dialect.removeprefix("gemini-")]
    if name:
        return _json(describe(name))
    rows = [describe(model) for model in MODELS]
    if call.dialect == "gemini":
        return _json({"models": rows})
    if call.dialect == "anthropic":
        return _json({"data": rows, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})
    return _json({"object": "list", "data": rows})


_DESCRIBE: dict[str, Callable[[str], Data]] = {
    "openai": lambda name: {"id": name, "object": "model", "created": CREATED, "owned_by": "simulated"},
    "anthropic": lambda name: {"id": name, "type": "model", "display_name": name, "created_at": "2025-06-15T15:06:40Z"},
    "gemini": lambda name: {
        "name": f"models/{name}",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 8192,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    },
}

_KINDS: dict[tuple[str, str], Callable[[Call, Said], Answer]] = {
    ("openai", "chat/completions"): _chat,
    ("openai", "completions"): _completions,
    ("openai", "embeddings"): _embeddings,
    ("openai", "responses"): _responses,
    ("anthropic", "messages"): _messages,
    ("anthropic", "messages/count_tokens"): lambda _, said: _json({"input_tokens": said.prompt}),
}
_MODEL_OPTIONAL = {"responses"}  # a stored prompt may name it
