"""What a call names, and what it only passes on: an app's data may hold ids of anybody's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.providers import belonging, mentions
from sidecar.providers.belonging import named

FILE, OTHER = "file-6F2ksmvXxt4VdoqmHRw6kL", "file-9Gabc1defGHI2jklMNO3pq"
GOOGLES = "https://generativelanguage.googleapis.com/v1beta/files/abc"
SCHEMA = {"type": "object", "properties": {"file_id": {"type": "string", "enum": [FILE]}}}
GENERATE = "models/gemini-3-pro:generateContent"


def part(name: str, value: str, more: str = "") -> str:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def in_form(*parts: str) -> list[str]:
    return list(named("files", "", "".join((*parts, "--B--\r\n")).encode(), "multipart/form-data; boundary=B"))


@pytest.mark.parametrize(
    ("operation", "data"),
    [
        ("messages", {"type": "tool_use", "id": "toolu_01", "name": "start", "input": {"files": [{"file_id": FILE}]}}),
        ("messages", {"type": "server_tool_use", "input": {"id": FILE}}),
        ("messages", {"type": "tool_result", "tool_use_id": "toolu_01", "content": [{"type": "text", "text": FILE}]}),
        ("messages", {"metadata": {"user_id": FILE}}),
        ("messages", {"tools": [{"input_schema": SCHEMA, "input_examples": [{"f": FILE}]}]}),
        (GENERATE, {"functionCall": {"name": "start", "args": {"f": [FILE, GOOGLES]}}}),
        (GENERATE, {"functionResponse": {"name": "start", "response": {"file": {"id": FILE, "uri": GOOGLES}}}}),
        (GENERATE, {"function_response": {"response": {"type": "file", "id": FILE}}}),
        (GENERATE, {"tools": [{"functionDeclarations": [{"parametersJsonSchema": SCHEMA}]}]}),
        ("responses", {"type": "function_call_output", "call_id": "call_1", "output": FILE}),
        ("responses", {"metadata": {"made": FILE}, "text": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
        ("responses", {"role": "user", "content": FILE}),
        ("chat/completions", {"tool_calls": [{"function": {"name": "start", "arguments": FILE}}]}),
        ("chat/completions", {"role": "tool", "tool_call_id": "call_1", "content": FILE}),
        ("interactions", {"type": "function_result", "result": {"id": FILE}}),
        ("interactions", {"type": "function_call", "arguments": {"id": FILE}}),
        ("vector_stores/vs_abc123abc123/files", {"attributes": {"copy_of": FILE}}),
    ],
)
def test_an_apps_data_names_nothing(operation: str, data: Any) -> None:
    """And hides nothing: what stands beside it and what the call uses by the same id is named."""
    around = belonging.named_in_path(operation)
    assert tuple(named(operation, "", json.dumps({"items": [data]}).encode())) == around
    for used in ({"file_id": OTHER}, {"file_id": FILE}):
        body = json.dumps({"items": [data, used, data]}).encode()
        assert tuple(named(operation, "", body)) == (*around, used["file_id"])
        assert tuple(named(operation, "", memoryview(body))) == (*around, used["file_id"])


@pytest.mark.parametrize(
    ("operation", "body", "found"),
    [
        ("responses", {"type": "function_call_output", "output": [{"type": "input_file", "file_id": FILE}]}, FILE),
        ("responses", {"type": "computer_call_output", "output": {"file_id": FILE}}, FILE),
        (GENERATE, {"functionResponse": {"response": {}, "parts": [{"fileData": {"fileUri": GOOGLES}}]}}, "files/abc"),
        ("interactions", {"type": "function_result", "result": [{"type": "image", "uri": GOOGLES}]}, "files/abc"),
        ("interactions", {"input": {"type": "image", "uri": GOOGLES}}, "files/abc"),
        ("messages", {"type": "tool_result", "content": [{"type": "document", "source": {"file_id": FILE}}]}, FILE),
        ("brand/new", {"whatever": {"nobody": ["knew", FILE]}}, FILE),
    ],
)
def test_a_file_that_a_tool_gives_the_model_is_named(operation: str, body: Any, found: str) -> None:
    assert list(named(operation, "", json.dumps(body).encode())) == [found]


def test_what_cannot_be_read_names_all_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of JSON, what is nested beyond reading, and a body of so many values that they would fill the memory."""
    data = json.dumps({"metadata": {"f": FILE}})
    deep = '{"a":' * 2000 + data + "}" * 2000
    for body in (f"{data}\n{data}", deep):
        assert list(named("responses", "", body.encode())) == [FILE]
    large = json.dumps({"metadata": {"f": FILE}, "a": ["x" * 100] * 20_000}).encode()
    assert not named("responses", "", large)
    monkeypatch.setattr(mentions, "MOST_VALUES", 10_000)
    assert list(named("responses", "", large)) == [FILE]


def test_fields_of_a_form_name_things() -> None:
    """As the SDKs for JavaScript write what is nested, or as JSON."""
    video = "video_6a1b2c3d4e5f60718293a4b5"
    assert in_form(part("prompt", FILE), part("video[id]", video), part("metadata[file_id]", FILE)) == [video]
    assert in_form(part("input_reference[file_id]", FILE), part("file_ids[]", OTHER)) == [FILE, OTHER]
    assert in_form(part("file_ids[]", FILE), part("file_ids[]", OTHER)) == [FILE, OTHER]
    assert in_form(part("source", json.dumps({"file_id": FILE, "metadata": {"f": OTHER}}))) == [FILE]


def test_a_file_in_a_form_is_nobodys_words() -> None:
    log, name = json.dumps({"id": FILE, "file_id": OTHER}), '; filename="log.jsonl"'
    assert in_form(part("purpose", "user_data"), part("file", log, name)) == []
    assert in_form(part("purpose", "user_data"), part("file", log * 500, name), part("note", "batch")) == []
    assert not named("files", "upload_id=AbC-9", log.encode()).keys() - {"upload_id=AbC-9"}


def test_lines_of_a_batch_name_what_they_use() -> None:
    """Its file must lie where theirs do; each line is a call with a prompt, and an app's own id."""
    calls = [
        {"custom_id": OTHER, "body": {"input": [{"type": "input_file", "file_id": one}], "metadata": {"a": OTHER}}}
        for one in (FILE, FILE.lower(), FILE)
    ]
    lines = "\n".join(["", *map(json.dumps, calls), "{}"])
    purpose, file = part("purpose", "batch"), part("file", lines, '; filename="a"')
    assert in_form(purpose, file) == in_form(file, purpose) == [FILE, FILE.lower()]
