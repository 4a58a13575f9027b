"""Reads and replaces the model's name in a JSON body without building the rest, and without touching another byte.

msgspec judges the whole body and skips what is not asked for (gigabytes a second); the scanner, needed only where a
name must change, walks strings and brackets alone and so tells a top-level key from one in a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from sidecar.providers.dialect import BadCall, Body

Path = tuple[str, ...]  # keys from the root down; ANY stands for the items of an array
ANY = "*"
_BOM = b"\xef\xbb\xbf"
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rb"(" + _STRING + rb")(\s*:)?|[{}\[\]]", re.DOTALL)
_VALUE = re.compile(rb"\s*(" + _STRING + rb")", re.DOTALL)


class _Members(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"")
    stream: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Members)


@dataclass(frozen=True, slots=True)
class Head:
    """What a body says at its top: `model` None where it has none or one that is no string (then `odd`)."""

    model: str | None
    stream: bool
    odd: bool = field(default=False, compare=False)


def looks_like_json(body: Body) -> bool:
    """Whether the first byte that is no white space opens an object."""
    return bytes(body[:64]).removeprefix(_BOM).lstrip()[:1] == b"{"


def read(body: Body) -> Head:
    """The top-level `model` and `stream` of an object; the last of duplicates. Raises BadCall for malformed JSON."""
    text = body[len(_BOM) :] if bytes(body[:3]) == _BOM else body
    try:
        members = _decoder.decode(text)
        model = _string(members.model)
        odd = model is None and bytes(members.model) not in {b"", b"null"}
        return Head(model, bytes(members.stream) == b"true", odd)
    except msgspec.ValidationError:
        raise BadCall("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"The body is no JSON: {error}.") from None
    except RecursionError:
        raise BadCall("The body is nested too deeply.") from None


def _string(raw: msgspec.Raw) -> str | None:
    text = bytes(raw)
    return msgspec.json.decode(text, type=str) if text[:1] == b'"' else None


def required(body: Body) -> Head:
    """As `read`, for a call that cannot do without a model. Raises BadCall where it is missing, empty or no string."""
    head = read(body)
    if not head.model:
        raise BadCall('The body must name a model: "model": "<name>".')
    return head


def optional(body: Body, content_type: str = "") -> Head:
    """As `read`, for a call that may have no model, and no JSON either.

    Raises BadCall where it says that it is JSON and is not, or where its model is no string.
    """
    said = "json" in content_type.lower() and len(body) > 0
    head = read(body) if said or looks_like_json(body) else Head(None, False)
    if head.odd:
        raise BadCall('"model" must be a string.')
    return head


def tolerant(body: Body) -> Head:
    """As `read`, for an API of which nothing is known: what cannot be read names no model."""
    try:
        return optional(body)
    except BadCall:
        return Head(None, False)


def replace(body: Body, paths: frozenset[Path], new: Callable[[str], str]) -> bytes:
    """The body with each string at one of the paths replaced; duplicates too: readers differ in which one they take.

    Raises BadCall for a string that is none: `read` skips over what it is not asked for.
    """
    pieces: list[Body] = []
    end = 0
    for start, stop in _spans(body, paths):
        try:
            old = msgspec.json.decode(bytes(body[start:stop]), type=str)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadCall(f"The body is no JSON: {error}.") from None
        pieces += [body[end:start], msgspec.json.encode(new(old))]
        end = stop
    return b"".join([*pieces, body[end:]])


def _spans(body: Body, paths: frozenset[Path]) -> Iterator[tuple[int, int]]:
    """Where the string values at these paths begin and end, quotes included. The body is well-formed JSON."""
    lasts = {path[-1] for path in paths}
    where: list[str] = []
    for token in _TOKEN.finditer(body):
        text, colon = token.group(1), token.group(2)
        if text is None:
            bracket = token.group()
            if bracket in b"{[":
                where.append(ANY if bracket == b"[" else "")
            elif where:
                where.pop()
        elif colon and where:
            where[-1] = key = _key(text)
            value = _VALUE.match(body, token.end()) if key in lasts and tuple(where) in paths else None
            if value:
                yield value.span(1)


def _key(text: bytes) -> str:
    if b"\\" in text:
        try:
            return msgspec.json.decode(text, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""  # no key that is looked for
    return text[1:-1].decode("utf-8", "replace")
