"""The model's name is read and replaced in JSON bodies, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers import jsonhead
from sidecar.providers.dialect import BadCall, Body
from sidecar.providers.edits import ANY, Path
from sidecar.providers.jsonhead import Head

TOP = frozenset({("model",)})

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars | st.sampled_from(['"model": "x"', "model", "\\", '\\"', "{", "]"]),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.just("model") | st.text(max_size=6), one, max_size=4),
    max_leaves=12,
)  # fmt: skip
bodies = st.dictionaries(st.text(max_size=8) | st.sampled_from(["model ", "Model", "messages"]), values, max_size=6)


def replaced(body: Body, paths: frozenset[Path], new: Callable[[str], str]) -> bytes:
    return b"".join(jsonhead.replace(body, paths, new))


@given(
    bodies, st.text(min_size=1), st.text(min_size=1), st.integers(0, 6), st.booleans(), st.sampled_from([None, 1, "\t"])
)
def test_replace_changes_the_model_alone(
    body: dict[str, Any], old: str, new: str, place: int, ascii_only: bool, indent: Any
) -> None:
    """Parsed, the body differs at `model` only; as bytes, all outside of that value is the same."""
    members = list(body.items())
    members.insert(min(place, len(members)), ("model", old))
    whole = {name: value for name, value in members if name != "model"} | {"model": old}
    text = json.dumps(dict(members) | {"model": old}, ensure_ascii=ascii_only, indent=indent)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no client can send unescaped
        data = json.dumps(dict(members) | {"model": old}, indent=indent).encode()
    written = replaced(data, TOP, lambda _: new)
    assert json.loads(written) == whole | {"model": new}
    before = _common(data, written)
    after = _common(data[::-1], written[::-1])
    assert len(data) - before - after <= len(json.dumps(old).encode()) + 2
    assert jsonhead.read(written).model == new


def _common(one: bytes, other: bytes) -> int:
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b'{"model":"a"}', b'{"model":"NEW"}'),
        (b' \n{ "x" : [1] , "model"\t:\r\n "a" , "y":2 } \n', b' \n{ "x" : [1] , "model"\t:\r\n "NEW" , "y":2 } \n'),
        (b'\xef\xbb\xbf{"model":"a"}', b'\xef\xbb\xbf{"model":"NEW"}'),
        (rb'{"mod\u0065l":"a","model2":"a"}', rb'{"mod\u0065l":"NEW","model2":"a"}'),
        (rb'{"model":"a\"b\\"}', b'{"model":"NEW"}'),
        (b'{"model":"a","n":{"model":"b"},"model":"c"}', b'{"model":"NEW","n":{"model":"b"},"model":"NEW"}'),
        (b'{"messages":[{"model":"b","content":"\\"model\\":\\"x\\""}],"model":"a"}',
         b'{"messages":[{"model":"b","content":"\\"model\\":\\"x\\""}],"model":"NEW"}'),
        (b'{"a":{"b":[{"model":"x"}]},"model":"b","a":[1],"model":"c","a":{}}',
         b'{"a":{"b":[{"model":"x"}]},"model":"NEW","a":[1],"model":"NEW","a":{}}'),
        (b'{"a":{"b":"}"},"a":{},"model":"b"}', b'{"a":{"b":"}"},"a":{},"model":"NEW"}'),
        (b" " * 99 + b'{"model":"b"}', b" " * 99 + b'{"model":"NEW"}'),
        (b'{"a":"model","model":"b","b":["model","c"]}', b'{"a":"model","model":"NEW","b":["model","c"]}'),
        (b'{"model":null,"model":7,"x":1.50e+1}', b'{"model":null,"model":7,"x":1.50e+1}'),
    ],
)  # fmt: skip
def test_replace_keeps_every_other_byte(body: bytes, written: bytes) -> None:
    """White space, escapes, duplicates and numbers stay as the client wrote them."""
    assert replaced(body, TOP, lambda _: "NEW") == written
    assert replaced(memoryview(body), TOP, lambda _: "NEW") == written


@pytest.mark.parametrize(
    "half", [rb"\ud83d", rb"\uDE00", rb"\ud83d\u0041", rb"\ud83d\ud83d\ude00", rb"\\\ud83d", rb"x\uDBFF"]
)
def test_half_a_surrogate_pair_is_read_past_and_stays(half: bytes) -> None:
    """As of an emoji that was cut in two: legal JSON, which providers take. In a name it is told."""
    body = b'{"m":["' + half + b'"],"' + half + b'":{"a":1},"model":"a","n":{"x":"' + half + b'"}}'
    assert jsonhead.read(body) == Head("a", False)
    assert jsonhead.models(memoryview(body)) == ["a"]
    assert replaced(body, TOP, lambda _: "NEW") == body.replace(b'"a",', b'"NEW",')
    named = b'{"model":"' + half + b'"}'
    for reader in (jsonhead.read, jsonhead.models):
        with pytest.raises(BadCall):
            reader(named)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"fallbacks": [{"model": "b"}, {"model": "c", "max_tokens": 9}]}, ["b", "c"]),
        ({"fallbacks": "default"}, ["default"]),
        ({"models": ["b", "c"]}, ["b", "c"]),
        ({"tools": [{"type": "advisor_20260301", "model": "b"}, {"type": "image_generation"}]}, ["b"]),
        (
            {"tools": [{"type": "openrouter:fusion", "parameters": {"model": "b", "analysis_models": ["c"]}}]},
            ["b", "c"],
        ),
        ({"plugins": [{"id": "fusion", "model": "b", "analysis_models": ["c"]}]}, ["b", "c"]),
        ({"tools": [{"name": "f", "parameters": {"properties": {"model": {"default": "x"}}}}]}, []),
        ({"messages": [{"model": "x", "models": ["x"]}], "metadata": {"model": "x"}}, []),
        ({"fallbacks": None, "models": {"model": "x"}, "tools": "x", "plugins": [1]}, []),
    ],
)
def test_every_model_that_is_to_run_is_named(said: dict[str, Any], names: list[str]) -> None:
    """Beside the one that is asked for; and twice where it is said twice."""
    text = json.dumps(said)
    assert jsonhead.models(b'{"model":"a",' + text[1:].encode()) == ["a", *names]
    assert jsonhead.models(f"{text[:-1]},{text[1:]}".encode()) == names * 2


def test_replace_follows_paths() -> None:
    """Gemini's nested requests name the model again; other keys of that name do not mean it."""
    paths = frozenset({("model",), ("requests", ANY, "model")})
    body = (
        b'{"requests":[{"model":"models/a","content":{"model":"keep"}},{"model":"models/a"}],"x":[[{"model":"keep"}]]}'
    )
    written = json.loads(replaced(body, paths, lambda old: old + "!"))
    assert [request["model"] for request in written["requests"]] == ["models/a!", "models/a!"]
    assert written["requests"][0]["content"] == {"model": "keep"}
    assert written["x"] == [[{"model": "keep"}]]


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b'{"model":"a","stream":true}', Head("a", True)),
        (b'{"stream":false,"model":"a"}', Head("a", False)),
        (b'{"stream":"true"}', Head(None, False)),
        (b'{"model":["a"]}', Head(None, False)),
        (b'{"model":"a","model":"b"}', Head("b", False)),
        (rb'{"mod\u0065l":"\u00e9"}', Head("é", False)),
        (b'\xef\xbb\xbf{"model":"a"}', Head("a", False)),
    ],
)
def test_read(body: bytes, head: Head) -> None:
    """The last of duplicates, as most readers take it."""
    assert jsonhead.read(body) == head
    assert jsonhead.read(memoryview(body)) == head


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"model"', b'{"model":"a"', b'{"model":"a"} x', b"{'model':'a'}", b'{"model":"a",}', b"[" * 100_000,
     b'{"a":' * 100_000, b"\x00", b"NaN", b'{"model":"\\ud800"}'],
)  # fmt: skip
def test_malformed_bodies_are_told(body: bytes) -> None:
    """As the client's mistake, whatever they are; for an API of which nothing is known they name no model."""
    with pytest.raises(BadCall):
        jsonhead.required(body)
    assert jsonhead.tolerant(body).model is None


def test_large_body() -> None:
    """A name behind 20 MB of messages is found and replaced."""
    body = b'{"messages":[{"content":"' + b"x" * 20_000_000 + b'"}],"model":"a"}'
    assert jsonhead.read(body) == Head("a", False)
    assert replaced(body, TOP, lambda _: "b")[-15:] == b'"}],"model":"b"}'[-15:]


@pytest.mark.parametrize("blanks", [b"", b" \t\r\n" * 16, b" " * 100_000, b"\xef\xbb\xbf" + b"\n" * 64])
def test_an_object_is_known_behind_any_white_space(blanks: bytes) -> None:
    """All of it is JSON, and who serves the call reads it as such."""
    body = blanks + b'{"model": "m"}'
    assert jsonhead.looks_like_json(body)
    assert jsonhead.looks_like_json(memoryview(body))
    assert jsonhead.optional(body).model == "m"
    assert not jsonhead.looks_like_json(blanks)
    assert not jsonhead.looks_like_json(blanks + b"[]")
