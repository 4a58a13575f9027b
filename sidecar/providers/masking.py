"""Calls the model in an answer as its caller did, in bytes cut anywhere, and touches nothing else.

| where | at | source |
| --- | --- | --- |
| OpenAI: chat, embeddings, every chunk | `model` | its API reference |
| OpenAI: responses and their events | `model`, `response.model` | likewise |
| Anthropic: a message; the first event of a stream | `model`, `message.model` | likewise |
| Gemini: every answer, also in an array | `modelVersion` | likewise |
| Gemini: an interaction; its first and its last event | `model`, `interaction.model` | google-genai 3.4, `_gaos` |

A JSON text is walked token by token and nothing of it is held back: where a string begins that is to change, the new
one is written and the old one dropped as it comes. What is none, no text or no string, stays as it is.
"""

from __future__ import annotations

import re

import msgspec

_PATHS = frozenset({
    ("model",), ("response", "model"), ("message", "model"), ("interaction", "model"), ("modelVersion",),
})  # fmt: skip
_HOLDERS = frozenset({path[:-1] for path in _PATHS if len(path) > 1})
_LONGEST_KEY = 32  # bytes; a longer one is none of these

_MEDIA = ("json", "event-stream", "text/plain")
_IN_STRING = re.compile(rb'["\\]')
_MARK = re.compile(rb'["{}\[\]:,]')
_BELOW = re.compile(rb'["{}\[\]]')
_LINE_END = re.compile(rb"[\r\n]")
_DATA = b"data:"


def mask(model: str, content_type: str) -> Mask | None:
    """What an answer of this type passes through; None: it has no model to call by any name."""
    media = content_type.partition(";")[0].strip().lower()
    return Mask(model) if not media or any(word in media for word in _MEDIA) else None


class Mask:
    """One answer on its way: events, or one JSON text, as its first byte tells."""

    def __init__(self, model: str) -> None:
        self._new = msgspec.json.encode(model)
        self._text = _Text(self._new)
        self._is_text: bool | None = None  # not known yet
        self._line = b""  # as much of a line as tells whether it is data
        self._in_data = False
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """The same bytes, but for the model's name."""
        if self._is_text is None:
            begins = data.lstrip(b" \t\r\n\xef\xbb\xbf")
            if not begins:
                return data
            self._is_text = begins[:1] in {b"{", b"["}
        return self._text.feed(data) if self._is_text else self._events(data)

    def _events(self, data: bytes) -> bytes:
        """Line by line: the data of an event may span several, and a blank one ends it."""
        out, at = bytearray(), 0
        while at < len(data):
            found = _LINE_END.search(data, at)
            end = found.start() if found else len(data)
            if end > at:
                out += self._piece(data[at:end])
                self._after_cr = False
            if found:
                out += found.group()
                self._end_line(found.group())
            at = end + 1
        return bytes(out)

    def _piece(self, piece: bytes) -> bytes:
        """Of a line, or of what has come of it."""
        if self._in_data:
            return self._text.feed(piece)
        missing = len(_DATA) - len(self._line)
        self._line += piece[:missing]
        self._in_data = self._line == _DATA
        return piece[:missing] + (self._text.feed(piece[missing:]) if self._in_data else piece[missing:])

    def _end_line(self, mark: bytes) -> None:
        ends_cr = mark == b"\n" and self._after_cr
        if not (self._line or ends_cr):
            self._text = _Text(self._new)
        self._line, self._in_data, self._after_cr = b"", False, mark == b"\r"


class _Text:
    """A JSON text, or several one behind another, walked as it comes."""

    def __init__(self, new: bytes) -> None:
        self._new = new
        self._names: list[str] = []  # of each open object on the way to a model: the key that it stands at
        self._below = 0  # containers that are open below those
        self._expects_key = False
        self._string = ""  # what the open string is: a `key`, one to `pass`, one to `drop`; "": none is open
        self._escaped = False  # whether its next byte is only a part of it
        self._key = b""

    def feed(self, data: bytes) -> bytes:
        """The same text with the new name in the place of the old."""
        out, at, written = bytearray(), 0, 0
        while at < len(data):
            if self._string:
                kind, begun, at = self._string, at, self._through(data, at)
                if kind == "key":
                    self._key = (self._key + data[begun:at])[:_LONGEST_KEY]
                elif kind == "drop":
                    written = at
                continue
            found = (_BELOW if self._below else _MARK).search(data, at)
            if found is None:
                break
            at = found.end()
            if self._meets(found.group()):
                out += data[written : at - 1] + self._new
                written = at
        return bytes(out) + data[written:]

    def _through(self, data: bytes, at: int) -> int:
        """Where the open string ends, or the data does in it."""
        while at < len(data):
            if self._escaped:
                self._escaped, at = False, at + 1
                continue
            found = _IN_STRING.search(data, at)
            if found is None:
                return len(data)
            at = found.end()
            if found.group() == b'"':
                self._string = ""
                return at
            self._escaped = True
        return at

    def _meets(self, mark: bytes) -> bool:
        """Takes a mark outside of strings in; whether a string begins with it that is to be another."""
        if mark == b'"':
            self._string = self._begins()
        elif mark in {b"{", b"["}:
            self._open(mark == b"{")
        elif mark in {b"}", b"]"}:
            self._close()
        elif mark == b":":
            self._names[-1:] = [self._key.removesuffix(b'"').decode("utf-8", "replace")] if self._names else []
            self._expects_key = False
        else:
            self._expects_key = bool(self._names)
        return self._string == "drop"

    def _begins(self) -> str:
        if self._below or not self._names:
            return "pass"
        if self._expects_key:
            self._key = b""
            return "key"
        return "drop" if tuple(self._names) in _PATHS else "pass"

    def _open(self, is_object: bool) -> None:
        if not self._below and is_object and (not self._names or tuple(self._names) in _HOLDERS):
            self._names.append("")
            self._expects_key = True
        elif self._names:  # an array around all is none
            self._below += 1

    def _close(self) -> None:
        if self._below:
            self._below -= 1
        elif self._names:
            self._names.pop()
            self._expects_key = False
