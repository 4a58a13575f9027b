"""Reads a 2xx answer while it passes: the one Reader, told each dialect's grammar as data.

How long an answer is held back: an event stream until its first event that shows something (an error behind an empty
beginning may then still go to another key), a JSON body until its end, everything else not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from sidecar.model.configured import Provider
from sidecar.model.outcomes import BLOCKED, BROKEN, HOLLOW, OK, Outcome
from sidecar.model.words import Usage
from sidecar.providers import refusals, tails
from sidecar.providers.dialect import HEAD_BYTES, Answer
from sidecar.providers.objects import Objects
from sidecar.providers.sse import Blocks, Event
from sidecar.providers.usage import Tally

_WORDS = (b"error", b'"type"', b"lock", b'"meta"', b"done", b"finishReason")
_LAST_EVENTS = frozenset({
    "message_stop", "response.completed", "response.incomplete", "response.failed", "interaction.completed",
})  # fmt: skip
_MAY_BE_NULL = (b"finish_reason", b"usage")
_BLANK = b" \t\r\n\xef\xbb\xbf"
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_SURE_STARTS = (b"data: {", b"data:{", b"event:", b": ")  # where it may be any text: a transcript, somebody's YAML


class Look(NamedTuple):
    """What one event says.

    `shows` False: an empty beginning; `hollow`: an end, or a whole answer, without content, for no reason that another
    key would meet too; `error`: what is wrong, in the provider's own shape; with `hollow`, if no content came before.
    """

    shows: bool = True
    finishes: bool = False
    blocks: bool = False
    hollow: bool = False
    error: object = None


SHOWS = Look()
EMPTY = Look(shows=False)


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an event of this dialect means.

    `ends`: a stream is known to have a last word
    (`[DONE]`, `message_stop`, a finish reason), without which it was cut; `speaks`: an empty stream is no answer;
    `costs`: the usage in it is this call's.
    """

    look: Callable[[str, Mapping[str, Any]], Look]
    ends: bool
    speaks: bool = True
    costs: bool = True


class _Whole:
    """A JSON body as one event, if it is no longer than HEAD_BYTES; of a longer one only the tail is kept."""

    ended = True
    unclear = False

    def __init__(self) -> None:
        self.held = b""
        self.oversized = False

    @property
    def pending(self) -> int:
        """All of it, where it may be an error: that is not to be shown before it is whole."""
        return len(self.held) if not self.oversized and b"error" in self.held else 0

    def feed(self, data: bytes) -> list[bytes]:
        self.held += data
        if len(self.held) > HEAD_BYTES or self.oversized:
            self.oversized = True
            self.held = self.held[-tails.TAIL_BYTES :]
        return []

    @property
    def ends_well(self) -> bool:
        """Of a long one nothing but its last byte tells that it was not cut."""
        return self.held.rstrip()[-1:] == b"}"

    def close(self) -> list[bytes]:
        if self.oversized:
            return [b"{%s}" % told] if (told := tails.usage(self.held)) else []
        return [self.held] if self.held.strip() else []

    def events(self, block: bytes) -> list[Event]:
        return [Event("", block.removeprefix(b"\xef\xbb\xbf"))]


_Framer = Blocks | Objects | _Whole


def _is_plain(blocks: bytes) -> bool:
    """Whether each of them is nothing but one line of data that holds an object."""
    return blocks.startswith(b"data: {") and blocks.count(b"\n") == 2 * blocks.count(b"\n\ndata: {")


def _tells(blocks: bytes) -> bool:
    """Whether plain events of a shown answer may tell usage, an error, a block or the end. A false hit costs a parse.

    Substrings, not a pattern: this is looked at for every event of every stream, and a search costs ten times as much.
    """
    for word in _WORDS:
        if word in blocks:
            return True
    for name in _MAY_BE_NULL:
        named = blocks.count(name)
        if named and named > blocks.count(name + b'":null') + blocks.count(name + b'": null'):
            return True
    return False


