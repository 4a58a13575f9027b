"""Everything a provider says when it does not serve, in the bodies that providers really send, and faults to order.

Sources: recorded answers of OpenAI, Anthropic and Google (SDK test suites, issue threads), and their error references.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal

import orjson

from sidecar.simulate.answers import Answer, sse
from sidecar.simulate.calls import Call, Data, Dialect
from sidecar.simulate.ledger import Arrival, matches
from sidecar.simulate.tokens import Cost

SECRET = "{secret}"  # noqa: S105 - stands for the key's secret in a fault's body and headers


@dataclass(kw_only=True)
class Fault:
    """What goes wrong, for whom, how often. The parts combine: a slow, gzipped 500 that leaks the secret is one fault.

    Without `status`, `body`, `dead` or `close` the healthy answer is sent, with what else is said here.
    """

    # for whom
    key: str = ""  # a secret; "": any
    model: str = ""  # a name or a pattern with `*`; "": any
    path: str = ""  # how the path begins; "": any
    times: int | None = None  # the next so many matching requests; None: until it is removed

    # what is answered
    status: int | None = None
    body: Any = None  # JSON, or a str sent as it is; None: the dialect's own for the status. `{secret}` is filled in
    headers: Mapping[str, str] = field(default_factory=dict)  # added to whatever is answered; `{secret}` is filled in
    dead: bool = False  # the dialect's answer to a key that is not valid
    at: Literal["answer", "first", "middle"] = "answer"  # a stream's first event or after half of them, instead of HTTP
    gzip: bool = False
    tokens: Mapping[str, int] = field(default_factory=dict)  # parts of `tokens.Cost` that the call costs instead

    # how it is sent
    close: Literal["", "before", "middle"] = ""  # the connection, before a byte or after half of the body
    hang: bool = False  # nothing is sent before `release`
    hold: bool = False  # half of the body is sent, the other half not before `release`
    headers_s: float = 0  # seconds before the status line
    first_byte_s: float = 0  # seconds between the headers and the body
    chunk_s: float = 0  # seconds between two chunks of a stream

    def __post_init__(self) -> None:
        if self.at not in {"answer", "first", "middle"} or self.close not in {"", "before", "middle"}:
            raise ValueError(
                f"at={self.at!r}, close={self.close!r}: at is answer, first or middle; close before or middle"
            )
        if unknown := set(self.tokens) - set(Cost._fields):
            raise ValueError(f"tokens={self.tokens!r}: {sorted(unknown)} is none of {', '.join(Cost._fields)}")

    def concerns(self, arrival: Arrival) -> bool:
        """Whether this request is one that it is meant for."""
        return (
            self.times != 0
            and self.key in {"", arrival.key}
            and matches(self.model, arrival.model)
            and arrival.path.startswith(self.path)
        )

    def spoil(self, call: Call, secret: str, healthy: Answer) -> Answer:
        """The answer that is sent instead of the healthy one."""
        spoilt = self._answer(call, secret, healthy)
        added = {name: text.replace(SECRET, secret) for name, text in self.headers.items()}
        names = {name.lower() for name in added}
        kept = {name: text for name, text in spoilt.headers.items() if name.lower() not in names}
        spoilt = replace(spoilt, headers=kept | added)
        return gzipped(spoilt) if self.gzip else spoilt

    def _answer(self, call: Call, secret: str, healthy: Answer) -> Answer:
        if self.dead:
            wrong = invalid(call.dialect, secret)
        elif self.body is not None:
            wrong = _written(self.status or 200, self.body, secret)
        elif self.status is not None:
            wrong = failed(call.dialect, self.status)
        else:
            return healthy
        return wrong if self.at == "answer" or not healthy.stream else _inside(call, healthy, wrong, self.at)


def _written(status: int, body: object, secret: str) -> Answer:
    text = body if isinstance(body, str) else orjson.dumps(body).decode()
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    return Answer(status, (text.replace(SECRET, secret).encode(),), {"Content-Type": kind})


def _inside(call: Call, healthy: Answer, wrong: Answer, at: str) -> Answer:
    """The healthy stream, broken off by the error: OpenAI still says [DONE], Google's array still closes."""
    shown = 0 if at == "first" else len(healthy.chunks) // 2
    error = b"".join(wrong.chunks)
    end: tuple[bytes, ...] = ()
    if call.dialect == "gemini" and "json" in healthy.headers["Content-Type"]:
        error, end = (b"\n,\r\n" if shown else b"[") + error, (b"\n]",)
    elif call.dialect == "gemini":
        error += b"\n"  # as recorded: no event of the stream, but JSON between them
    elif call.operation == "responses":
        error = sse(_response_error(error, shown), "error")
    else:
        error = (b"event: error\n" if call.dialect == "anthropic" else b"") + b"data: " + error + b"\n\n"
        end = (b"data: [DONE]\n\n",) if call.dialect != "anthropic" else ()
    return replace(healthy, chunks=(*healthy.chunks[:shown], error, *end))


def _response_error(body: bytes, number: int) -> dict[str, Any]:
    """OpenAI's responses stream flattens the error into the event."""
    data = orjson.loads(body)
    error = (
        data["error"] if isinstance(data, dict) and isinstance(data.get("error"), dict) else {"message": body.decode()}
    )
    told = {name: error.get(name) for name in ("code", "message", "param")}
    return {"type": "error", "sequence_number": number} | told


