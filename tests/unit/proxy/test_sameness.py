"""Which requests ask the same: whatever says the same in other words does, and nothing that says something else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from sidecar.model.configured import Auth, Cache, Config, Parameters, Pool, Provider, Route, Target
from sidecar.providers.catalogue import DIALECTS
from sidecar.proxy.call import Call, Place
from sidecar.proxy.sameness import CANONICAL, LARGEST, canonical, use

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PROVIDER = Provider("own", "http://127.0.0.1:1", Auth("bearer"), {})
CONFIG = Config({"p": Pool("p", PROVIDER, ()), "q": Pool("q", PROVIDER, ())}, cache=Cache())
ROUTE = Route((Target("p", "m"),))

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=9,
)
# Apart from the fields by which an answer is nobody else's.
objects = st.dictionaries(text.filter(lambda name: name not in {"store", "background", "conversation"}), values)


def shuffled(value: dict[str, Any], turn: int) -> dict[str, Any]:
    """The same with its own fields in another order."""
    return {name: value[name] for name in sorted(value, key=lambda name: hash((name, turn)))}


def exactly(value: Any) -> Any:
    """So that what is equal says the same: Python holds 1, 1.0 and true for equal, and objects in any order."""
    match value:
        case dict():
            return [(name, exactly(one)) for name, one in value.items()]
        case list():
            return [exactly(one) for one in value]
    return type(value), repr(value)


@given(objects, st.integers(), st.sampled_from([None, 1, "\t"]))
def test_neither_order_nor_white_space_matters(value: Any, turn: int, indent: Any) -> None:
    """Nor how a character is written."""
    one = json.dumps(value).encode()
    other = json.dumps(shuffled(value, turn), indent=indent, ensure_ascii=False).encode()
    assert canonical(one) == canonical(other) is not None


@given(objects, objects)
def test_every_value_matters(one: Any, other: Any) -> None:
    same = canonical(json.dumps(one).encode()) == canonical(json.dumps(other).encode())
    assert same == (exactly(dict(sorted(one.items()))) == exactly(dict(sorted(other.items()))))


@pytest.mark.parametrize(
    "within",
    [
        lambda named: {"response_format": {"json_schema": {"schema": {"properties": named}}}},
        lambda named: {"tools": [{"function": {"name": "f", "parameters": {"properties": named}}}]},
        lambda named: {"tools": [{"name": "f", "input_schema": {"properties": named}}]},
        lambda named: {"generationConfig": {"responseSchema": {"properties": named}}},
        lambda named: {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": named}]}]},
    ],
    ids=["answer", "function", "tool", "gemini", "arguments"],
)
def test_order_matters_where_a_model_sees_it(within: Callable[[dict[str, Any]], Any]) -> None:
    """It fills in the fields of a schema as they stand there."""
    one, other = (within({name: {} for name in names}) for names in (("reason", "answer"), ("answer", "reason")))
    assert canonical(json.dumps(one).encode()) != canonical(json.dumps(other).encode())


@given(st.integers(min_value=2**60, max_value=2**80), st.integers(min_value=1, max_value=9))
def test_every_digit_matters(number: int, more: int) -> None:
    assert canonical(b'{"seed":%d}' % number) != canonical(b'{"seed":%d}' % (number + more))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'"x"',
        b'{"a":"\\ud800"}',
        b'{"a":1e999}',
        b"[" * 100_000,
        b"\xff{}",
        b'{"a":1,"a":1}',
        b'{"a":[{"b":1,"\\u0062":2}]}',
        b'{"a":NaN}',
    ],
)
def test_what_is_no_object_is_the_same_as_nothing(body: bytes) -> None:
    assert canonical(body) is None


def test_of_a_large_body_every_byte_matters() -> None:
    padding = "x" * CANONICAL
    body = json.dumps({"a": padding, "b": 1}).encode()
    assert canonical(body) == body
    assert canonical(json.dumps({"store": True, "a": padding}).encode()) is None


# --- calls ------------------------------------------------------------------------------------------


def call(
    body: dict[str, Any] = CHAT,
    operation: str = "chat/completions",
    dialect: str = "openai",
    prefix: str = "/v1/",
    query: str = "",
    method: str = "POST",
    **headers: str,
) -> Call:
    spoken, raw = DIALECTS[dialect], msgspec.json.encode(body)
    reading = spoken.read_call(method, operation, "application/json", raw)
    given = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    place = Place(spoken, spoken, prefix, operation)
    return Call("r", method, place, query, given, "application/json", raw, reading, None)


def digest(one: Call, config: Config = CONFIG, route: Route = ROUTE, client: str = "web") -> str:
    found = use(config, one, route, client)
    assert found is not None
    return found.digest


def with_header(name: str, value: str) -> str:
    headers: dict[str, Any] = {name: value}
    return digest(call(**headers))


def test_who_calls_and_with_what_does_not_matter() -> None:
    with_what: dict[str, Any] = {
        "user_agent": "OpenAI/Python 1.0",
        "x_stainless_lang": "python",
        "x_goog_api_client": "genai/1",
    }
    through: dict[str, Any] = {
        "traceparent": "00-1",
        "x_request_id": "r",
        "x_b3_traceid": "t",
        "x_forwarded_for": "10.0.0.1",
    }
    other = call(**with_what, **through, accept="*/*", content_type="application/json; charset=utf-8")
    assert digest(call(content_type="application/json")) == digest(other, client="app")


@pytest.mark.parametrize(
    "name",
    [
        *("traceparent", "elastic-apm-traceparent", "tracestate", "baggage", "sentry-trace", "x-sentry-trace"),
        *("b3", "x-b3-traceid", "uber-trace-id", "uberctx-user", "ot-tracer-traceid", "ot-baggage-user"),
        *("x-datadog-parent-id", "newrelic", "x-newrelic-transaction", "x-dynatrace", "x-instana-t", "x-trace"),
        *("x-cloud-trace-context", "x-ot-span-context", "x-amzn-trace-id", "x-amzn-requestid", "amz-sdk-invocation-id"),
        *("x-request-id", "x-client-request-id", "x-ms-client-request-id", "x-correlation-id", "request-context"),
        *("cf-ray", "cf-connecting-ip", "true-client-ip", "x-envoy-attempt-count", "sec-fetch-mode"),
    ],
)
def test_in_which_trace_and_on_which_way_does_not_matter(name: str) -> None:
    assert with_header(name, "one") == with_header(name, "other") == digest(call())


@pytest.mark.parametrize(
    "name",
    [
        *("anthropic-beta", "openai-beta", "groq-model-version", "x-goog-fieldmask", "x-policy-id", "accept-language"),
        *("x-amzn-bedrock-trace", "nvcf-input-asset-references", "cf-aig-skip-cache", "x-session-id", "x-tenant"),
        "idempotency-key",
    ],
)
def test_what_an_api_may_hear_matters(name: str) -> None:
    """Also where nobody here knows it: what an answer was made of is not another's."""
    assert len({with_header(name, "one"), with_header(name, "other"), digest(call())}) == 3


