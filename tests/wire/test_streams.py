"""Every recorded stream is read alike however it is cut, and shown to nobody before it says something."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sidecar.model.classes import Class
from sidecar.model.outcomes import Outcome
from sidecar.providers import catalogue
from sidecar.providers.dialect import Answer, Reader

STREAMS = Path(__file__).parent / "cases" / "streams"
NOW_S = 1_791_300_000.0

DIALECTS = {"gemini": "gemini", "gemini-array": "gemini", "anthropic": "anthropic", "cohere-v2": "plain"}
OPERATIONS = {
    "openai-responses": "responses",
    "openai-transcription": "audio/transcriptions",
    "anthropic": "messages",
    "gemini": "models/m:streamGenerateContent",
    "gemini-array": "models/m:streamGenerateContent",
}

# The bytes whose arrival shows the stream: the end of the first event that says something.
SHOWN_AT = {
    "anthropic-error-mid": b'"text":"Hello"}}\n\n',
    "anthropic-ok": b'"text":"1\\n2\\n3"}    }\n\n',
    "cohere-v2-ok": b'"text":"Sure"}}}}\n\n',
    "deepseek-keepalive": b'"content":"1"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n',
    "edge-cut-mid-event": b'"content":"Hel"},"finish_reason":null}]}\n\n',
    "edge-sse-grammar": b'data: [DONE]"},"finish_reason":null}]}\n\n',
    "gemini-json-array-error-mid": b'"gemini-2.0-flash"\n}',
    "gemini-sse-basic-crlf": b'"gemini-2.0-flash"}\r\n\r',
    "gemini-sse-error-mid-stream": b"\n\n",
    "gemini-sse-single-chunk": b"\r\n\r",
    "gemini-sse-thinking": b"\r\n\r",
    "groq-ok-xgroq": b'"reasoning":"We","channel":"analysis"},"logprobs":null,"finish_reason":null}]}\n\n',
    "mistral-ok": b'"p":"abcdefghijklmno"}\n\n',
    "openai-chat-error-after-output": b'"finish_reason":null}]}\n\n',
    "openai-chat-usage": b'"content":"This"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n',
    "openai-responses-ok": b'"delta":"The"}\n\n',
    "openai-transcription-crlf": b"\r\n\r",
    "openrouter-cached-usage": b'"native_finish_reason":null}]}\n\n',
    "openrouter-error-in-chunk": b'"logprobs":null}]}\n\n',
    "perplexity-crlf-cumulative": b"\r\n\r",
}
NEVER_SHOWN = {"openai-chat-error-first"}
SHOWN_AT_ITS_END = {"gemini-sse-prompt-blocked"}

OUTCOMES = {
    "anthropic-error-mid": Class.OVERLOADED,
    "edge-cut-mid-event": Class.SERVER_ERROR,
    "gemini-json-array-error-mid": Class.OVERLOADED,
    "gemini-sse-error-mid-stream": Class.SERVER_ERROR,
    "gemini-sse-prompt-blocked": Class.BLOCKED,
    "openai-chat-error-after-output": Class.SERVER_ERROR,
    "openai-chat-error-first": Class.SERVER_ERROR,
    "openrouter-error-in-chunk": Class.BAD_REQUEST,
}


def streams() -> list[Any]:
    read = [(path, json.loads(path.read_text("utf-8"))) for path in sorted(STREAMS.glob("*.json"))]
    return [pytest.param(about, path.with_suffix(".txt").read_bytes(), id=about["id"]) for path, about in read]


def reader_of(about: dict[str, Any]) -> Reader:
    dialect = catalogue.DIALECTS[DIALECTS.get(about["dialect"], "openai")]
    return dialect.reader("POST", OPERATIONS.get(about["dialect"], "chat/completions"), about["content_type"])


def read(about: dict[str, Any], pieces: Iterable[bytes]) -> Reader:
    reader = reader_of(about)
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    return reader


def outcome(reader: Reader) -> Outcome:
    preset = catalogue.preset("openai")
    return reader.outcome(preset.at("https://api.openai.com/v1"), Answer(200, {}, b"", NOW_S))


def said(reader: Reader) -> tuple[Any, ...]:
    return reader.first, reader.usage, reader.complete, outcome(reader)


@pytest.mark.parametrize(("about", "data"), streams())
def test_usage_is_what_the_file_says(about: dict[str, Any], data: bytes) -> None:
    """The last word on each number, none summed."""
    usage = read(about, [data]).usage
    if about["usage"] is None:
        assert usage is None
        return
    assert usage is not None
    names = {"thoughts": "reasoning", "cache_read": "cached"}
    told = {names.get(name, name): count for name, count in about["usage"].items()}
    found = asdict(usage)
    assert {name: found[name] for name in told if name in found} == {
        name: count for name, count in told.items() if name in found
    }


@pytest.mark.parametrize(("about", "data"), streams())
def test_outcome_and_end_are_what_the_file_says(about: dict[str, Any], data: bytes) -> None:
    """An error inside counts, and only the truncated stream is incomplete."""
    reader = read(about, [data])
    assert outcome(reader).kind is OUTCOMES.get(about["id"], Class.OK)
    assert reader.complete == (about["id"] != "edge-cut-mid-event")
    assert reader.first == ("error" if about["id"] in NEVER_SHOWN else "event")


@pytest.mark.parametrize(("about", "data"), streams())
def test_cuts_change_nothing(about: dict[str, Any], data: bytes) -> None:
    """One byte at a time, at every single place, and at random ones."""
    whole = said(read(about, [data]))
    assert said(read(about, (data[at : at + 1] for at in range(len(data))))) == whole
    step = max(1, len(data) // 1500)
    for at in range(1, len(data), step):
        assert said(read(about, [data[:at], data[at:]])) == whole
    chance = random.Random(about["id"])
    for _ in range(20):
        cuts = sorted(chance.sample(range(len(data)), 12))
        pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert said(read(about, pieces)) == whole


@pytest.mark.parametrize(("about", "data"), streams())
def test_stream_is_shown_with_its_first_event_that_says_something(about: dict[str, Any], data: bytes) -> None:
    """Not a byte earlier, so that an error behind an empty beginning may still go to another key; and not later."""
    reader = reader_of(about)
    arrived = 0
    while arrived < len(data) and reader.first == "waiting":
        reader.feed(data[arrived : arrived + 1])
        arrived += 1
    if about["id"] in SHOWN_AT_ITS_END:
        assert reader.first == "waiting"
    elif about["id"] in NEVER_SHOWN:
        assert reader.first == "error"
    else:
        shown_at = SHOWN_AT[about["id"]]
        assert arrived == data.index(shown_at) + len(shown_at)


LOST = {
    "anthropic-ok": b'"stop_reason"',
    "deepseek-keepalive": b'"content":"."',
    "edge-sse-grammar": b'"finish_reason":"stop"',
    "gemini-json-array-error-mid": b'"promptTokenCount"',
    "gemini-sse-basic-crlf": b" capital of",
    "gemini-sse-thinking": b"candidatesTokenCount",
    "groq-ok-xgroq": b'"finish_reason":"tool_calls"',
    "mistral-ok": b'"finish_reason":"stop"',
    "openai-chat-usage": b'"finish_reason":"stop"',
    "openai-responses-ok": b'"type":"response.completed"',
    "openai-transcription-crlf": b'"type":"transcript.text.done"',
    "openrouter-cached-usage": b'"finish_reason":"stop"',
    "perplexity-crlf-cumulative": b'"chat.completion.done"',
}


@pytest.mark.parametrize(("about", "data"), [stream for stream in streams() if stream.id in LOST])
def test_stream_cut_inside_an_event_is_not_complete(about: dict[str, Any], data: bytes) -> None:
    """Its client must not see a clean end, and the attempt counts as the provider's failure."""
    reader = read(about, [data[: data.index(LOST[about["id"]])]])
    assert not reader.complete
    assert outcome(reader).kind is Class.SERVER_ERROR


