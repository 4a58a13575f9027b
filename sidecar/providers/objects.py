"""JSON objects one after another, out of bytes cut anywhere: Gemini's streams in one array, and JSON lines."""

from __future__ import annotations

import re

from sidecar.providers import tails
from sidecar.providers.sse import BLOCK_BYTES, Event

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(")?|[{}\[\]]', re.DOTALL)


class Objects:
    """Cuts the bytes into the outermost objects; what stands between them passes. From one on that is too long to be
    kept, all that is read is the usage at the very end."""

    unclear = False

    def __init__(self) -> None:
        self.held = b""
        self._scanned = 0  # in held
        self._open = 0  # brackets of the object at hand
        self._begin = 0  # of that object in held
        self._array = False
        self._whole = 0  # objects so far
        self._behind = 0  # bytes that came after the last of them
        self.oversized = False
        self.ended = True  # whether the array that was opened was closed

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that are complete with these bytes."""
        self.held += data
        if self.oversized:
            self._keep_tail()
            return []
        self._behind += len(data)
        found = self._scan()
        done = self._begin if self._open else self._scanned
        self.held, self._scanned, self._begin = self.held[done:], self._scanned - done, 0
        if len(self.held) > BLOCK_BYTES:
            self.oversized = True
            self._keep_tail()
        return found

    def _keep_tail(self) -> None:
        self.held = self.held[-tails.TAIL_BYTES :]
        self.ended = not self._array or self.held.rstrip().endswith(b"]")

    def _scan(self) -> list[bytes]:
        found = []
        end = len(self.held)
        for token in _TOKEN.finditer(self.held, self._scanned):
            text = token.group()
            if text[:1] == b'"':
                if token.group(1) is None:
                    end = token.start()
                    break
            elif text in b"{[":
                self._opened(text, token.start())
            elif self._closed():
                found.append(self.held[self._begin : token.end()])
                self._whole, self._behind = self._whole + 1, len(self.held) - token.end()
        self._scanned = end
        return [text for text in found if text[:1] == b"{"]

    def _opened(self, bracket: bytes, at: int) -> None:
        if not self._open and bracket == b"[" and not self._array:
            self._array, self.ended = True, False
            return
        if not self._open:
            self._begin = at
        self._open += 1

    def _closed(self) -> bool:
        """Whether this bracket ends an outermost object, rather than an inner one or the array."""
        if not self._open:
            self.ended = True
            return False
        self._open -= 1
        return not self._open

    @property
    def pending(self) -> int:
        """How many of the last bytes nobody can use yet: of an object in part, in an array those before it too."""
        if self.oversized or (self._array and self.ended):
            return 0
        return self._behind if self._array else len(self.held) if self._open else 0

    def last(self, error: bytes) -> bytes:
        """What makes an error the last object of what came whole, without what is pending."""
        if self.oversized or (self._array and self.ended):
            return b""
        if self._array:
            return (b"," if self._whole else b"[") + error + b"]"
        return (b"" if self._behind or not self._whole else b"\n") + error + b"\n"

    def close(self) -> list[bytes]:
        """An object that was cut off, for the reader to find it broken."""
        held, self.held = self.held, b""
        if self.oversized:
            return [b"{%s}" % told] if (told := tails.usage(held)) else []
        return [held] if self._open else []

    def events(self, block: bytes) -> list[Event]:
        return [Event("", block)]
