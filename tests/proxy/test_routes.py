"""What a route says beyond its targets: what each changes of a request, and how they share."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from sidecar.model.configured import Route, Target
from sidecar.proxy.shares import Shares
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


@pytest.mark.parametrize(
    ("dialect", "path", "status"),
    [
        ("openai", "/v1//chat/completions", 200),
        ("openai", "//chat/completions", 200),
        ("openai", "/v1/ch%61t/completion%73", 200),
        ("openai", "/v1/chat%2Fcompletions", 404),
        ("anthropic", "//v1/messages", 200),
        ("anthropic", "/v1/m%65ssages", 200),
        ("gemini", "/v1beta/models/asked%3Agenerate%43ontent", 200),
        ("gemini", "/v1beta//models//asked:generateContent", 200),
        ("gemini", "/v1beta/models%2Fasked:generateContent", 404),
    ],
)
async def test_no_way_to_write_a_path_leads_around_a_maximum(dialect: str, path: str, status: int) -> None:
    """Servers decode a path before they look where it leads, and many take two slashes for one."""
    target = {"pool": "a", "model": "real", "max": {"max_tokens": 100}}
    async with (
        RawUpstream(ok) as upstream,
        sidecar({"a": speaking(upstream.url, dialect)}, routes={"asked": [target]}) as plane,
    ):
        much: dict[str, Any] = (
            {"generationConfig": {"maxOutputTokens": 9999}} if dialect == "gemini" else {"max_tokens": 9999}
        )
        assert (await plane.post(path, body(dialect, **much))).status == status
        for heard in upstream.heard:
            plain = WHERE[dialect].replace("asked", "real")
            assert (heard.target.decode(), b"9999" in heard.body) == (plain, False)
        assert len(upstream.heard) == (status == 200)


@pytest.mark.parametrize(
    ("made", "said"),
    [({"max": {"max_tokens": 300}}, 900), ({"set": {"n": 3}}, 100), ({"default": {"n": 3}, "max": {"n": 5}}, 100)],
)
async def test_what_a_route_makes_of_a_call_is_what_is_reserved(made: dict[str, Any], said: int) -> None:
    """Of 1,000 tokens a minute three calls of 300 go, whatever their callers ask for."""
    async with RawUpstream(ok) as upstream:
        limited = speaking(upstream.url, limits=[{"tokens": 1000, "per": "minute"}], max_wait="0s")
        limited["keys"] = limited["keys"][:1]
        async with sidecar({"a": limited}, routes={"asked": [{"pool": "a"} | made]}) as plane:
            asked = body("openai", max_tokens=said, messages=[])
            assert [(await plane.post(WHERE["openai"], asked)).status for _ in range(4)] == [200, 200, 200, 429]


def group(number: int, **weights: int) -> tuple[Target, ...]:
    return tuple(Target(name, "m", weight, group=number) for name, weight in weights.items())


def firsts(shares: Shares, route: Route, count: int, at: int = 0) -> str:
    """The pools that stand at this place, of so many requests."""
    return "".join(shares.order(route, route.targets)[at].pool for _ in range(count))


def test_each_group_takes_turns_and_the_others_keep_their_place() -> None:
    """Of two groups one behind the other each has its own."""
    targets = (Target("f", "m"), *group(1, a=2, b=1), *group(2, c=1, d=1), Target("l", "m"))
    shares, route = Shares(Random(1)), Route(targets, name="r")
    orders = ["".join(one.pool for one in shares.order(route, targets)) for _ in range(6)]
    assert {order[0] + order[5] for order in orders} == {"fl"}
    assert Counter(order[1:3] for order in orders) == {"ab": 4, "ba": 2}
    assert Counter(order[3:5] for order in orders) == {"cd": 3, "dc": 3}


def test_routes_and_replicas_take_turns_of_their_own() -> None:
    """Requests that go to two routes by turns do not each see one target of it alone; nor do replicas begin alike."""
    one, two = (Route(group(1, a=1, b=1), name=name) for name in ("one", "two"))
    shares = Shares(Random(1))
    both = [firsts(shares, one, 1) + firsts(shares, two, 1) for _ in range(10)]
    assert [Counter(pair[at] for pair in both) for at in (0, 1)] == [{"a": 5, "b": 5}] * 2
    assert {firsts(Shares(Random(seed)), one, 1) for seed in range(20)} == {"a", "b"}


def test_other_weights_begin_anew() -> None:
    shares = Shares(Random(1))
    firsts(shares, Route(group(1, a=9, b=1), name="r"), 3)
    assert Counter(firsts(shares, Route(group(1, a=1, b=9), name="r"), 10)) == {"a": 1, "b": 9}


def test_targets_without_a_group_keep_their_order() -> None:
    targets = (Target("a", "m"), Target("b", "m"))
    assert Shares(Random(0)).order(Route(targets), targets) is targets


async def test_of_ten_requests_at_nine_and_one_nine_and_one_are_sent() -> None:
    """Whatever else is asked for at the same time, and whatever the cache answers meanwhile."""
    async with RawUpstream(ok) as upstream:
        pools = {name: speaking(f"{upstream.url}/{name}") for name in "ab"}
        routes = {name: [{"pool": "a", "weight": 9}, {"pool": "b", "weight": 1}] for name in ("asked", "other")}
        async with sidecar(pools, routes=routes, cache={"ttl": "10m"}) as plane:
            seen = []
            for n in range(20):
                said = json.loads(body("openai")) | {"user": f"{n}"}
                replies = [await plane.post(WHERE["openai"], said | {"model": "other"}) for _ in range(n % 3)]
                replies = [await plane.post(WHERE["openai"], said) for _ in range(3)]
                assert [reply.headers["x-sidecar-cache"] for reply in replies] == ["miss", "hit", "hit"]
                seen.append(replies[0].headers["x-sidecar-pool"])
            assert [Counter(seen[:10]), Counter(seen[10:])] == [{"a": 9, "b": 1}] * 2


async def test_a_group_behind_another_shares_what_that_cannot_serve() -> None:
    """And before any other target, each in their turn."""

    async def behind(exchange: Exchange) -> None:
        await exchange.reply(b"{}", "200 OK" if exchange.target[:2] in {b"/c", b"/d"} else "500 Broken")

    async with RawUpstream(behind) as upstream:
        more: dict[str, Any] = {"max_attempts": 1, "retry_budget": "off", "breaker": "off"}
        pools = {name: speaking(f"{upstream.url}/{name}", **more) for name in "abcde"}
        routes = {"asked": [[{"pool": "a", "weight": 3}, {"pool": "b"}], [{"pool": "c"}, {"pool": "d"}], {"pool": "e"}]}
        async with sidecar(pools, routes=routes) as plane:
            replies = [await plane.post(WHERE["openai"], body("openai")) for _ in range(4)]
            assert {(reply.status, reply.attempts) for reply in replies} == {(200, 3)}
            assert Counter(reply.headers["x-sidecar-pool"] for reply in replies) == {"c": 2, "d": 2}
            assert Counter(heard.target[:2] for heard in upstream.heard[::3]) == {b"/a": 3, b"/b": 1}


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