ERROR = b'{"error":{"code":502,"message":"broke off","status":"UNAVAILABLE","type":"server_error"}}'


@pytest.mark.parametrize(("about", "data"), [stream for stream in streams() if stream.id != "edge-cut-mid-event"])
def test_a_stream_cut_anywhere_can_be_ended_with_an_error(about: dict[str, Any], data: bytes) -> None:
    """What is shown are its whole events and nothing of the one that was cut; the error is read as the last."""
    whole = events_of(about, data)
    for at in range(1, len(data), max(1, len(data) // 800)):
        reader = reader_of(about)
        reader.feed(data[:at])
        shown = data[: at - reader.pending]
        last = reader.last(b"data: " + ERROR + b"\n\n", ERROR)
        if not last:
            assert about["dialect"] == "gemini-array"
            assert shown.rstrip() == data.rstrip()  # the array is closed: nothing can follow it
            continue
        seen = events_of(about, shown + last)
        assert seen == [*whole[: len(seen) - 1], json.loads(ERROR)], at


def events_of(about: dict[str, Any], data: bytes) -> list[Any]:
    """Every event's data: JSON where it is that, as a strict reader takes them; of Google's array its objects."""
    if about["dialect"] == "gemini-array":
        found: list[Any] = json.loads(data)
        return found
    lines = re.sub(rb"\r\n|\r", b"\n", data.removeprefix(b"\xef\xbb\xbf")).split(b"\n")
    events, held = [], list[bytes]()
    for line in lines:
        if line.startswith(b"data:"):
            held.append(line[5:].removeprefix(b" "))
        elif not line and held:
            events.append(b"\n".join(held))
            held = []
    return [json.loads(event) if event[:1] == b"{" else event for event in [*events, *filter(None, [b"\n".join(held)])]]
