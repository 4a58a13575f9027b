"""What a route says beyond its targets: what each changes of a request, and how they share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from sidecar.model.configured import Target
from sidecar.proxy import route
from tests.proxy.plane import new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

WHERE = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/asked:generateContent",
}


async def ok(exchange: Exchange) -> None:
    await exchange.reply(b"{}")


def speaking(url: str, dialect: str = "openai", **more: Any) -> dict[str, Any]:
    base = f"{url}/v1" if dialect == "openai" else url
    return pool(url, new_keys(2)) | {"base_url": base, "dialect": dialect} | more


def body(dialect: str, **fields: Any) -> bytes:
    """Of a call for `asked`, written as no library would, so that its bytes are known again."""
    named = {} if dialect == "gemini" else {"model": "asked"}
    return json.dumps(named | fields, separators=(" ,  ", " :\t")).encode()


@pytest.mark.parametrize(
    ("dialect", "said", "sent"),
    [
        ("openai", {"max_tokens": 9999, "temperature": 2}, {"max_tokens": 100, "temperature": 0.5}),
        ("openai", {"max_completion_tokens": 50}, {"max_completion_tokens": 50, "temperature": 0.5}),
        ("anthropic", {"max_tokens": 9999}, {"max_tokens": 100, "temperature": 0.5}),
        ("gemini", {}, {"generationConfig": {"temperature": 0.5}}),
        (
            "gemini",
            {"generationConfig": {"maxOutputTokens": 101, "temperature": 1, "topK": 3}},
            {"generationConfig": {"maxOutputTokens": 100, "temperature": 0.5, "topK": 3}},
        ),
    ],
)
async def test_target_changes_parameters_in_the_callers_dialect(
    dialect: str, said: dict[str, Any], sent: dict[str, Any]
) -> None:
    """And the model's name with them; whatever else the body says arrives as it was."""
    target = {"pool": "a", "model": "real", "set": {"temperature": 0.5}, "max": {"max_tokens": 100}, "remove": ["user"]}
    async with (
        RawUpstream(ok) as upstream,
        sidecar({"a": speaking(upstream.url, dialect)}, routes={"asked": [target]}) as plane,
    ):
        reply = await plane.post(WHERE[dialect], body(dialect, **said, user="u", x={"max_tokens": 5000}))
        assert (reply.status, reply.headers["x-sidecar-model"]) == (200, "real")
        heard = upstream.heard[0]
        model = {} if dialect == "gemini" else {"model": "real"}
        assert json.loads(heard.body) == model | sent | {"x": {"max_tokens": 5000}}
        assert b'"x" :\t{"max_tokens" :\t5000}' in heard.body
        assert dialect != "gemini" or heard.target == b"/v1beta/models/real:generateContent"


async def test_each_target_changes_what_is_its_own() -> None:
    """The second one gets the body as the caller wrote it, but for the model."""

    async def first_is_full(exchange: Exchange) -> None:
        if b"/a/" in exchange.target:
            await exchange.reply(b"{}", "429 Too Many Requests", "Retry-After: 30")
        else:
            await exchange.reply(b"{}")

    async with RawUpstream(first_is_full) as upstream:
        pools = {name: speaking(f"{upstream.url}/{name}") for name in "ab"}
        targets = [
            {"pool": "a", "set": {"temperature": 0.5}, "headers": {"x-team": "red"}},
            {"pool": "b", "model": "m"},
        ]
        async with sidecar(pools, routes={"asked": targets}) as plane:
            said = body("openai", temperature=1)
            assert (await plane.post(WHERE["openai"], said, {"X-Team": "blue"})).status == 200
            *firsts, last = upstream.heard
            assert [json.loads(one.body)["temperature"] for one in firsts] == [0.5, 0.5]
            assert [one.header("x-team") for one in firsts] == [["red"], ["red"]]
            assert last.body == said.replace(b'"asked"', b'"m"')
            assert last.header("x-team") == ["blue"]


async def test_a_form_keeps_its_parameters() -> None:
    """It is no JSON: only the model in it is the target's."""
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nasked\r\n--x\r\n' + (
        b'Content-Disposition: form-data; name="temperature"\r\n\r\n1\r\n--x--\r\n'
    )
    async with RawUpstream(ok) as upstream:
        routes = {"asked": [{"pool": "a", "model": "m", "set": {"temperature": 0.5}, "headers": {"x-a": "b"}}]}
        async with sidecar({"a": speaking(upstream.url)}, routes=routes) as plane:
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            reply = await plane.send("POST", "/v1/audio/transcriptions", headers, form)
            assert reply.status == 200
            assert upstream.heard[0].body == form.replace(b"asked", b"m")
            assert upstream.heard[0].header("x-a") == ["b"]


async def test_a_lowered_max_is_what_is_reserved() -> None:
    """Of 1,000 tokens a minute three calls of 300 go, though their callers ask for 900 each."""
    async with RawUpstream(ok) as upstream:
        limited = speaking(upstream.url, limits=[{"tokens": 1000, "per": "minute"}], max_wait="0s")
        limited["keys"] = limited["keys"][:1]
        routes = {"asked": [{"pool": "a", "max": {"max_tokens": 300}}]}
        async with sidecar({"a": limited}, routes=routes) as plane:
            said = body("openai", max_tokens=900, messages=[])
            assert [(await plane.post(WHERE["openai"], said)).status for _ in range(4)] == [200, 200, 200, 429]


def weighted(weights: Mapping[str, int]) -> tuple[Target, ...]:
    return tuple(Target(name, "m", weight) for name, weight in weights.items())


def test_neighbours_with_weights_are_drawn_in_proportion_and_the_others_keep_their_place() -> None:
    """First by weight; among those that are left by weight again."""
    targets = (Target("first", "m"), *weighted({"a": 6, "b": 3, "c": 1}), Target("last", "m"))
    draws = [tuple(one.pool for one in route.drawn(targets, Random(seed))) for seed in range(4000)]
    assert {(draw[0], draw[4], *sorted(draw[1:4])) for draw in draws} == {("first", "last", "a", "b", "c")}
    begins = Counter(draw[1] for draw in draws)
    assert [round(begins[name] / 400) for name in "abc"] == [6, 3, 1]
    after_a = Counter(draw[2] for draw in draws if draw[1] == "a")
    assert round(4 * after_a["b"] / after_a.total()) == 3


def test_targets_without_weights_are_not_drawn() -> None:
    targets = (Target("a", "m"), Target("b", "m"))
    assert route.drawn(targets, Random(0)) is targets


async def test_targets_that_share_stand_in_for_each_other() -> None:
    """Wherever a request is sent first, it reaches the one that can serve it; both are sent some first."""

    async def only_b(exchange: Exchange) -> None:
        await exchange.reply(b"{}", "200 OK" if b"/b/" in exchange.target else "500 Broken")

    async with RawUpstream(only_b) as upstream:
        pools = {name: speaking(f"{upstream.url}/{name}", max_attempts=1) for name in "ab"}
        routes = {"asked": [{"pool": "a", "weight": 1}, {"pool": "b", "weight": 1}]}
        async with sidecar(pools, routes=routes) as plane:
            replies = [await plane.post(WHERE["openai"], body("openai")) for _ in range(30)]
            assert {(reply.status, reply.headers["x-sidecar-pool"]) for reply in replies} == {(200, "b")}
            assert {reply.attempts for reply in replies} == {1, 2}