def test_any_language_is_none() -> None:
    assert digest(call(accept_language="*", sec_fetch_mode="cors")) == digest(call())


def test_what_is_called_and_where_it_leads_matters() -> None:
    messages = CHAT | {"max_tokens": 1}
    gemini: dict[str, Any] = {"contents": []}
    name = "models/m:generateContent"
    elsewhere = replace(
        CONFIG, pools={"p": replace(CONFIG.pools["p"], provider=replace(PROVIDER, base_url="http://h:2"))}
    )
    assert len({
        digest(call()),
        digest(call(CHAT | {"stream": True})),
        digest(call(operation="completions")),
        digest(call(), elsewhere),
        digest(call(), route=Route((Target("q", "m"),))),
        digest(call(), route=Route((Target("p", "n"),))),
        digest(call(), route=Route((Target("p", "m"), Target("q", "m")))),
        digest(call(), route=Route((Target("p", "m", headers=(("x-a", "b"),)),))),
        digest(call(), route=Route((Target("p", "m", parameters=Parameters(most=(("max_tokens", 9.0),))),))),
        digest(call(), route=replace(ROUTE, mask_model=True)),
        digest(call(openai_beta="assistants=v2")),
        digest(call(messages, "messages", "anthropic")),
        digest(call(messages, "messages", "anthropic", anthropic_beta="x")),
        digest(call(messages, "messages", "anthropic", anthropic_version="2023-06-01")),
        digest(call(gemini, name, "gemini", "/v1beta/")),
        digest(call(gemini, name, "gemini", "/v1beta/", x_goog_fieldmask="usageMetadata")),
        digest(call(x_http_method_override="GET")),
        digest(call(accept="text/event-stream")),
        digest(call(gemini, name, "gemini", "/v1beta/", "alt=sse")),
        digest(call(gemini, "models/n:generateContent", "gemini", "/v1beta/")),
    }) == 20  # fmt: skip