def gzipped(answer: Answer) -> Answer:
    """Compressed so that each chunk can be read as soon as it is there."""
    packer = zlib.compressobj(wbits=31)
    chunks = [packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH) for chunk in answer.chunks]
    return replace(answer, chunks=(*chunks, packer.flush()), headers={**answer.headers, "Content-Encoding": "gzip"})


# --- credentials ------------------------------------------------------------------------------------


def missing(dialect: Dialect) -> Answer:
    """No credential came."""
    if dialect == "gemini":
        return google_error(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )
    if dialect == "gemini-openai":
        return google_error(400, "Missing or invalid Authorization header.", array=True)
    if dialect == "anthropic":
        return anthropic_error(401, "x-api-key header is required")
    return openai_error(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        "https://platform.openai.com/account/api-keys.",
        code=None,
    )


def multiple(dialect: Dialect) -> Answer:
    """More than one credential came: Google's answer since April 2026, here to every dialect."""
    return google_error(
        400, "Multiple authentication credentials received. Please pass only one.", array=dialect == "gemini-openai"
    )


def invalid(dialect: Dialect, secret: str) -> Answer:
    """A key that the provider does not know, or knows as dead. OpenAI's shows the key's ends, stars between."""
    if dialect in {"gemini", "gemini-openai"}:
        text = "API key not valid. Please pass a valid API key."
        service = {"service": "generativelanguage.googleapis.com"}
        reason = detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com", metadata=service)
        details = [reason, detail("LocalizedMessage", locale="en-US", message=text)]
        return google_error(400, text, details, array=dialect == "gemini-openai")
    if dialect == "anthropic":
        return anthropic_error(401, "invalid x-api-key", {"x-should-retry": "false"})
    shown = f"{secret[:4]}{'*' * (len(secret) - 8)}{secret[-4:]}" if len(secret) > 12 else "*" * len(secret)
    return openai_error(
        401,
        f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def throttled(dialect: Dialect) -> Answer:
    """What an egress address hears that asks too much: no account, no quota, no delay.

    As recorded of DeepSeek, Anthropic (anthropics/claude-code#71634), Google and, for plain paths, NVIDIA.
    """
    if dialect in {"gemini", "gemini-openai"}:
        return failed(dialect, 429)
    if dialect == "anthropic":
        return anthropic_error(429, "Rate limited")
    if dialect == "openai":
        return openai_error(429, "Rate Limit Reached", "rate_limit_reached_error", "rate_limit_reached_error")
    return json_answer(429, {"status": 429, "title": "Too Many Requests"})


# --- everything else --------------------------------------------------------------------------------

_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_OPENAI_CODE = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_OPENAI_TYPE = {429: "requests"}
_TEXT: dict[tuple[str, int], str] = {
    ("openai", 404): "The requested model does not exist or you do not have access to it.",
    ("openai", 500): "The server had an error processing your request. Sorry about that!",
    ("openai", 503): "The engine is currently overloaded, please try again later.",
    ("anthropic", 403): "Your API key does not have permission to use the specified resource.",
    ("anthropic", 500): "Internal server error",
    ("anthropic", 529): "Overloaded",
    ("gemini", 403): "The caller does not have permission",
    ("gemini", 429): "Resource has been exhausted (e.g. check quota).",
    (
        "gemini",
        500,
    ): "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    ("gemini", 503): "The model is overloaded. Please try again later.",
}


def failed(dialect: Dialect, status: int, text: str = "") -> Answer:
    """The dialect's own body for a status, in `text` or the provider's usual words; none below 400."""
    if status < 400:
        return Answer(status, (b"",))
    family = "gemini" if dialect == "gemini-openai" else dialect
    text = text or _TEXT.get((family, status)) or _phrase(status)
    if family == "gemini":
        return google_error(status, text, array=dialect == "gemini-openai")
    if family == "anthropic":
        return anthropic_error(status, text)
    if family == "openai":
        kind = _OPENAI_TYPE.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return openai_error(status, text, kind, _OPENAI_CODE.get(status))
    return json_answer(status, {"error": text})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def json_answer(status: int, data: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, (orjson.dumps(data),), {"Content-Type": "application/json", **(headers or {})})


def openai_error(
    status: int,
    text: str,
    kind: str = "invalid_request_error",
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    return json_answer(status, {"error": {"message": text, "type": kind, "param": None, "code": code}}, headers)


def anthropic_error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
    error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_simulated"}
    return json_answer(status, error, headers)


def google_error(status: int, text: str, details: Sequence[Data] = (), *, array: bool = False) -> Answer:
    """Google's error; in an array on its OpenAI-compatible paths, where it comes as one."""
    name = _GOOGLE.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    error = {"error": {"code": status, "message": text, "status": name} | ({"details": details} if details else {})}
    return json_answer(status, [error] if array else error)


def detail(kind: str, **fields: object) -> Data:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}"} | fields


def duration(seconds: float) -> str:
    """As OpenAI writes one, rounded up to a millisecond: `174ms`, `8.64s`, `6m0s`, `1h0m0.5s`."""
    millis = math.ceil(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms"
    minutes, millis = divmod(millis, 60_000)
    text = f"{millis / 1000:g}s"
    if not minutes:
        return text
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}"
