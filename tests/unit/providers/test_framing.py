"""Event streams and streams of JSON objects are cut into events wherever the network cuts them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers.objects import Objects
from sidecar.providers.sse import BLOCK_BYTES, Blocks, Event, without
from sidecar.providers.tails import TAIL_BYTES

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [b"data: a", b"data:a", b"data", b"data:  b", b": note", b":", b"event: error", b"id: 1", b"retry: 5",
     b"data: caf\xc3\xa9 \xf0\x9f\x98\x80", b"data: x: y", b"", b"", b""]
)  # fmt: skip


def events(pieces: list[bytes]) -> list[Event]:
    """What is read of a whole stream."""
    blocks = Blocks()
    found = [event for piece in pieces for block in blocks.feed(piece).split(b"\n\n") for event in blocks.events(block)]
    return found + [event for block in blocks.close() for event in blocks.events(block)]


def expected(lines: list[bytes]) -> list[Event]:
    """The grammar, line by line: the slow and plain reader that the quick one must agree with."""
    found, data, name = [], list[bytes](), ""
    for line in [*lines, b""]:
        field, _, text = line.partition(b":")
        if line == b"":
            found += [Event(name, b"\n".join(data))] if data else []
            data, name = [], ""
        elif field == b"data":
            data.append(text.removeprefix(b" "))
        elif field == b"event":
            name = text.removeprefix(b" ").decode()
    return found


@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.booleans(), st.data())
def test_events_do_not_depend_on_line_ends_and_cuts(
    lines: list[tuple[bytes, bytes]], bom: bool, data: st.DataObject
) -> None:
    """CRLF, LF and CR mixed, a BOM, cuts inside characters and between CR and LF."""
    # A CR before an LF is one line end, so that an LF line end right behind a CR one would be another line.
    text = b"".join(line + (b"\r\n" if end == b"\r" else end) for line, end in lines)
    text = (b"\xef\xbb\xbf" if bom else b"") + text
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert events(pieces) == expected([line for line, _ in lines])


def test_lone_cr_ends_lines() -> None:
    """As the grammar allows, and nobody sends on purpose."""
    assert events([b"data: a\r\rdata: b\r", b"\rdata: c\r", b"\n\r\ndata: d"]) == [
        Event("", b"a"), Event("", b"b"), Event("", b"c"), Event("", b"d"),
    ]  # fmt: skip


def test_bare_json_between_events_is_an_event() -> None:
    """Gemini breaks off with one, over several lines; also right behind an event."""
    text = b'data: {"a":1}\n{\n  "error": {\n    "code": 503\n  }\n}\n'
    first, second = events([text[:20], text[20:]])
    assert first == Event("", b'{"a":1}')
    assert json.loads(second.data) == {"error": {"code": 503}}


def test_endless_event_is_let_go() -> None:
    """Its bytes are not kept, and the next event is read."""
    blocks = Blocks()
    piece = b"x" * 65_536
    assert blocks.feed(b"data: ") == b""
    for _ in range(BLOCK_BYTES // len(piece) + 2):
        assert blocks.feed(piece) == b""
    assert blocks.oversized
    assert len(blocks.held) <= TAIL_BYTES
    assert blocks.feed(b"\n\ndata: next\n\n") == b"data: next"


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", "}{", "]["]),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=4), one, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), max_size=5),
    st.sampled_from(["array", "lines"]),
    st.sampled_from([None, 2]),
    st.data(),
)
def test_objects_do_not_depend_on_cuts(
    values: list[dict[str, object]], shape: str, indent: int | None, data: st.DataObject
) -> None:
    """In one array or as JSON lines, with brackets and quotes in strings."""
    texts = [json.dumps(value, indent=indent) for value in values]
    text = ("[" + "\r\n,\r\n".join(texts) + "]\r\n" if shape == "array" else "\n".join(texts)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    objects = Objects()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += objects.feed(text[begin:end])
    assert [json.loads(one) for one in found] == values
    assert objects.close() == []
    assert objects.ended


def test_array_that_is_not_closed_has_not_ended() -> None:
    """Whether it is cut between two objects or inside one."""
    between, inside = Objects(), Objects()
    assert between.feed(b'[{"a":1},') == [b'{"a":1}']
    assert inside.feed(b'[{"a":"') == []
    assert not between.ended
    assert not inside.ended
    assert inside.close() == [b'{"a":"']


@given(st.lists(LINES), st.lists(ENDS), st.data())
def test_what_is_pending_is_what_follows_the_last_blank_line(
    lines: list[bytes], ends: list[bytes], at: st.DataObject
) -> None:
    """So that what is shown ends with whole blocks, whichever signs end lines, and wherever they are cut."""
    whole = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    blocks, cut = Blocks(), 0
    while cut < len(whole):
        size = at.draw(st.integers(1, 7))
        blocks.feed(whole[cut : cut + size])
        cut = min(cut + size, len(whole))
        shown = whole[: cut - blocks.pending]
        assert events([shown, b"\n\n"]) == events([shown])
        assert events([shown, b"data: last\n\n"]) == [*events([shown]), Event("", b"last")]
        assert [event for block in blocks.events(blocks.held) for event in [block]] == events(
            [whole[cut - blocks.pending : cut]]
        )


def test_unwanted_blocks_are_taken_out_and_the_others_stay_as_they_came() -> None:
    kept = [b": note\r\n\r\n", b"event: x\ndata: {1}\n\n", b"data:{2}\r\r", b"data: {1\n\n", b"data: {2}"]
    said = kept[0] + b"data: {1}\n\n" + kept[1] + b"data:{1}\r\n\r\n" + b"".join(kept[2:])
    assert without(said, lambda data: data == b"{1}") == b"".join(kept)
