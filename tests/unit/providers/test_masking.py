"""The model in an answer is what the caller asked for, wherever it is cut, and every other byte is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers.masking import mask

NEW = 'my "model" \\ ü'
MASKED = json.dumps(NEW, ensure_ascii=False).encode()
CASES = sorted((Path(__file__).parent.parent.parent / "wire" / "cases").glob("*.json"))


def masked(data: bytes, *cuts: int, content_type: str = "application/json") -> bytes:
    """In pieces cut at these places."""
    passed = mask(NEW, content_type)
    assert passed is not None
    ends = [*sorted(cuts), len(data)]
    return b"".join(passed.feed(data[begin:end]) for begin, end in zip([0, *sorted(cuts)], ends, strict=True))


CHUNK = (
    b'{"id":"model","model":"real","choices":[{"model":"x","delta":{"content":"\\"model\\": \\"y\\\\"}}],'
    b'"a":{"model":"z"}}'
)
STREAMS = [
    pytest.param(b"data: " + CHUNK + b"\n\ndata:" + CHUNK + b"\n\ndata: [DONE]\n\n", b'"real"', 2, id="openai"),
    pytest.param(
        b': "{\nevent: response.created\ndata: {"type":"response.created","response":{"id":1,"model":"gpt-4o-2024",'
        b'"output":[{"model":"no"}]},"sequence_number":0}\n\nevent: x\ndata: {"model":"gpt-4o-2024"}\n\n',
        b'"gpt-4o-2024"',
        2,
        id="responses",
    ),
    pytest.param(
        b'event: message_start\r\ndata: {"type":"message_start","message":{"model" : "claude-\\u0033","content":[]}}'
        b'\r\n\r\nevent: content_block_delta\r\ndata: {"type":"content_block_delta",'
        b'"delta":{"text":"{\\"model\\":1}"}}\r\n\r\n',
        b'"claude-\\u0033"',
        1,
        id="anthropic",
    ),
    pytest.param(
        b'data: {"candidates": [{"content": {"parts": [{"text": "modelVersion"}]}}],'
        b'"modelVersion": "gemini-2.0"}\r\n\r\n',
        b'"gemini-2.0"',
        1,
        id="gemini",
    ),
    pytest.param(
        b'event: interaction.created\ndata: {"event_type":"interaction.created","interaction":{"id":"v1_a",'
        b'"model":"gemini-2.5"}}\n\ndata: {"event_type":"step.delta","delta":{"text":"model"}}\n\n'
        b'data: {"interaction":{"steps":[{"model":"no"}],"model":"gemini-2.5"}}\n\ndata: [DONE]\n\n',
        b'"gemini-2.5"',
        2,
        id="interactions",
    ),
    pytest.param(
        b'[{"modelVersion":"g-2","candidates":[["]"]]}\r\n,\n{"candidates":[],"modelVersion":"g-2"}]',
        b'"g-2"',
        2,
        id="array",
    ),
    pytest.param(
        b'data: {"choices":[],\rdata: "model":\rdata: "real"}\r\rdata: {"model":"real"}\r\r', b'"real"', 2, id="lines"
    ),
    pytest.param(b'\xef\xbb\xbf\n {"model":"", "b": 1}', b'""', 1, id="empty"),
    pytest.param(b'{"model":"a"}\n{"model":"a"}\n', b'"a"', 2, id="jsonl"),
    pytest.param(
        b'{"data":[{"embedding":[0.1,-2e-5],"model":"b"}],"model":"a","usage":{}}', b'"a"', 1, id="embeddings"
    ),
    pytest.param(CHUNK.replace(b'"real"', b'"re\\"al\\\\"'), b'"re\\"al\\\\"', 1, id="escapes"),
]


@pytest.mark.parametrize(("data", "old", "count"), STREAMS)
def test_the_name_alone_is_another_wherever_the_answer_is_cut(data: bytes, old: bytes, count: int) -> None:
    expected = data.replace(old, MASKED)
    assert expected.count(MASKED) == count
    assert masked(data) == expected
    assert {masked(data, cut) for cut in range(len(data))} == {expected}
    assert masked(data, *range(len(data))) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"model":null}',
        b'{"model":["real"]}',
        b'{"model":{"model":"real"}}',
        b'{"error":{"message":"The model `real` does not exist","model":"real"}}',
        b'"model"',
        b'{"model":',
        b"not JSON: {",
        b'}]},:"model":"real"',
        b'event: "model"\nid: {"model":"real"}\n\n',
        b'data: [DONE]\n\ndatamodel: {"model":"real"}\n\n',
        b"{" * 50 + b'"model":"real"',
    ],
)
def test_what_names_no_model_stays_as_it_is(data: bytes) -> None:
    assert {masked(data, cut) for cut in range(len(data) + 1)} == {data}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["model", '"model":"x"', "\\"]),
        lambda one: (
            st.lists(one, max_size=3) | st.dictionaries(st.sampled_from(["model", "a"]) | st.text(), one, max_size=4)
        ),
        max_leaves=20,
    ),
    st.data(),
)  # fmt: skip
def test_a_text_is_parsed_as_before_but_for_the_name(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    try:
        whole = text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no provider can send unescaped
        whole = json.dumps(value).encode()
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=4))
    assert json.loads(masked(whole, *cuts)) == _renamed(value)


def _renamed(value: Any) -> Any:
    """What a reader of whole texts would make of it."""
    if isinstance(value, list):
        return [_renamed(item) if isinstance(item, dict | list) else item for item in value]
    if not isinstance(value, dict):
        return value
    names = ("model", "modelVersion")
    named: dict[str, Any] = {key: NEW if key in names and isinstance(old, str) else old for key, old in value.items()}
    for holder in ("response", "message"):
        held = named.get(holder)
        if isinstance(held, dict) and isinstance(held.get("model"), str):
            named[holder] = {**held, "model": NEW}
    return named


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_recorded_answer_is_broken(path: Path) -> None:
    body = json.loads(path.read_text())["body"]
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    sent = masked(data)
    assert sent == data or b'"model' in data


@pytest.mark.parametrize("content_type", ["audio/mpeg", "image/png", "application/octet-stream"])
def test_what_is_no_text_passes_by(content_type: str) -> None:
    assert mask(NEW, content_type) is None
