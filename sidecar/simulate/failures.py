"""Everything a provider says when it does not serve, in the bodies that providers really send, and faults to order.

Sources: recorded answers of OpenAI, Anthropic and Google (SDK test suites, issue threads), and their error references.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Literal

import orjson

from sidecar.simulate.answers import Answer, Call, Data, Dialect, sse
from sidecar.simulate.ledger import SECOND_NS, Arrival, Violation, matches

SECRET = "{secret}"  # noqa: S105 - stands for the key's secret in a fault's body and headers
DAY_S = 86_400


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

    # how it is sent
    close: Literal["", "before", "middle"] = ""  # the connection, before a byte or after half of the body
    hang: bool = False  # nothing is sent before `release`
    headers_s: float = 0  # seconds before the status line
    first_byte_s: float = 0  # seconds between the headers and the body
    chunk_s: float = 0  # seconds between two chunks of a stream

    def __post_init__(self) -> None:
        if self.at not in {"answer", "first", "middle"} or self.close not in {"", "before", "middle"}:
            raise ValueError(
                f"at={self.at!r}, close={self.close!r}: at is answer, first or middle; close before or middle"
            )

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
        return _google(
            403,
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API.",
        )
    if dialect == "gemini-openai":
        return _google(400, "Missing or invalid Authorization header.", array=True)
    if dialect == "anthropic":
        return _anthropic(401, "x-api-key header is required")
    return _openai(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        "https://platform.openai.com/account/api-keys.",
        code=None,
    )


def multiple(dialect: Dialect) -> Answer:
    """More than one credential came: Google's answer since April 2026, here to every dialect."""
    return _google(
        400, "Multiple authentication credentials received. Please pass only one.", array=dialect == "gemini-openai"
    )


def invalid(dialect: Dialect, secret: str) -> Answer:
    """A key that the provider does not know, or knows as dead. OpenAI's shows the key's ends, stars between."""
    if dialect in {"gemini", "gemini-openai"}:
        text = "API key not valid. Please pass a valid API key."
        service = {"service": "generativelanguage.googleapis.com"}
        reason = _detail("ErrorInfo", reason="API_KEY_INVALID", domain="googleapis.com", metadata=service)
        details = [reason, _detail("LocalizedMessage", locale="en-US", message=text)]
        return _google(400, text, details, array=dialect == "gemini-openai")
    if dialect == "anthropic":
        return _anthropic(401, "invalid x-api-key", {"x-should-retry": "false"})
    shown = f"{secret[:4]}{'*' * (len(secret) - 8)}{secret[-4:]}" if len(secret) > 12 else "*" * len(secret)
    return _openai(
        401,
        f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


# --- budgets ----------------------------------------------------------------------------------------


def limited(call: Call, violation: Violation, now: datetime) -> Answer:
    """An account is over its budget. The wait is exact, in the body or the headers as the dialect does it."""
    wait_s = violation.retry_ns / SECOND_NS
    if call.dialect in {"gemini", "gemini-openai"}:
        return _google_limited(call, violation, wait_s)
    if call.dialect == "anthropic":
        return _anthropic_limited(violation, wait_s, now)
    if call.dialect == "openai":
        return _openai_limited(call, violation, wait_s)
    return _json(429, {"error": "too many requests"}, {"Retry-After": str(math.ceil(wait_s))})


def _daily(violation: Violation) -> bool:
    return violation.budget.window_s >= DAY_S


def _google_limited(call: Call, violation: Violation, wait_s: float) -> Answer:
    """With QuotaFailure, Help and RetryInfo, as the free tier sends it; it names a model where the budget does."""
    maximum, _, pattern = violation.budget
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    span, per_model = "Day" if _daily(violation) else "Minute", "PerModel" if pattern else ""
    quota = {
        "quotaMetric": metric,
        "quotaId": f"GenerateRequestsPer{span}PerProject{per_model}-FreeTier",
        "quotaDimensions": {"location": "global"} | ({"model": call.model} if pattern else {}),
        "quotaValue": str(maximum),
    }
    link = "https://ai.google.dev/gemini-api/docs/rate-limits"
    text = (
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        f"error, head to: {link}.\n* Quota exceeded for metric: {metric}, limit: {maximum}\n"
        f"Please retry in {wait_s:.9f}s."
    )
    details = [
        _detail("QuotaFailure", violations=[quota]),
        _detail("Help", links=[{"description": "Learn more about Gemini API quotas", "url": link}]),
        _detail("RetryInfo", retryDelay=f"{math.ceil(wait_s)}s"),
    ]
    return _google(429, text, details, array=call.dialect == "gemini-openai")


def _anthropic_limited(violation: Violation, wait_s: float, now: datetime) -> Answer:
    """The delay is in the headers alone."""
    maximum = violation.budget.max
    span = "day" if _daily(violation) else "minute"
    reset = (now + timedelta(seconds=math.ceil(wait_s))).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {
        "retry-after": str(math.ceil(wait_s)),
        "anthropic-ratelimit-requests-limit": str(maximum),
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": reset,
    }
    text = (
        f"This request would exceed the rate limit for your organization ({_organization(violation)}) of {maximum:,} "
        f"requests per {span}. For details, refer to: https://docs.anthropic.com/en/api/rate-limits."
    )
    return _anthropic(429, text, headers)


def _openai_limited(call: Call, violation: Violation, wait_s: float) -> Answer:
    maximum = violation.budget.max
    span = "day (RPD)" if _daily(violation) else "min (RPM)"
    headers = {
        "retry-after": str(math.ceil(wait_s)),
        "retry-after-ms": str(math.ceil(wait_s * 1000)),
        "x-ratelimit-limit-requests": str(maximum),
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": duration(wait_s),
    }
    text = (
        f"Rate limit reached for {call.model} in organization org-{_organization(violation)} on requests per {span}: "
        f"Limit {maximum}, Used {maximum}, Requested 1. Please try again in {duration(wait_s)}. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    return _openai(429, text, "requests", "rate_limit_exceeded", headers)


def _organization(violation: Violation) -> str:
    """A name for the account that is no secret, as the account of a key on its own would be."""
    return hashlib.sha256(violation.arrival.account.encode()).hexdigest()[:24]


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
        return _google(status, text, array=dialect == "gemini-openai")
    if family == "anthropic":
        return _anthropic(status, text)
    if family == "openai":
        kind = _OPENAI_TYPE.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return _openai(status, text, kind, _OPENAI_CODE.get(status))
    return _json(status, {"error": text})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def _json(status: int, data: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, (orjson.dumps(data),), {"Content-Type": "application/json", **(headers or {})})


def _openai(
    status: int,
    text: str,
    kind: str = "invalid_request_error",
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    return _json(status, {"error": {"message": text, "type": kind, "param": None, "code": code}}, headers)


def _anthropic(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    kind = _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")
    error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_simulated"}
    return _json(status, error, headers)


def _google(status: int, text: str, details: Sequence[Data] = (), *, array: bool = False) -> Answer:
    """Google's error; in an array on its OpenAI-compatible paths, where it comes as one."""
    name = _GOOGLE.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    error = {"error": {"code": status, "message": text, "status": name} | ({"details": details} if details else {})}
    return _json(status, [error] if array else error)


def _detail(kind: str, **fields: object) -> Data:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}"} | fields
