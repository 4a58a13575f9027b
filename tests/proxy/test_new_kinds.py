"""Things of kinds that no list names belong to their account too, by how their ids look."""

from __future__ import annotations

import json
import secrets
from urllib.parse import quote

import pytest

from tests.proxy.plane import CHAT, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

MADE = "widget_68e554e0b2c08190a1"
TUNED = "ft:gpt-4o-mini:acme::abc123"
CALL = "rtc_u1_9c6574da8b8a41a18da9308f4ad974ce"


async def makes(exchange: Exchange) -> None:
    """A thing, or a call whose body is another protocol's."""
    if exchange.target.endswith(b"/calls"):
        location = f"Location: /v1/realtime/calls/{CALL}"
        await exchange.reply(b"v=0\r\n", "201 Created", "Content-Type: application/sdp", location)
    else:
        await exchange.reply(json.dumps({"id": MADE}).encode())


async def test_a_thing_of_a_new_kind_is_asked_of_who_made_it() -> None:
    async with RawUpstream(makes) as upstream, sidecar({"chat": pool(upstream.url, new_keys(3))}) as plane:
        key = (await plane.post("/v1/widgets", {"name": "x"})).key
        others = {(await plane.post("/v1/gadgets", {})).key for _ in range(3)}
        assert others == {"k0", "k1", "k2"}
        for _ in range(3):
            assert (await plane.post(f"/v1/widgets/{MADE}/turns", {})).key == key
            assert (await plane.post("/v1/gadgets", {"widget": MADE})).key == key


async def test_a_call_is_asked_of_who_told_where_it_is() -> None:
    """Its answer is no JSON: the id is in `Location` alone."""
    async with RawUpstream(makes) as upstream, sidecar({"chat": pool(upstream.url, new_keys(3))}) as plane:
        begun = await plane.send("POST", "/v1/realtime/calls", {"Content-Type": "application/sdp"}, b"v=0\r\n")
        assert (begun.status, begun.headers["location"]) == (201, f"/v1/realtime/calls/{CALL}")
        for _ in range(3):
            assert (await plane.post(f"/v1/realtime/calls/{CALL}/hangup", {})).key == begun.key


@pytest.mark.parametrize(
    ("dialect", "path", "told", "asks"),
    [
        ("gemini", "/v1beta/files?pageSize=5", "nextPageToken", "pageToken"),
        ("anthropic", "/v1/skills?limit=5", "next_page", "page"),
    ],
)
async def test_the_pages_of_a_list_are_one_accounts(dialect: str, path: str, told: str, asks: str) -> None:
    """The SDKs turn them by themselves: each account's token begins within its own list."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps({"data": [], told: secrets.token_urlsafe(24) + "=="}).encode())

    async with RawUpstream(answer) as upstream:
        listed = pool(upstream.url, new_keys(3), dialect=dialect, base_url=upstream.url)
        async with sidecar({"chat": listed}) as plane:
            version = {"anthropic-version": "2023-06-01"}
            pages = [await plane.send("GET", path, version)]
            for _ in range(3):
                pages.append(await plane.send("GET", f"{path}&{asks}={quote(pages[-1].data[told])}", version))
            assert [page.key for page in pages] == ["k0"] * 4
            assert (await plane.send("GET", path, version)).key == "k1"


@pytest.mark.parametrize("asked", [TUNED, f"chat/{TUNED}", "mine"])
async def test_a_tuned_model_is_asked_of_who_tuned_it_whatever_it_is_called(asked: str) -> None:
    """Who stands behind it in its route may be anybody."""

    async def answer(exchange: Exchange) -> None:
        fails = asked == "mine" and exchange.header("x-fails") and TUNED.encode() in exchange.body
        done = {"id": "ftjob-abc123abc123", "fine_tuned_model": TUNED, "choices": []}
        await exchange.reply(json.dumps(done).encode(), "503 Service Unavailable" if fails else "200 OK")

    async with RawUpstream(answer) as upstream:
        pools = {"chat": pool(upstream.url, new_keys(3)), "spare": pool(upstream.url, new_keys(2))}
        behind = [{"pool": "chat", "model": TUNED}, {"pool": "spare", "model": "gpt-4o"}]
        async with sidecar(pools, routes={"mine": behind}) as plane:
            key = (await plane.send("GET", "/v1/fine_tuning/jobs/ftjob-abc123abc123")).key
            replies = [await plane.chat(model=asked) for _ in range(3)]
            assert [(reply.key, reply.headers["x-sidecar-pool"]) for reply in replies] == [(key, "chat")] * 3
            if asked == "mine":
                others = [(await plane.chat({"x-fails": "1"}, model=asked)).headers for _ in range(2)]
                assert [one["x-sidecar-pool"] + one["x-sidecar-key"] for one in others] == ["sparek0", "sparek1"]


async def test_who_asks_for_a_tuned_model_is_told_why_no_other_account_is_asked() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps({"id": "ftjob-abc123abc123", "fine_tuned_model": TUNED}).encode())

    limited = {"limits": [{"requests": 1, "per": "hour"}], "max_wait": "0s"}
    async with RawUpstream(answer) as upstream:
        pools = {"chat": pool(upstream.url, new_keys(3), **limited)}
        async with sidecar(pools, routes={"mine": [{"pool": "chat", "model": TUNED}]}) as plane:
            await plane.send("GET", "/v1/fine_tuning/jobs/ftjob-abc123abc123")
            spent = await plane.chat(model="mine")
            assert (spent.status, len(upstream.heard)) == (429, 1)
            assert spent.data["error"]["message"].startswith(f"{TUNED} was made with chat/k0, and no other account")


async def test_a_user_profile_is_asked_of_who_made_it_though_a_header_names_it() -> None:
    profile, version = "uprof_011CZkZCu8hGbp5mYRQgUmz9", {"anthropic-version": "2023-06-01"}

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps({"id": profile, "type": "user_profile"}).encode())

    async with RawUpstream(answer) as upstream:
        anthropic = pool(upstream.url, new_keys(3), dialect="anthropic")
        async with sidecar({"ant": anthropic}) as plane:
            key = (await plane.post("/v1/user_profiles", {}, version)).key
            named = version | {"anthropic-user-profile-id": profile}
            assert {(await plane.post("/v1/messages", CHAT, named)).key for _ in range(3)} == {key}
            assert len({(await plane.post("/v1/messages", CHAT, version)).key for _ in range(3)}) == 3


async def test_a_thing_is_known_after_a_version_of_it_is_deleted() -> None:
    async with RawUpstream(makes) as upstream, sidecar({"chat": pool(upstream.url, new_keys(3))}) as plane:
        key = (await plane.post("/v1/widgets", {})).key
        for version in range(3):
            assert (await plane.send("DELETE", f"/v1/widgets/{MADE}/versions/{version}")).key == key
        assert (await plane.send("DELETE", f"/v1/widgets/{MADE}")).key == key
        assert len({(await plane.send("DELETE", f"/v1/widgets/{MADE}")).key for _ in range(3)}) == 3
