"""Server-sent events (WHATWG HTML, section 9.2) out of bytes cut anywhere.

Blocks are cut as they pass; their lines are read only where somebody asks.

Also what providers send in between: Gemini writes an error into its stream as bare JSON over several lines, which
the grammar would drop.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from sidecar.providers import tails

COMMENT = b": waiting\n\n"
BLOCK_BYTES = 4 * 1024 * 1024  # of a longer event only both ends are read
_BOM = b"\xef\xbb\xbf"
_LINE_END = rb"(?:\r\n|\n|\r(?!\n))"
_BLANK_LINE = re.compile(_LINE_END + _LINE_END)
_FIELDS = (b"id", b"retry", b"event", b"data")


class Event(NamedTuple):
    """An event's name ("" for none) and data."""

    name: str
    data: bytes


def event(name: str, value: object) -> bytes:
    """An event that says this as JSON, on one line."""
    return (b"event: %s\n" % name.encode() if name else b"") + b"data: " + orjson.dumps(value) + b"\n\n"


def with_status(error: bytes, status: int) -> dict[str, Any]:
    """An error's JSON body, with its status where a body needs none."""
    value: dict[str, Any] = orjson.loads(error)
    inner = value.get("error")
    return value | ({"error": inner | {"status": status}} if isinstance(inner, dict) else {"status": status})


def without(blocks: bytes, unwanted: Callable[[bytes], bool]) -> bytes:
    """Whole blocks as they came, but for those whose one line of data nobody wants."""
    kept, begin = [], 0
    for end in [found.end() for found in _BLANK_LINE.finditer(blocks)] or [len(blocks)]:
        block, begin = blocks[begin:end], end
        data = block.strip().removeprefix(b"data:")
        if not (data[:1] in b" {" and unwanted(data.strip())):
            kept.append(block)
    return b"".join(kept) + blocks[begin:]


class Blocks:
    """Cuts the bytes at blank lines, whichever of CRLF, LF and CR end them."""

    ended = True  # every end is one: the grammar has no last word

    def __init__(self) -> None:
        self.held = b""
        self.pending = 0  # how many of the last bytes, as they came, belong to a block that is not complete
        self._after_cr = False
        self.oversized = False  # whether a block was too long to be kept
        self.unclear = False  # whether such a block may have been the last, for all that is known of it
        self._skipping = False
        self._head = b""  # of the block that is skipped

    def feed(self, data: bytes) -> bytes:
        """The blocks that are complete with these bytes: their lines ended by LF, a blank one between two of them."""
        known = max(len(self.held) - 1, 0)
        held = self.held + self._lines(data)
        cut = held.rfind(b"\n\n", known)
        if cut < 0:
            self.pending += len(data)
            self._hold(held)
            return b""
        self.pending = _behind(b"\n" * self.held.endswith(b"\n") + data) if b"\r" in data else len(held) - cut - 2
        self.held = held[cut + 2 :]
        text = held[:cut]
        if self._skipping:
            self._skipping = False
            tail, between, rest = text.partition(b"\n\n")
            told = self._told(tail)
            self.unclear &= not rest
            return told + between + rest if told else rest
        self.unclear &= not text  # another came behind it: it was not the last
        return text

    def _lines(self, data: bytes) -> bytes:
        if self._after_cr and data[:1] == b"\n":
            data, self._after_cr = data[1:], False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._after_cr = self._after_cr and not data
        return data

    def _hold(self, held: bytes) -> None:
        if not self._skipping and len(held) > BLOCK_BYTES:
            self._skipping = self.oversized = True
            self._head = held[: tails.HEAD_BYTES]
        if self._skipping:
            self.pending, held = 0, held[-tails.TAIL_BYTES :]
        self.held = held

    def _told(self, tail: bytes) -> bytes:
        """A block in place of the one that was skipped."""
        told = tails.event(self._head, tail)
        self.unclear |= not told.startswith((b"event:", b'data: {"candidates"'))
        return told

    def last(self, event: bytes) -> bytes:
        """What to say behind the blocks that were complete; nothing, where a part of one too long was shown."""
        return b"" if self._skipping else event

    def close(self) -> list[bytes]:
        """What was still held, as if a blank line followed."""
        held, self.held = self.held, b""
        if self._skipping:
            held = self._told(held) if held.rstrip().endswith(b"}") else b""
        return [held] if held.strip() else []

    def events(self, block: bytes) -> list[Event]:
        """The events of one block: mostly one, none for a comment; bare text comes as an event of its own."""
        if block.startswith(b"data: {") and b"\n" not in block:
            return [Event("", block[6:])]
        name, data, bare = "", [], []
        for line in block.removeprefix(_BOM).split(b"\n"):
            field, _, text = line.partition(b":")
            text = text.removeprefix(b" ")
            if field == b"data":
                data.append(text)
            elif field == b"event":
                name = text.decode("utf-8", "replace")
            elif field and field not in _FIELDS:
                bare.append(line)
        events = [Event(name, b"\n".join(data))] if data else []
        return [*events, Event("", b"\n".join(bare))] if bare else events


def _behind(data: bytes) -> int:
    """How many bytes follow the last blank line, whichever signs end it and the line before."""
    at = max(data.rfind(ends) for ends in (b"\n\n", b"\n\r", b"\r\r")) + 2
    return len(data) - at - (data[at - 1 : at + 1] == b"\r\n")