class AnswerReader:
    """The `Reader` of every dialect."""

    def __init__(self, grammar: Grammar, content_type: str) -> None:
        self.first: Literal["waiting", "event", "error"] = "waiting"
        self.opening = self.failing = b""
        self.wants_content = self.said_last = False
        self._grammar = grammar
        self._kind = _kind(content_type)
        self._framer: _Framer | None = None
        self._start = b""
        self._tally = Tally()
        self._error: object = None
        self.blocked = self._blocked = self._finished = self._broken = self._closed = self._has_content = False
        self._unreadable = False
        if self._kind == "opaque":
            self.first = "event"

    @property
    def usage(self) -> Usage | None:
        return self._tally.usage

    @property
    def complete(self) -> bool:
        if self._broken or (self._framer is not None and not self._framer.ended):
            return False
        if not (isinstance(self._framer, Blocks) and self._grammar.ends):
            return True
        return self._finished or self._framer.unclear or self._error is not None

    @property
    def has_said(self) -> bool:
        if self._framer is None or self._framer.unclear or self._unreadable:
            return False
        if isinstance(self._framer, _Whole) and self._framer.oversized:
            return self._framer.ends_well
        return self._has_content

    @property
    def is_stream(self) -> bool:
        if self._framer is None:
            return self._kind in {"events", "lines"}
        return not isinstance(self._framer, _Whole)

    @property
    def pending(self) -> int:
        return len(self._start) if self._framer is None else self._framer.pending

    def last(self, event: bytes, error: bytes) -> bytes:
        match self._framer:
            case Blocks():
                return self._framer.last(event)
            case Objects():
                return self._framer.last(error)
        return {"events": event, "lines": error + b"\n"}.get(self._kind, b"") if self._framer is None else b""

    def feed(self, data: bytes) -> None:
        if self._kind == "opaque" or not data:
            return
        if self._framer is None:
            self._begin(data)
            return
        if isinstance(self._framer, Blocks):
            self._skim(self._until_shown(self._framer.feed(data)))
        else:
            for block in self._framer.feed(data):
                self._block(block)
        if self._framer.oversized:
            self._show()

    def _begin(self, data: bytes) -> None:
        """Chooses how to cut by the first bytes that mean something: content types are not always true."""
        self._start = (self._start + data).lstrip(b" \t\r\n")
        meaning = self._start.lstrip(_BLANK)
        if len(meaning) < 8 and self._kind != "events" and meaning[:1] not in {b"{", b"["}:
            return
        self._framer = _framer(self._kind, meaning)
        data, self._start = self._start, b""
        if self._framer is None:
            self._kind = "opaque"
            self._show()
        else:
            self.feed(data)

    def _until_shown(self, blocks: bytes) -> bytes:
        """Reads them one by one while the answer is held back; returns those behind the first that shows something."""
        read = 0
        for block in blocks.split(b"\n\n") if self.first != "event" else ():
            self._block(block)
            read += len(block) + 2
            if self.first == "event":
                break
        return blocks[read:]

    def _skim(self, blocks: bytes, plain: bool = False) -> None:
        """Finds those that may tell something by halves: of many that come together few do, and at the end."""
        plain = plain or _is_plain(blocks)
        if not blocks or (plain and not _tells(blocks)):
            return
        middle = len(blocks) // 2
        cut = blocks.find(b"\n\n", middle)
        if cut < 0:
            cut = blocks.rfind(b"\n\n", 0, middle + 1)
        if cut < 0:
            self._block(blocks)
        else:
            self._skim(blocks[:cut], plain)
            self._skim(blocks[cut + 2 :], plain)

    def _block(self, block: bytes) -> None:
        if self._framer is not None:
            for event in self._framer.events(block):
                self._event(event)

    def _event(self, event: Event) -> None:
        data = event.data.strip()
        if data == b"[DONE]":
            self._finished = self.said_last = True
            return
        self.said_last |= event.name in _LAST_EVENTS
        value = _json(data)
        if value is None:
            self._unread(event.name, data)
            return
        if self._grammar.costs:
            self._tally.see(value)
        look = self._grammar.look(event.name, value)
        self._blocked |= look.blocks
        self._finished |= look.finishes
        self._has_content |= look.shows and not look.hollow
        if look.error is not None and not (look.hollow and self._has_content):
            self._fail(look.error, data)
        elif look.shows and (self._has_content or look.blocks or not self.wants_content):
            self._show(data)

    def _unread(self, name: str, data: bytes) -> None:
        """An event that is no JSON object: a text, a number, or, as the last one, one that was cut off."""
        self._unreadable = True
        if self._closed and data[:1] in {b"{", b"["} and not isinstance(self._framer, _Whole):
            self._broken = True
        elif name == "error":
            self._fail({"message": data.decode("utf-8", "replace")}, data)
        elif data:
            self._has_content = True
            self._show(data)

    def _fail(self, error: object, data: bytes) -> None:
        if self._error is None:
            self._error, self.failing = error, data[:HEAD_BYTES]
        if self.first == "waiting":
            self.first = "error"

    def _show(self, opening: bytes = b"") -> None:
        if self.first == "waiting":
            self.first, self.opening, self.blocked = "event", opening, self._blocked

    def close(self) -> None:
        self._closed = True
        if self._framer is None and self._start:
            self._framer = _framer(self._kind, self._start.lstrip(_BLANK))
            data, self._start = self._start, b""
            self.feed(data)
        for block in self._framer.close() if self._framer else []:
            self._block(block)
        if self.first == "waiting":
            self.first = "error" if self._said_nothing or self._lacks_content else "event"

    @property
    def _said_nothing(self) -> bool:
        """Whether a stream ended without an event that shows something, an error, or its last word."""
        stream = self._kind == "events" and not isinstance(self._framer, _Whole)
        return stream and self._grammar.speaks and not self._finished

    @property
    def _lacks_content(self) -> bool:
        """Whether it was read to its end, content was wanted, and there was none, nor a reason for that."""
        read = self._closed and self._framer is not None and not self._framer.oversized
        return self.wants_content and read and not (self._has_content or self._blocked or self._error is not None)

    def outcome(self, provider: Provider, answer: Answer) -> Outcome:
        if self._error is not None:
            return refusals.of_error(provider, answer, self._error)
        if self._blocked:
            return BLOCKED
        if self.complete and self._lacks_content:
            return HOLLOW
        if self._closed and (self.first == "error" or not self.complete):
            return BROKEN
        return OK


@lru_cache(maxsize=64)
def _kind(content_type: str) -> Literal["events", "lines", "json", "guess", "opaque"]:
    media = content_type.partition(";")[0].strip().lower()
    if media == "text/event-stream":
        return "events"
    if any(word in media for word in ("ndjson", "jsonl", "json-seq", "jsonlines")):
        return "lines"
    if "json" in media:
        return "json"
    return "guess" if media in {"", "text/plain"} else "opaque"


def _framer(kind: str, start: bytes) -> _Framer | None:
    """None where the body is nothing to read."""
    if start.startswith(_SURE_STARTS if kind == "guess" else _SSE_STARTS):
        return Blocks()
    if kind == "guess" and start[:1] == b"[" and start[1:].lstrip()[:1] != b"{":
        return None
    if kind == "events":
        return Objects() if start[:1] == b"[" else Blocks()
    if kind == "lines" or start[:1] == b"[":
        return Objects()
    return _Whole() if kind == "json" or start[:1] == b"{" else None


def _json(data: bytes) -> dict[str, Any] | None:
    """An object, also where Google wraps it into an array."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else None