def test_each_client_has_its_own_answers_where_the_config_says_so() -> None:
    own = replace(CONFIG, cache=Cache(scope="client"))
    assert digest(call(), own, client="web") == digest(call(), own, client="web")
    assert len({digest(call(), own, client="web"), digest(call(), own, client="app"), digest(call())}) == 3


@pytest.mark.parametrize(
    "one",
    [
        call({"file": "x"}, "files"),
        call({"model": "m", "prompt": "a cat"}, "images/generations"),
        call({"model": "m", "input": "hello"}, "audio/speech"),
        call({"input_file_id": "f"}, "batches"),
        call({}, "models", method="GET"),
        call(CHAT | {"store": True}),
        call({"model": "m", "background": True}, "responses"),
        call({"model": "m", "previous_response_id": "resp_1"}, "responses"),
        call({"model": "m", "conversation": "conv_1"}, "responses"),
        call(CHAT | {"container": "c"}, "messages", "anthropic"),
        call(CHAT | {"mcp_servers": [{"type": "url", "url": "https://h"}]}, "messages", "anthropic"),
        call(
            CHAT | {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "messages", "anthropic"
        ),
        call({"model": "m", "tools": [{"type": "function"}, {"type": "mcp", "server_label": "mail"}]}, "responses"),
        replace(call(), body=b'{"a":"%s"}' % (b"x" * LARGEST)),
    ],
    ids=lambda one: f"{one.place.operation} {sorted(one.body[:20])[-1]}",
)
def test_what_makes_a_thing_or_goes_on_from_one_is_not_kept(one: Call) -> None:
    assert use(CONFIG, one, ROUTE, "web") is None


def test_what_answers_alike_each_time_is_kept() -> None:
    for operation in ("completions", "embeddings", "moderations", "responses"):
        assert digest(call(CHAT | {"store": False, "previous_response_id": None}, operation))
    assert digest(call({"model": "m", "tools": [{"type": "function"}, {"type": "web_search"}, 1]}, "responses"))
    assert digest(call(CHAT, "messages/count_tokens", "anthropic"))
    assert digest(call({"requests": []}, "models/m:batchEmbedContents", "gemini", "/v1beta/"))


def test_how_a_route_is_kept_goes_before_how_all_are() -> None:
    own = use(replace(CONFIG, cache=None), call(), replace(ROUTE, cache=Cache(ttl_s=9.0)), "web")
    assert own is not None
    assert own.policy == Cache(ttl_s=9.0)
    assert use(CONFIG, call(), replace(ROUTE, cache="off"), "web") is None


def test_nothing_is_looked_up_where_nothing_is_kept() -> None:
    assert use(replace(CONFIG, cache=None), call(), ROUTE, "web") is None


@pytest.mark.parametrize(
    ("said", "keeps", "max_age_s"),
    [
        ("", True, 600),
        ("no-cache", True, 0),
        ("No-Store", False, math.inf),
        ("max-age=30", True, 30),
        ("max-age=3000", True, 600),
        ("max-age=0, no-store", False, math.inf),
        ("max-age=30, no-cache", True, 0),
        ("no-transform, max-age=soon", True, 600),
    ],
)
def test_what_a_caller_wishes(said: str, keeps: bool, max_age_s: float) -> None:
    found = use(CONFIG, call(cache_control=said), ROUTE, "web")
    assert found is not None
    assert (found.keeps, found.max_age_s if keeps else math.inf) == (keeps, max_age_s)
