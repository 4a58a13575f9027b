"""Things that accounts made, each found by its own account alone, and what is read and written around them."""

from __future__ import annotations

import email
import email.policy
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from sidecar.simulate.answers import Answer
from sidecar.simulate.calls import Call, Data


class Absent(Exception):
    """There is no such thing, or another account made it: who asks cannot tell."""

    def __init__(self, thing: str) -> None:
        super().__init__(thing)
        self.thing = thing


@dataclass(slots=True)
class Thing:
    """One thing, as its provider tells of it, with what was uploaded."""

    account: str
    data: Data
    content: bytes = b""


@dataclass(slots=True)
class Shelves:
    """All things of one provider, by id."""

    things: dict[str, Thing] = field(default_factory=dict)

    def put(self, account: str, thing: str, data: Data, content: bytes = b"") -> Thing:
        """Keeps it."""
        self.things[thing] = Thing(account, data, content)
        return self.things[thing]

    def get(self, account: str, thing: str) -> Thing:
        """Raises Absent."""
        found = self.things.get(thing)
        if found is None or found.account != account:
            raise Absent(thing)
        return found

    def drop(self, account: str, thing: str) -> None:
        """Raises Absent."""
        self.get(account, thing)
        del self.things[thing]

    def of(self, account: str, beginning: str) -> list[Data]:
        """All of the account whose ids begin so."""
        kept = self.things.items()
        return [one.data for thing, one in kept if one.account == account and thing.startswith(beginning)]

    def check(self, account: str, value: object) -> None:
        """Raises Absent where a body names what another account made: by its id, or by a URL that ends with it."""
        for text in _texts(value):
            thing = text.partition("/v1beta/")[2] or text
            if thing in self.things:
                self.get(account, thing)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def new_id(prefix: str) -> str:
    """As long and as odd as those of providers."""
    return prefix + secrets.token_hex(12)


def json(data: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(200, (orjson.dumps(data),), {"Content-Type": "application/json", **(headers or {})})


def raw(content: bytes, media: str) -> Answer:
    return Answer(200, (content,), {"Content-Type": media})


def header(call: Call, name: str) -> str:
    """Its first value, or ""."""
    return next((text for told, text in call.headers if told.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a form, or a file with its name and type."""

    content: bytes
    filename: str
    media: str


def form(call: Call) -> dict[str, Part]:
    """The parts of a multipart body, by name."""
    head = f"Content-Type: {header(call, 'content-type')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + call.body, policy=email.policy.HTTP)
    parts = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", "", "content-disposition")
        content = part.get_payload(decode=True)
        parts[str(name)] = Part(
            content if isinstance(content, bytes) else b"", part.get_filename() or "", part.get_content_type()
        )
    return parts
