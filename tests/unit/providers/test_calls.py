"""What a call asks for is read as its dialect says it, and another model's name goes where the first one was."""

from __future__ import annotations

import json

import pytest

from sidecar.providers.catalogue import DIALECTS
from sidecar.providers.dialect import BadCall, Reading

JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
FORM_BODY = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("dialect", "method", "operation", "kind", "body", "reading"),
    [
        ("openai", "POST", "chat/completions", JSON, b'{"model":"m"}', Reading("m", False, True)),
        ("openai", "POST", "chat/completions/", JSON, b'{"model":"m","stream":true}', Reading("m", True, True)),
        ("openai", "POST", "chat/completions", "text/plain", b' {"model":"m"}', Reading("m", False, True)),
        ("openai", "POST", "embeddings", JSON, b'{"model":"m"}', Reading("m", False, True)),
        ("openai", "POST", "responses", JSON, b'{"model":"m","stream":true}', Reading("m", True, True)),
        ("openai", "POST", "responses", JSON, b'{"input":"x"}', Reading(None, False, True)),
        ("openai", "POST", "moderations", JSON, b'{"input":"x"}', Reading(None, False, True)),
        ("openai", "POST", "images/generations", JSON, b'{"model":"i"}', Reading("i", False, False)),
        ("openai", "POST", "audio/transcriptions", FORM, FORM_BODY, Reading("whisper-1", False, False)),
        ("openai", "POST", "files", FORM, b"--b--", Reading(None, False, False)),
        ("openai", "POST", "batches", JSON, b'{"endpoint":"/v1/embeddings"}', Reading(None, False, False)),
        ("openai", "GET", "chat/completions", "", b"", Reading(None, False, True)),
        ("openai", "GET", "models/org%2Fm", "", b"", Reading("org/m", False, True)),
        ("openai", "HEAD", "files", "", b"", Reading(None, False, True)),
        ("openai", "DELETE", "files/f", "", b"", Reading(None, False, False)),
        ("anthropic", "POST", "messages", JSON, b'{"model":"c","stream":true}', Reading("c", True, True)),
        ("anthropic", "POST", "messages/count_tokens", JSON, b'{"model":"c"}', Reading("c", False, True)),
        ("anthropic", "POST", "messages/batches", JSON, b'{"requests":[]}', Reading(None, False, False)),
        ("anthropic", "GET", "messages/batches", "", b"", Reading(None, False, True)),
        ("gemini", "POST", "models/g:generateContent", JSON, b"{}", Reading("g", False, True)),
        ("gemini", "POST", "models/g:streamGenerateContent", JSON, b"{}", Reading("g", True, True)),
        ("gemini", "POST", "models/g%3AcountTokens", JSON, b"{}", Reading("g", False, True)),
        ("gemini", "POST", "models/pool%2Fg-2.0:generateContent", JSON, b"{}", Reading("pool/g-2.0", False, True)),
        ("gemini", "POST", "models/pool/g-2.0:generateContent", JSON, b"{}", Reading("pool/g-2.0", False, True)),
        ("gemini", "POST", "tunedModels/t:generateContent", JSON, b"{}", Reading("tunedModels/t", False, True)),
        ("gemini", "POST", "models/veo:predictLongRunning", JSON, b"{}", Reading("veo", False, False)),
        ("gemini", "POST", "cachedContents", JSON, b'{"model":"models/g"}', Reading("g", False, False)),
        ("gemini", "POST", "interactions", JSON, b'{"model":"g","stream":true}', Reading("g", True, False)),
        ("gemini", "POST", "files", JSON, b'{"file":{}}', Reading(None, False, False)),
        ("gemini", "GET", "models/g", "", b"", Reading("g", False, True)),
        ("gemini", "GET", "files/f", "", b"", Reading(None, False, True)),
        ("plain", "POST", "v2/chat", JSON, b'{"model":"c","stream":true}', Reading("c", True, False)),
        ("plain", "POST", "v1beta/models/g:generateContent", JSON, b"{}", Reading("g", False, False)),
        ("plain", "POST", "cars", JSON, b'{"model":"line\\nbreak"}', Reading(None, False, False)),
        ("plain", "POST", "cars", "text/xml", b"<x/>", Reading(None, False, False)),
        ("plain", "GET", "cars", "", b"", Reading(None, False, True)),
    ],
)
def test_read_call(dialect: str, method: str, operation: str, kind: str, body: bytes, reading: Reading) -> None:
    """Model, streaming, and whether a second execution does no harm."""
    assert DIALECTS[dialect].read_call(method, operation, kind, body) == reading
    assert DIALECTS[dialect].read_call(method, operation, kind, memoryview(body)) == reading


