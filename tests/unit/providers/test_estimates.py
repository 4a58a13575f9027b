"""What a call is taken to cost before it is sent."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from sidecar.model.configured import Parameters
from sidecar.model.words import LEAST_TOKENS, Estimate
from sidecar.providers.estimates import MOST, OUTPUT, PIECE, estimate

CHAT = "chat/completions"
JUNK: tuple[Any, ...] = (None, "9", -1, 1.5, [], {}, True, 0)
IMAGE = base64.b64encode(random.Random(1).randbytes(90_000)).decode()
SMALL = base64.b64encode(random.Random(2).randbytes(30)).decode()


def of(body: Any, operation: str = CHAT, content_type: str = "application/json") -> Estimate:
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return estimate("POST", operation, content_type, data)


@pytest.mark.parametrize("text", ["some words here. " * 500, "x" * 9000, "你好世界。" * 600, "aB3" * 5])
@pytest.mark.parametrize("escaped", [False, True])
def test_text_counts_a_token_for_four_bytes_rounded_up(text: str, escaped: bool) -> None:
    """Whatever is written, and however its writer escapes it: none of it is taken for base64."""
    body = json.dumps({"messages": [{"content": text}]}, ensure_ascii=escaped).encode()
    assert of(body).input == max(LEAST_TOKENS - OUTPUT, -(-len(body) // 4))


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        (CHAT, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}),
        (CHAT, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SMALL}"}}),
        (CHAT, {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}}),
        (CHAT, {"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}}),
        ("responses", {"type": "input_image", "image_url": f"data:image/jpeg;base64,{IMAGE}"}),
        ("responses", {"type": "input_file", "file_id": "file-1"}),
        ("messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}),
        ("messages", {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        ("models/g:generateContent", {"inline_data": {"mime_type": "image/png", "data": IMAGE}}),
        ("models/g:generateContent", {"inlineData": {"mimeType": "image/png", "data": SMALL}}),
        ("models/g:generateContent", {"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/f"}}),
        ("api/generate", {"images": [IMAGE]}),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_piece_of_media_counts_a_flat_amount_instead_of_its_bytes(operation: str, part: Any, count: int) -> None:
    found = of({"contents": [part] * count}, operation).input
    assert count * PIECE <= found <= count * (PIECE + 60) + 16


def test_base64_may_be_escaped_or_stand_inside_a_text() -> None:
    escaped = json.dumps({"data": IMAGE}).replace("/", "\\/").encode()
    inside = {"content": f"![a](data:image/png;base64,{IMAGE}) what is this? " + "word " * 1000}
    assert of(escaped).input == PIECE + 3
    assert PIECE + 1250 < of(inside).input < PIECE + 1290


def test_media_that_a_text_speaks_of_is_text() -> None:
    spoken = {"content": json.dumps({"inline_data": {"data": "x"}, "image_url": "https://example.com/a.png"})}
    assert of(spoken).input == -(-len(json.dumps(spoken)) // 4)


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ({}, OUTPUT),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 7}, 7),
        ({"max_output_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 70}, 70),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"n": 3}, 3 * OUTPUT),
        ({"max_tokens": 7, "best_of": 4, "n": 2}, 28),
        ({"generationConfig": {"maxOutputTokens": 7}}, 7),
        ({"generation_config": {"max_output_tokens": 7, "candidate_count": 2}}, 14),
        ({"generationConfig": {"candidateCount": 2}}, 2 * OUTPUT),
        ({"options": {"num_predict": 9}}, 9),
        ({"max_tokens": 10**15, "n": 10}, MOST),
        *(({"max_tokens": junk, "generationConfig": junk}, OUTPUT) for junk in JUNK),
    ],
)
def test_output_is_what_the_call_allows(body: dict[str, Any], output: int) -> None:
    """Else a default; junk is no limit."""
    assert of(body | {"messages": []}).output == output


@pytest.mark.parametrize(
    ("body", "fixed", "output"),
    [
        ({"max_tokens": 7}, {"n": 8}, 56),
        ({"max_tokens": 7, "n": 9}, {"n": 2}, 14),
        ({"max_tokens": 7, "best_of": 9}, {"n": 2}, 63),
        ({"n": 3}, {"max_tokens": 50}, 150),
        ({"generationConfig": {"maxOutputTokens": 7}}, {"generationConfig.candidateCount": 4}, 28),
    ],
)
def test_what_a_route_says_of_the_answers_counts_as_if_the_caller_did(
    body: dict[str, Any], fixed: dict[str, int], output: int
) -> None:
    change = Parameters(tuple((name, str(value).encode()) for name, value in fixed.items()))
    found = estimate("POST", CHAT, "application/json", json.dumps(body).encode(), {change})
    assert found.output == output


def test_of_several_targets_the_one_counts_that_allows_most() -> None:
    """As a whole: no answer is as long as at the one and as many as at the other."""
    changes = {Parameters((("n", b"8"), ("max_tokens", b"10"))), Parameters((("max_tokens", b"70"),))}
    assert estimate("POST", CHAT, "application/json", b"{}", changes).output == 80


def test_a_limit_beside_half_an_emoji_is_read() -> None:
    """Else who says so much more than is expected would be expected to say the default."""
    assert of(rb'{"messages":[{"content":"\ud83d"}],"max_tokens":7}').output == 7


@pytest.mark.parametrize(
    "operation",
    [
        "embeddings",
        "moderations",
        "v1/embeddings",
        "v2/rerank",
        "models/e:embedContent",
        "models/e%3AbatchEmbedContents",
    ],
)
def test_what_answers_without_text_has_no_output(operation: str) -> None:
    assert of({"input": "word " * 100, "max_tokens": 50}, operation) == Estimate(133, 0)


@pytest.mark.parametrize(
    ("method", "operation"),
    [
        ("GET", "models/m"),
        ("DELETE", "responses/r"),
        ("POST", "messages/count_tokens"),
        ("POST", "responses/input_tokens"),
        ("POST", "models/g:countTokens"),
        ("POST", "models/g:batchGenerateContent"),
        ("POST", "files"),
        ("POST", "messages/batches"),
        ("POST", "v1/vector_stores/v/search"),
    ],
)
def test_what_costs_nothing_counts_the_least(method: str, operation: str) -> None:
    body = json.dumps({"messages": "word " * 1000}).encode()
    assert estimate(method, operation, "application/json", body) == Estimate(LEAST_TOKENS, 0)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=b", "audio/wav", "application/octet-stream", ""]
)
def test_the_bytes_of_forms_and_files_say_nothing(content_type: str) -> None:
    assert of(b"--b\r\n" + bytes(5_000_000), "audio/transcriptions", content_type) == Estimate(PIECE, OUTPUT)


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"[]", b'{"max_tokens":1}', b"\xff\xfe", b'\xef\xbb\xbf{"n":1}'])
@pytest.mark.parametrize("operation", [CHAT, "embeddings", "models/g:generateContent", ""])
def test_any_call_counts_at_least_so_many(body: bytes, operation: str) -> None:
    for given in (body, memoryview(body)):
        found = estimate("POST", operation, "application/json", given)
        assert found.total >= LEAST_TOKENS
        assert min(found.input, found.output) >= 0


def test_a_body_in_a_mapped_file_counts_like_one_in_memory() -> None:
    body = json.dumps({"max_tokens": 5, "messages": [IMAGE, "text " * 99, {"image_url": IMAGE}]}).encode()
    assert estimate("POST", CHAT, "", memoryview(body)) == of(body)
