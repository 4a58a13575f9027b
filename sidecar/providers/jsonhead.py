"""Reads and replaces the model's name in a JSON body without building the rest, and without touching another byte.

msgspec judges the whole body, skips what is not asked for (gigabytes a second), and says how long it is: so a name that
must change is found among the keys of its own object alone, however many messages stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field

import msgspec

from sidecar.providers.dialect import BadCall, Body, Pieces

Path = tuple[str, ...]  # keys from the root down; ANY stands for the items of an array
ANY = "*"
_BOM = b"\xef\xbb\xbf"
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_START = re.compile(rb"(?:" + _BOM + rb")?\s*")
_GAP = re.compile(rb"[\s,]*")
_KEY = re.compile(rb"[\s,]*(" + _STRING + rb")\s*:\s*", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[^\s,\]}]*", re.DOTALL)
_OBJECT, _QUOTE, _CONTAINERS = ord("{"), ord('"'), frozenset(b"{[")
_SLICE = 1024 * 1024


class _Members(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"")
    stream: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Members)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Head:
    """What a body says at its top: `model` None where it has none or one that is no string (then `odd`)."""

    model: str | None
    stream: bool
    odd: bool = field(default=False, compare=False)


def without_bom(body: Body) -> Body:
    """What a decoder takes: some writers begin with a byte order mark."""
    return body[len(_BOM) :] if bytes(body[:3]) == _BOM else body


def looks_like_json(body: Body) -> bool:
    """Whether the first byte that is no white space opens an object."""
    return bytes(body[:64]).removeprefix(_BOM).lstrip()[:1] == b"{"


def read(body: Body) -> Head:
    """The top-level `model` and `stream` of an object; the last of duplicates. Raises BadCall for malformed JSON."""
    try:
        members = _decoder.decode(without_bom(body))
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


def models(body: Body) -> list[str]:
    """Each string that stands as `model` at the top of an object: readers of duplicates differ in which one they take.

    Raises BadCall for malformed JSON.
    """
    whole = memoryview(body)
    try:
        spans = _spans(whole, _begin(body), len(body), frozenset({("model",)}))
        return [msgspec.json.decode(whole[start:stop], type=str) for start, stop in spans]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"The body is no JSON: {error}.") from None


def replace(body: Body, paths: frozenset[Path], new: Callable[[str], str]) -> Pieces:
    """The body with each string at one of the paths replaced; duplicates too: readers differ in which one they take.

    Raises BadCall for a string, or a key beside it, that is none: `read` skips over what it is not asked for.
    """
    whole, pieces, end = memoryview(body), list[Body](), 0
    try:
        for start, stop in _spans(whole, _begin(body), len(body), paths):
            old = msgspec.json.decode(whole[start:stop], type=str)
            pieces += [whole[end:start], msgspec.json.encode(new(old))]
            end = stop
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"The body is no JSON: {error}.") from None
    return [*pieces, whole[end:]]


def _begin(body: Body) -> int:
    found = _START.match(body)
    return found.end() if found else 0


def _spans(body: memoryview, begin: int, end: int, paths: Set[Path]) -> Iterator[tuple[int, int]]:
    """Where the strings at these paths of an object or array begin and end, quotes included. It is well-formed."""
    inside = _members(body, begin, end) if body[begin] == _OBJECT else _items(body, begin, end)
    for key, start, stop in inside:
        below = {path[1:] for path in paths if path[0] == key}
        if () in below and body[start] == _QUOTE:
            yield start, stop
        below.discard(())
        if below and body[start] in _CONTAINERS:
            yield from _spans(body, start, stop, below)


def _members(body: memoryview, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Each key of an object, with where its value begins and ends.

    How long a value is says msgspec, except of a duplicate, which it has forgotten.
    """
    values = _object.decode(body[begin:end])
    at = begin + 1
    while found := _KEY.match(body, at):
        key, start = _key(found.group(1)), found.end()
        raw = memoryview(values.get(key, b""))
        if body[start] not in _CONTAINERS:
            found = _SCALAR.match(body, start)
            assert found is not None
            at = found.end()
        elif raw and _same(raw, body[start : start + len(raw)]):
            at = start + len(raw)
        else:
            at = _closing(body, start)
        yield key, start, at


def _items(body: memoryview, begin: int, end: int) -> Iterator[tuple[str, int, int]]:
    at = begin + 1
    for raw in _array.decode(body[begin:end]):
        found = _GAP.match(body, at)
        assert found is not None
        at = found.end() + len(memoryview(raw))
        yield ANY, found.end(), at


def _same(one: memoryview, other: memoryview) -> bool:
    """In slices: a view is compared item by item, bytes at once."""
    if len(one) != len(other):
        return False
    return all(bytes(one[at : at + _SLICE]) == bytes(other[at : at + _SLICE]) for at in range(0, len(one), _SLICE))


def _closing(body: memoryview, start: int) -> int:
    """Behind the bracket that closes the one at `start`: strings and brackets are walked one by one."""
    depth = 0
    for token in _TOKEN.finditer(body, start):
        bracket = token.group()
        depth += bracket in (b"{", b"[")
        depth -= bracket in (b"}", b"]")
        if not depth:
            return token.end()
    return len(body)


def _key(text: bytes) -> str:
    if b"\\" in text:
        try:
            return msgspec.json.decode(text, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""  # no key that is looked for
    return text[1:-1].decode("utf-8", "replace")