@pytest.mark.parametrize(
    ("dialect", "operation", "body"),
    [
        ("openai", "moderations", b"{broken"),
        ("openai", "responses", b'{"model":5}'),
        ("openai", "responses", b"[1]"),
        ("openai", "images/generations", b'{"model":7}'),
        ("gemini", "models/g:generateContent", b"{broken"),
        ("gemini", "models/g:generateContent", b"[1]"),
    ],
)
def test_what_says_it_is_json_must_be(dialect: str, operation: str, body: bytes) -> None:
    """Also where no model is needed: a grant would be spent on what the provider can only refuse."""
    with pytest.raises(BadCall):
        DIALECTS[dialect].read_call("POST", operation, JSON, body)


@pytest.mark.parametrize(
    ("dialect", "operation"),
    [
        ("openai", "chat/completions"),
        ("openai", "completions"),
        ("openai", "embeddings"),
        ("anthropic", "messages"),
        ("anthropic", "messages/count_tokens"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"model":null}', b'{"model":["m"]}', b'{"model":""}', FORM_BODY]
)
def test_calls_that_need_a_model_are_refused_without(dialect: str, operation: str, body: bytes) -> None:
    """With what to mend."""
    with pytest.raises(BadCall, match=r"body"):
        DIALECTS[dialect].read_call("POST", operation, JSON, body)


def test_gemini_path_must_name_a_model() -> None:
    """A verb alone is nothing."""
    with pytest.raises(BadCall):
        DIALECTS["gemini"].read_call("POST", "models/:generateContent", JSON, b"{}")


@pytest.mark.parametrize(
    ("dialect", "operation", "kind", "body", "model", "written"),
    [
        ("openai", "chat/completions", JSON, b'{"model": "a" }', "b", ("chat/completions", b'{"model": "b" }')),
        (
            "openai",
            "audio/transcriptions",
            FORM,
            FORM_BODY,
            "b",
            ("audio/transcriptions", FORM_BODY.replace(b"whisper-1", b"b")),
        ),
        ("openai", "models/a", "", b"", "org/b", ("models/org/b", b"")),
        ("anthropic", "messages", JSON, b'{"model":"a"}', "b", ("messages", b'{"model":"b"}')),
        ("gemini", "models/pool%2Fa:countTokens", JSON, b"{}", "a", ("models/a:countTokens", b"{}")),
        ("gemini", "models/pool/a%3Ax", JSON, b"", "a", ("models/a%3Ax", b"")),
        ("gemini", "models/a:x", JSON, b"{}", "tunedModels/t", ("tunedModels/t:x", b"{}")),
        ("gemini", "models/a:x", JSON, b"{}", "b c", ("models/b%20c:x", b"{}")),
        ("gemini", "models/a", "", b"", "b", ("models/b", b"")),
        ("gemini", "cachedContents", JSON, b'{"model":"models/a"}', "b", ("cachedContents", b'{"model":"models/b"}')),
        ("gemini", "interactions", JSON, b'{"model":"a"}', "b", ("interactions", b'{"model":"b"}')),
        ("plain", "v2/chat", JSON, b'{"model":"a"}', "b", ("v2/chat", b'{"model":"b"}')),
        ("plain", "v1/models/a:x", JSON, b'{"model":"a"}', "b", ("v1/models/b:x", b'{"model":"a"}')),
    ],
)
def test_rewrite(dialect: str, operation: str, kind: str, body: bytes, model: str, written: tuple[str, bytes]) -> None:
    """In the path or in the body, and nothing else."""
    to, pieces = DIALECTS[dialect].rewrite(operation, kind, body, model)
    assert (to, b"".join(pieces)) == written


def test_gemini_names_the_model_again_in_nested_requests() -> None:
    """Google refuses a body whose model is not the path's."""
    body = json.dumps(
        {
            "requests": [{"model": "models/a", "content": {"parts": [{"text": '"model": "models/a"'}]}}],
            "generateContentRequest": {"model": "models/a", "contents": []},
            "model": "models/a",
            "contents": [{"model": "models/a"}],
        }
    ).encode()
    operation, written = DIALECTS["gemini"].rewrite("models/a:batchEmbedContents", JSON, body, "b")
    assert operation == "models/b:batchEmbedContents"
    expected = json.loads(body)
    expected["model"] = expected["generateContentRequest"]["model"] = expected["requests"][0]["model"] = "models/b"
    assert json.loads(b"".join(written)) == expected
