"""Which requests ask the same, so that one answer serves them, and what their callers say of that. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from multidict import CIMultiDict

from sidecar.model.configured import Cache, Config, Route
from sidecar.providers import deeds
from sidecar.proxy.call import Call

CANONICAL = 128 * 1024  # bytes of a body up to which neither white space nor the order of its own fields matters: 2 ms
LARGEST = 8 * 1024 * 1024  # bytes of a body up to which it is looked up: 8 ms

# Headers that say who calls, with what, on which way through whose systems and in which trace. By any other an API may
# answer otherwise (`X-Goog-FieldMask` leaves parts of an answer out, a session's id may recall what was said in it, an
# `Idempotency-Key` brings the answer to what was first asked with it) and that is not to be the others' answer: a list
# of those that count would have to know every gateway's.
_OF_THE_CALLER = re.compile(
    r"accept-encoding|cache-control|pragma|user-agent|origin|referer|http-referer|x-title|from|dnt|priority|date|sec-.*"
    r"|x-goog-api-client|x-stainless-.*|x-fern-.*|x-ms-useragent|amz-sdk-.*"
    r"|via|forwarded|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip|x-request-start|cdn-loop|x-envoy-.*"
    r"|cf-(?:ray|connecting-ip|connecting-ipv6|ipcountry|visitor|worker|ew-via)"
    r"|baggage|b3|x-b3-.*|x-datadog-.*|ot-(?:tracer|baggage)-.*|uberctx-.*|jaeger-.*|(?:x-)?newrelic(?:-.*)?"
    r"|x-dynatrace(?:-.*)?|x-dtpc|x-instana-.*|x-honeycomb-trace|x-trace|sw8(?:-.*)?|pinpoint-.*|singularityheader"
    r"|request-context|ms-cv"
)
# The end of a name by which anybody calls a trace, whatever stands before it.
_OF_A_TRACE = (
    *("request-id", "requestid", "correlation-id", "trace-id", "traceid", "span-id", "spanid"),
    *("traceparent", "tracestate", "trace-context", "span-context", "sentry-trace", "grpc-trace-bin"),
)
_ANY_JSON = frozenset({"*/*", "application/json"})
_MAX_AGE = re.compile(r'max-age="?(\d{1,9})"?')


@dataclass(frozen=True, slots=True)
class Use:
    """What of the cache a request may use."""

    policy: Cache
    most: int  # bytes of all answers
    digest: str = ""  # what requests that ask the same have in common
    keeps: bool = True  # False: its caller wants no answer of the cache, and its own kept for nobody
    max_age_s: float = math.inf  # of an answer that its caller takes, and that is kept by now; 0: none


def use(config: Config, call: Call, route: Route, client: str) -> Use | None:
    """None where the config keeps no answers, or none of such calls.

    What may be executed twice may be answered from the cache: nothing that makes a thing, such as a file or an image,
    and nothing whose answer depends on what came before, or is still to come.
    """
    policy = config.cache if route.cache is None else route.cache
    if (
        not isinstance(policy, Cache)
        or call.method != "POST"
        or not call.reading.retry_safe
        or len(call.body) > LARGEST
    ):
        return None
    keeps, max_age_s = _wishes(call.headers)
    if not keeps:
        return Use(policy, config.cache_total, keeps=False)
    body = canonical(call.body)
    if body is None:
        return None
    digest = hashlib.blake2b(_around(config, call, route, client if policy.scope == "client" else None))
    digest.update(body)
    return Use(policy, config.cache_total, digest.hexdigest()[:40], True, min(max_age_s, policy.ttl_s))


def _wishes(headers: CIMultiDict[str]) -> tuple[bool, float]:
    """Whether an answer may be kept at all, and how old one may be: `Cache-Control` of a request (RFC 9111, 5.2.1)."""
    said = [word.strip().lower() for text in headers.getall("Cache-Control", ()) for word in text.split(",")]
    ages = [float(found[1]) for word in said if (found := _MAX_AGE.fullmatch(word))]
    return "no-store" not in said, 0.0 if "no-cache" in said else min(ages, default=math.inf)


def canonical(body: bytes | memoryview) -> bytes | memoryview | None:
    """The same for bodies that differ in white space and the order of their own fields only; of a large one its bytes.

    Within them order may mean something: a model answers "in the same order as the ordering of keys in the schema"
    (OpenAI's guide to structured outputs), and reads a tool's arguments as they stand.
    None for one whose answer is nobody else's, and for what is no JSON object, or one that says a thing twice.
    """
    try:
        if not deeds.answers_alone(body):
            return None
        if len(body) > CANONICAL:
            return body
        read = json.loads(bytes(body), object_pairs_hook=_once, parse_float=_finite)
        return msgspec.json.encode(dict(sorted(read.items())))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, each of whose fields stands there once: of two, nobody knows which one a provider takes.

    Else one client could ask for one thing, and have its answer kept for those who ask for another.
    """
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError("a field stands there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("too large for a float")
    return number


def _around(config: Config, call: Call, route: Route, client: str | None) -> bytes:
    """All but the body: what is called, where that leads by this config, and whose it is where that matters."""
    pools = config.pools
    place = call.place
    where = [(repr(target), target.headers, pools[target.pool].provider.base_url) for target in route.targets]
    headers = [(name.lower(), value) for name, value in call.headers.items() if _chooses(name.lower(), value)]
    asked = (place.dialect.name, place.judge.name, place.prefix, place.operation, call.query)
    return msgspec.json.encode((asked, where, route.mask_model, sorted(headers), client)) + b"\n"


def _chooses(name: str, value: str) -> bool:
    """Whether what an API does may hang on a header; `name` in lower case. JSON is what all of them take and give."""
    if name in {"accept", "content-type"}:
        return value.partition(";")[0].strip().lower() not in _ANY_JSON
    if name == "accept-language":
        return value.strip() != "*"  # as every fetch of Node's says
    return not name.endswith(_OF_A_TRACE) and _OF_THE_CALLER.fullmatch(name) is None
