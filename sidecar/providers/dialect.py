"""What every dialect can do: the one type through which the data plane speaks OpenAI, Anthropic, Gemini or plain HTTP.

Everything here is pure. A dialect keeps no state; a `Reader` keeps that of one answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sidecar.model.configured import Provider
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Usage
from sidecar.providers.edits import NOTHING, Edits

Body = bytes | memoryview  # a memoryview where a large body lies in a mapped file
Pieces = Sequence[Body]  # a body in which a name was replaced: what stands around it is not copied

HEAD_BYTES = 64 * 1024  # as much of a 2xx body is held back while its outcome is open
ERROR_BYTES = 1024 * 1024  # as much of any other body is read before it is classified


class BadCall(Exception):
    """The client's request cannot be read; the text says what to mend. Answered with 400 in its dialect."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a call asks for.

    `model` is None where the call has none and needs none. `retry_safe`: executing it twice does no
    harm, so that a 5xx or a timeout after it was sent may go to another key.
    """

    model: str | None
    stream: bool
    retry_safe: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What classification sees: header names in lower case, the beginning of the body without its compression."""

    status: int
    headers: Mapping[str, str]
    head: bytes
    now_s: float  # seconds since 1970, where the answer has no `Date`


class Reader(Protocol):
    """Reads one 2xx answer while its bytes pass: is it final, and what did it cost?

    Fed with decompressed bytes cut anywhere, it never keeps more than one event and `HEAD_BYTES`.
    """

    @property
    def first(self) -> Literal["waiting", "event", "error"]:
        """Whether the answer may be shown: `event` once it has said something that is no error.

        Comments, pings, blank lines and empty beginnings leave it `waiting`.
        """

    wants_content: bool
    """Whether an answer is held back until it has content, and one that ends without any is the provider's failure.

    Set before the answer is read. What was blocked, or cut by the call's own limit, is no such answer.
    """

    @property
    def opening(self) -> bytes:
        """The event by which `first` became `event`, as it came; b"" of a body that is too long or not read."""

    @property
    def blocked(self) -> bool:
        """Whether that event, or one before it, says that the provider will not answer."""

    @property
    def failing(self) -> bytes:
        """The beginning of the first event that says an error, at most HEAD_BYTES of it; b"" where none does."""

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes as events, or as objects one after another, rather than as one whole."""

    @property
    def pending(self) -> int:
        """How many of the last bytes are not to be shown yet: of an event in part, or of what may be an error."""

    @property
    def usage(self) -> Usage | None:
        """The latest usage told so far."""

    def last(self, event: bytes, error: bytes) -> bytes:
        """What to write behind all but the pending bytes so that an error is the last that the answer says.

        `event`: the error as an event of a stream, `error`: as JSON. b"" where the answer leaves no place for it.
        """

    def feed(self, data: bytes) -> None: ...

    def close(self) -> None:
        """The body has ended: what was still held is read as if a blank line followed."""

    def outcome(self, provider: Provider, answer: Answer) -> Outcome:
        """What the answer came to as far as it was read; an error after output counts, though nothing is retried."""

    @property
    def has_said(self) -> bool:
        """Whether all of it could be read, and there is content in it; asked after `close`."""

    said_last: bool
    """Whether it has said that nothing follows, by an event that means just that: a finish reason does not."""

    @property
    def complete(self) -> bool:
        """Whether the answer ended as its dialect says, so far as that can be told before `close`.

        False for one cut in the middle, whose client must not see a clean end.
        """


class Dialect(Protocol):
    """One API's grammar. `operation` is the path below the dialect's own prefix, without leading slash or query:
    `chat/completions`, `messages/count_tokens`, `models/gemini-2.0-flash:generateContent`.
    """

    @property
    def name(self) -> str: ...

    def read_call(self, method: str, operation: str, content_type: str, body: Body) -> Reading:
        """What the call asks for.

        Raises BadCall for malformed JSON, or a missing or non-string model, where a model is needed.
        """

    def rewrite(
        self, operation: str, content_type: str, body: Body, model: str, also: Edits = NOTHING
    ) -> tuple[str, Pieces]:
        """The operation and the body with another model name; every other byte stays as it was.

        `also`: what else is to be done to a body of JSON.
        """

    def ask_usage(self, operation: str, body: Body) -> Pieces | None:
        """The body of a streaming call so that its stream tells what it cost.

        None where that needs no asking, or was asked for: then what tells it is the client's.
        """

    def without_usage(self, events: bytes) -> bytes:
        """These whole events without those that are there only because usage was asked for."""

    def classify(self, provider: Provider, answer: Answer) -> Outcome:
        """What an answer that is no 2xx came to; of a 2xx, whose head is its opening, what its pool says of it."""

    def knows(self, operation: str) -> bool:
        """Whether that is plainly an operation of this API, whoever serves it and whatever its path begins with."""

    def reader(self, method: str, operation: str, content_type: str) -> Reader:
        """A reader for a 2xx answer of this content type."""

    def write_error(self, status: int, code: str, message: str) -> bytes:
        """The JSON body of one of the sidecar's own errors."""

    def write_error_event(self, operation: str, status: int, error: bytes) -> bytes:
        """The same as an event of a stream that has begun, in which alone its status is told.

        `error`: an error's JSON body, the sidecar's own or the provider's.
        """

    def write_sign(self, operation: str, query: str) -> bytes:
        """What tells the client of a stream that its request lives, and its SDK nothing.

        b"" where its streams have no place for it. `query`: raw, of the call.
        """

    def write_models(self, names: tuple[str, ...]) -> bytes:
        """The JSON body that lists what can be asked for."""
