"""Reads the parts of a form (multipart/form-data, RFC 7578) and replaces its `model`: calls about sounds and images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from sidecar.providers.dialect import Body, Pieces
from sidecar.providers.jsonhead import Head

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:[^\r\n]*?[;\s]name=(?:"([^"\r\n]*)"|([^\s;]+))', re.IGNORECASE)
_FILE_NAME = re.compile(rb"content-disposition:[^\r\n]*?[;\s]filename\*?=", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LONGEST_HEAD = 4096
_LONGEST_FIELD = 4096  # a longer value is a file, not a name


def is_form(content_type: str) -> bool:
    return content_type.lower().lstrip().startswith("multipart/form-data")


def read(content_type: str, body: Body) -> Head:
    """`model` and `stream` among the fields; nothing where the form cannot be read."""
    fields = {name: bytes(body[start:end]) for name, start, end in _fields(content_type, body)}
    model = fields.get(b"model", b"").decode("utf-8", "replace")
    return Head(model or None, fields.get(b"stream", b"").lower() == b"true")


def models(content_type: str, body: Body) -> Iterator[str]:
    """What any reader may take for the model's name: readers differ in how they read a field's head, and in which of
    two they take. So every short field counts whose head has the word in it."""
    for opening, closing in _marks(content_type, body):
        head = _HEAD_END.search(body, opening, closing)
        if head and closing - head.end() <= _LONGEST_FIELD and b"model" in bytes(body[opening : head.start()]).lower():
            yield bytes(body[head.end() : closing]).decode("utf-8", "replace")


def replace(content_type: str, body: Body, model: str) -> Pieces:
    """The body with another value in each field `model`."""
    whole, pieces, done = memoryview(body), list[Body](), 0
    for name, start, end in _fields(content_type, body):
        if name == b"model":
            pieces += [whole[done:start], model.encode()]
            done = end
    return [*pieces, whole[done:]]


class Part(NamedTuple):
    """A field or a file by its name, and where its value begins and ends."""

    name: bytes
    is_file: bool
    start: int
    stop: int

    @property
    def is_short(self) -> bool:
        return self.stop - self.start <= _LONGEST_FIELD


def parts(content_type: str, body: Body) -> Iterator[Part]:
    """Those that have a name; none where the form cannot be read."""
    for opening, closing in _marks(content_type, body):
        head = _HEAD_END.search(body, opening, min(closing, opening + _LONGEST_HEAD))
        name = _NAME.search(body, opening, head.start()) if head else None
        if head and name:
            is_file = _FILE_NAME.search(body, opening, head.start()) is not None
            yield Part(name.group(1) or name.group(2) or b"", is_file, head.end(), closing)


def _fields(content_type: str, body: Body) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of each short field."""
    return ((part.name, part.start, part.stop) for part in parts(content_type, body) if part.is_short)


def _marks(content_type: str, body: Body) -> Iterator[tuple[int, int]]:
    """Begin and end of each part, with its head."""
    found = _BOUNDARY.search(content_type)
    if not found:
        return
    mark = re.escape(b"--" + (found.group(1) or found.group(2)).encode("utf-8", "surrogateescape"))
    # A pattern that begins with a literal is found ten times as fast: the line end before it is looked at only there.
    marks = [
        (found.start() - before, found.end())
        for found in re.finditer(mark + rb"(?=--|[ \t]*\r?\n)", body)
        if (before := _line_end(bytes(body[max(0, found.start() - 2) : found.start()]))) is not None
    ]
    yield from ((end, begin) for (_, end), (begin, _) in pairwise(marks))


def _line_end(before: bytes) -> int | None:
    """How many bytes the end of the line before takes; None where no line ends there."""
    if before == b"\r\n":
        return 2
    return None if before and before[-1:] != b"\n" else len(before[-1:])
