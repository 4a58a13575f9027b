"""Reads the head of a JSON body and changes values in it without building the rest, and without touching another byte.

msgspec judges the whole body, skips what is not asked for (gigabytes a second), and says how long it is: so a name that
must change is found among the keys of its own object alone, however many messages stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import msgspec

from sidecar.providers.dialect import BadCall, Body, Pieces
from sidecar.providers.edits import ANY, Added, Edits, Path

_BOM = b"\xef\xbb\xbf"
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_START = re.compile(rb"(?:" + _BOM + rb")?\s*")
_GAP = re.compile(rb"[\s,]*")
_KEY = re.compile(rb"[\s,]*(" + _STRING + rb")\s*:\s*", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[^\s,\]}]*", re.DOTALL)
_OBJECT, _QUOTE, _CONTAINERS = ord("{"), ord('"'), frozenset(b"{[")
_SLICE = 1024 * 1024
# A pair of surrogates, then half of one, then any other escape: what stands behind an escaped backslash is none.
_ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)
_LARGEST_MENDED = 16 * 1024 * 1024
# The model that is asked for; what stands in for it: Anthropic's `fallbacks`, a list or a word by which it chooses
# (anthropic 2.12, beta_fallbacks_param.py), OpenRouter's `models` (docs/guides/routing/model-fallbacks); and what its
# tools ask: Anthropic's advisor, OpenAI's image_generation, OpenRouter's fusion (docs/guides/features/server-tools).
_RUN: tuple[Path, ...] = (
    ("model",), ("fallbacks",), ("models", ANY), ("tools", ANY, "model"), ("plugins", ANY, "model"),
    ("plugins", ANY, "analysis_models", ANY), ("tools", ANY, "parameters", "model"),
    ("tools", ANY, "parameters", "analysis_models", ANY),
)  # fmt: skip
_T = TypeVar("_T")


class _Members(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"")
    stream: msgspec.Raw = msgspec.Raw(b"")


_decoder = msgspec.json.Decoder(_Members)
_OPENS = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+\{")
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
    """Whether the first byte that is no white space (RFC 8259, 2), however much there is, opens an object."""
    return _OPENS.match(body) is not None


def read(body: Body) -> Head:
    """The top-level `model` and `stream` of an object; the last of duplicates. Raises BadCall for malformed JSON."""
    try:
        members = lenient(_decoder.decode, without_bom(body))
        model = _string(members.model)
        odd = model is None and bytes(members.model) not in {b"", b"null"}
        return Head(model, bytes(members.stream) == b"true", odd)
    except msgspec.ValidationError:
        raise BadCall("The body must be a JSON object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"The body is no JSON: {error}.") from None
    except RecursionError:
        raise BadCall("The body is nested too deeply.") from None


def lenient(decode: Callable[[Body], _T], body: Body) -> _T:
    """What `decode` makes of the body, or of one of the same length with U+FFFD for each half of a surrogate pair.

    Python and JavaScript write such halves of a text that was cut within an emoji. RFC 8259, 8.2 allows them, and
    providers take them.
    """
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _ESCAPE.sub(_mend, bytes(body)) if len(body) <= _LARGEST_MENDED else body
        if mended == body:
            raise
        return decode(mended)


def _mend(found: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if found[1] else found[0]


def _string(raw: msgspec.Raw) -> str | None:
    text = bytes(raw)
    return _name(text) if text[:1] == b'"' else None


def _name(text: bytes) -> str:
    """Raises BadCall for one that may be half a text: nobody could tell which it names."""
    name = msgspec.json.decode(text, type=str)
    if "\ufffd" in name:
        raise BadCall('"model" must be text.')
    return name


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
    """Each model that an object asks to be run, by itself or beside another, of duplicates all: readers differ in which
    one they take. Raises BadCall for malformed JSON.
    """
    found = list[str]()

    def note(value: bytes) -> bytes:
        if value[:1] == b'"':
            found.append(_name(value))
        elif value[:1] == b"[":
            edit(value, Edits({(ANY, "model"): note}))
        return value

    edit(body, Edits(dict.fromkeys(_RUN, note)))
    return found


def replace(body: Body, paths: frozenset[Path], new: Callable[[str], str]) -> Pieces:
    """The body with each string at one of the paths replaced; duplicates too: readers differ in which one they take.

    Raises BadCall for a string, or a key beside it, that is none: `read` skips over what it is not asked for.
    """
    return edit(body, Edits().renaming(paths, new))


def edit(body: Body, edits: Edits) -> Pieces:
    """The body as the edits want it; every other byte stays as it was, and is not copied.

    Raises BadCall as `replace` does.
    """
    whole, pieces, end = memoryview(body), list[Body](), 0
    try:
        for cut in lenient(lambda body: sorted(_cuts(memoryview(body), (_begin(body), len(body)), edits)), body):
            pieces += [whole[end : cut.start], cut.text]
            end = cut.stop
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"The body is no JSON: {error}.") from None
    return [*pieces, whole[end:]] if pieces else [body]


class _Cut(NamedTuple):
    """Bytes of the body, and what stands there instead."""

    start: int
    stop: int
    text: bytes


class _Member(NamedTuple):
    """Where the value of a key begins and ends, and where the key does; of an item, which has none, the value."""

    key: str
    key_at: int
    start: int
    stop: int


def _begin(body: Body) -> int:
    found = _START.match(body)
    return found.end() if found else 0


def _cuts(body: memoryview, at: tuple[int, int], edits: Edits) -> Iterator[_Cut]:
    """What is to be cut out of a well-formed object or array, in any order; no two overlap."""
    is_object = body[at[0]] == _OBJECT
    members = list(_members(body, *at) if is_object else _items(body, *at))
    gone = set()
    silent = frozenset[str]().union(*({path[0], *new.unless} for path, new in edits.added.items()))
    for index, (key, _, start, stop) in enumerate(members):
        change = edits.changes.get((key,))
        if change is None:
            if key in silent and bytes(body[start : min(stop, start + 5)]) == b"null":
                gone.add(index)
            elif body[start] in _CONTAINERS:
                below = Edits(_below(edits.changes, key), _below(edits.added, key))
                if below.changes or (below.added and body[start] == _OBJECT):
                    yield from _cuts(body, (start, stop), below)
            continue
        old = bytes(body[start:stop])
        new = change(old)
        if new is None:
            gone.add(index)
        elif new != old:
            yield _Cut(start, stop, new)
    if gone:
        yield from _removals(members, gone)
    if is_object and edits.added:
        known = {member.key for index, member in enumerate(members) if index not in gone}
        text = _text({path: new for path, new in edits.added.items() if known.isdisjoint(new.unless | {path[0]})})
        if text:
            yield _Cut(at[0] + 1, at[0] + 1, text + (b"," if len(gone) < len(members) else b""))


def _below(paths: Mapping[Path, _T], key: str) -> dict[Path, _T]:
    """Those that lead on below a key, from there."""
    return {path[1:]: value for path, value in paths.items() if path[0] == key and len(path) > 1}


def _removals(members: Sequence[_Member], gone: Set[int]) -> Iterator[_Cut]:
    """Each with the comma behind it; the last ones with the comma before them."""
    kept = [index for index in range(len(members)) if index not in gone]
    last = kept[-1] if kept else -1
    for index in gone:
        if index < last:
            yield _Cut(members[index].key_at, members[index + 1].key_at, b"")
    if last < len(members) - 1:
        yield _Cut(members[last].stop if kept else members[0].key_at, members[-1].stop, b"")


def _text(added: Mapping[Path, Added]) -> bytes:
    """The members of an object that nothing is yet known of, without its braces."""
    parts = []
    for key in dict.fromkeys(path[0] for path in added):
        whole = added.get((key,))
        value = whole.text if whole else b"{" + _text(_below(added, key)) + b"}"
        parts.append(msgspec.json.encode(key) + b":" + value)
    return b",".join(parts)


def _members(body: memoryview, begin: int, end: int) -> Iterator[_Member]:
    """Each member of an object.

    How long a value is says msgspec, except of a duplicate, which it has forgotten.
    """
    values = _object.decode(body[begin:end])
    at = begin + 1
    while found := _KEY.match(body, at):
        key, key_at, start = _key(found.group(1)), found.start(1), found.end()
        raw = memoryview(values.get(key, b""))
        if body[start] not in _CONTAINERS:
            found = _SCALAR.match(body, start)
            assert found is not None
            at = found.end()
        elif raw and _same(raw, body[start : start + len(raw)]):
            at = start + len(raw)
        else:
            at = _closing(body, start)
        yield _Member(key, key_at, start, at)


def _items(body: memoryview, begin: int, end: int) -> Iterator[_Member]:
    at = begin + 1
    for raw in _array.decode(body[begin:end]):
        found = _GAP.match(body, at)
        assert found is not None
        at = found.end() + len(memoryview(raw))
        yield _Member(ANY, found.end(), found.end(), at)


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
