"""Compression undone piece by piece: a body packed a thousandfold is never in memory unpacked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

PIECE = 64 * 1024  # bytes at most at once, however well they were packed
PLAIN = frozenset({"", "identity"})
READABLE = frozenset({"gzip", "x-gzip", "deflate"})


class Inflate:
    """One body by its `Content-Encoding`."""

    def __init__(self, coding: str) -> None:
        coding = coding.strip().lower()
        self._plain = coding in PLAIN
        self._decoder: Any = None
        self.broken = not self._plain and coding not in READABLE  # or cannot be read: nothing comes any more

    @property
    def whole(self) -> bool:
        """Whether what has come can be all of it."""
        return not self.broken and (self._decoder is None or self._decoder.eof)

    def __call__(self, data: bytes) -> Iterator[bytes]:
        """What these further bytes were before they were packed."""
        if self._plain:
            yield data
            return
        full = False  # a full piece may have left output behind without input
        while (data or full) and not self.broken:
            if data and (self._decoder is None or self._decoder.eof):  # gzip: one member may follow another
                self._decoder = zlib.decompressobj(_window(data[0]))
            try:
                plain = self._decoder.decompress(data, PIECE)
            except zlib.error:
                self.broken = True
                return
            data = self._decoder.unconsumed_tail or self._decoder.unused_data
            full = len(plain) == PIECE
            if plain:
                yield plain


def _window(first: int) -> int:
    """How to read a body by its first byte: `deflate` is sent with zlib's frame, as it should be, and without."""
    framed = first == 0x1F or first & 0x0F == zlib.DEFLATED
    return zlib.MAX_WBITS | 32 if framed else -zlib.MAX_WBITS


def unpacked(coding: str, data: bytes, most: int) -> tuple[bytes, bool]:
    """The beginning of a body without its compression, at most so many bytes, and whether that is all of it."""
    inflate = Inflate(coding)
    plain = bytearray()
    for piece in inflate(data):
        plain += piece
        if len(plain) > most:
            return bytes(plain[:most]), False
    return bytes(plain), inflate.whole
