"""What one account made is asked of that account: its budget counts, and no other is asked when it is spent."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from multidict import CIMultiDict

from sidecar.model.events import KeptChanged
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.evicting import Memory
from sidecar.store.made import Maker
from tests.proxy.belonging.things import FILE, FORM, asking, upload
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.servers import RedisProcess


def statuses(provider: StrictProvider) -> list[int]:
    return [arrival.status for arrival in provider.arrivals]


# --- whom a call goes to ----------------------------------------------------------------------------


async def test_what_a_call_names_decides_in_path_query_and_body(plane: Plane, provider: StrictProvider) -> None:
    """Whatever goes to other keys in between, and their rotation is as if those calls were not there."""
    file, key = await upload(plane)
    others = [(await plane.chat()).key for _ in range(3)]
    for _ in range(3):
        assert (await plane.send("GET", f"/v1/files/{file}/content")).key == key
        assert (await plane.send("GET", f"/v1/files?limit=1&after={file}")).key == key
        assert (await plane.chat(**asking(file))).key == key
        assert (await plane.send("GET", f"/pools/chat/v1/files/{file}")).key == key
    others += [(await plane.chat()).key for _ in range(3)]
    assert others == [f"k{at % 5}" for at in range(6)]
    assert set(statuses(provider)) == {200}


async def test_nobody_is_told_that_anothers_file_is_elsewhere() -> None:
    """By words of his own that an answer repeats: one that was looked for goes where the file is, one of a crowd
    that was not shows nothing."""
    file = "file-6F2ksmvXxt4VdoqmHRw6kL"

    async def answer(exchange: Exchange) -> None:
        told: dict[str, Any] = {"id": file, "object": "file"}
        if exchange.target == b"/v1/responses":
            told = {"id": "resp_68af4030592c81938ec0a5fbab4a3e9f", "output": [{}]} | json.loads(exchange.body)
        await exchange.reply(json.dumps(told).encode())

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(3))}) as plane:
        _, key = await upload(plane)
        written = json.dumps({"model": "gpt-4o", "input": [{"file_id": file}]}).encode()
        numbered = written.replace(b"-6F2", rb"\u002d\u0036\u0046\u0032")
        data = json.dumps({"model": "gpt-4o", "input": "hello", "metadata": {"file_id": file}}).encode()
        crowd = json.dumps({"input": {"file_id": file}, "include": [f"file-{at:022}" for at in range(300)]}).encode()
        assert {(await plane.post("/v1/responses", numbered)).key for _ in range(3)} == {key}
        for body in (data, crowd):
            assert len({(await plane.post("/v1/responses", body)).key for _ in range(3)}) == 3
        assert {(await plane.send("GET", f"/v1/files/{file}")).key for _ in range(3)} == {key}


async def test_what_nobody_here_made_any_more_is_whose_answer_shows_it(plane: Plane) -> None:
    """As when the key that made it went, and another account was given the thing."""
    file, key = await upload(plane)
    await plane.replica.store.made.add(Maker("fp-gone", "gone"), {file: 60}, takes=True)
    while (await plane.send("GET", f"/v1/files/{file}")).status != 200:
        pass
    for _ in range(3):
        assert (await plane.send("GET", f"/v1/files/{file}")).key == key


async def test_what_a_full_redis_did_not_take_goes_to_any_key(plane: Plane, provider: StrictProvider) -> None:
    """And to one of another account where the provider does not find it there; what was remembered before is known."""
    known, key = await upload(plane)
    plane.replica.store.made.heed(Memory(9, 10, "noeviction"))
    file, of = await upload(plane)
    calls = [await plane.send("GET", f"/v1/files/{file}") for _ in range(5)]
    assert {(call.status, call.attempts) for call in calls} <= {(200, 1), (200, 2), (404, 2)}
    assert {call.key for call in calls if call.status == 200} == {of}
    assert {call.status for call in calls} == {200, 404}
    assert {(await plane.send("GET", f"/v1/files/{known}")).key for _ in range(3)} == {key}


async def test_how_full_redis_is_is_found_out_with_each_sign_of_life(
    provider: StrictProvider, redis_process: RedisProcess
) -> None:
    """One without a bound is never full."""
    pools = {"chat": pool(provider.url, list(provider.accounts))}
    async with sidecar(pools, redis=redis_process.url) as plane:
        with redis.Redis(port=redis_process.port) as client:
            client.set("somebody else's", b"x" * 20_000_000)
            used: int = client.info("memory")["used_memory"]
            for bound, known in ((used * 100 // 85, 0), (0, 1)):
                client.config_set("maxmemory", bound)
                await plane.replica._show_life()
                file, _ = await upload(plane)
                assert len(await plane.replica.store.made.makers({file: 0})) == known
        assert [(event.what, event.works) for event in plane.of(KeptChanged)] == [("ids", False), ("ids", True)]


async def test_a_call_that_names_nothing_asks_nobody(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a text in which an id stands, nor an answer that shows none."""

    async def never(*_: object) -> None:
        raise AssertionError("one round trip a request")

    monkeypatch.setattr(plane.replica.store.made, "_call", never)
    told = await plane.chat(messages=[{"role": "user", "content": 'what is "file-6F2ksmvXxt4VdoqmHRw6kL"?'}])
    assert told.status == 200
    assert (await plane.post("/v1/embeddings", {"model": "m", "input": "hi"})).status == 200


async def test_two_accounts_in_one_call_are_refused(plane: Plane, provider: StrictProvider) -> None:
    """No account could serve it, so nobody is asked, and both are named."""
    one, first = await upload(plane)
    second = first
    while second == first:
        answer = await plane.post("/v1/responses", {"model": "gpt-4o", "input": "hi"})
        other, second = answer.data["id"], answer.key
    made = len(provider.arrivals)
    item = {"role": "user", "content": [{"type": "input_file", "file_id": one}]}
    told = await plane.post("/v1/responses", {"model": "gpt-4o", "input": [item], "previous_response_id": other})
    assert told.status == 400
    message = told.data["error"]["message"]
    assert f"{one} with chat/{first}" in message
    assert f"{other} with chat/{second}" in message
    assert len(provider.arrivals) == made


async def test_what_nobody_told_of_goes_to_any_key_and_is_learnt(provider: StrictProvider) -> None:
    """Of a file that was made before the sidecar came: the account that has it is found once."""
    secrets = list(provider.accounts)[:2]
    async with sidecar({"b": pool(provider.url, secrets[1:])}) as before:
        file, _ = await upload(before)
    async with sidecar({"chat": pool(provider.url, secrets)}) as plane:
        found = await plane.send("GET", f"/v1/files/{file}/content")
        assert (found.status, found.key, found.attempts) == (200, "k1", 2)
        for _ in range(3):
            again = await plane.chat(**asking(file))
            assert (again.status, again.key, again.attempts) == (200, "k1", 1)


async def test_a_deletion_is_remembered_as_one(plane: Plane, provider: StrictProvider) -> None:
    """But what is only taken out of something else is there as before."""
    file, key = await upload(plane)
    store = (await plane.post("/v1/vector_stores", {"name": "docs", "file_ids": [file]})).data["id"]
    await plane.send("DELETE", f"/v1/vector_stores/{store}/files/{file}")
    made = plane.replica.store.made
    assert set(await made.makers({file: 0, store: 0})) == {file, store}
    assert (await plane.send("DELETE", f"/v1/files/{file}")).key == key
    assert set(await made.makers({file: 0, store: 0})) == {store}


# --- when its account cannot ------------------------------------------------------------------------


async def test_a_spent_account_is_told_with_why_and_when(provider: StrictProvider) -> None:
    """Four keys have room, and none of them is asked; what the account spends here it has spent everywhere."""
    limits = [{"requests": 3, "per": "minute"}]
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), max_wait="0s", limits=limits)}) as plane:
        file, key = await upload(plane)
        assert [(await plane.chat(**asking(file))).status for _ in range(2)] == [200, 200]
        refused = await plane.chat(**asking(file))
        assert refused.status == 429
        message = refused.data["error"]["message"]
        assert message.startswith(f"{file} was made with chat/{key}, and no other account can use it.")
        assert 59 <= int(refused.headers["Retry-After"]) <= 61
        assert f"has room in {refused.headers['Retry-After']} s" in message
        assert refused.attempts == 0
        others = [f"k{at}" for at in range(5) if f"k{at}" != key]
        assert [(await plane.chat()).key for _ in range(12)] == others * 3
        assert (await plane.chat()).status == 429
    assert provider.counts() == dict.fromkeys(provider.accounts, 3)


async def test_a_dead_account_is_told_with_why(plane: Plane, provider: StrictProvider) -> None:
    file, key = await upload(plane)
    secret = list(provider.accounts)[int(key[1:])]
    provider.faults.append(Fault(key=secret, dead=True))
    assert {(await plane.chat()).status for _ in range(5)} == {200}  # which prove that it is the key's fault
    refused = await plane.chat(**asking(file))
    assert refused.status == 503
    assert f"{file} was made with chat/{key}" in refused.data["error"]["message"]
    assert "invalid_key" in refused.data["error"]["message"]
    assert (await plane.chat()).status == 200


# --- accounts and pools -----------------------------------------------------------------------------


async def test_every_key_of_the_account_may_serve(provider: StrictProvider) -> None:
    """In turn, for they are one account at the provider."""
    secrets = new_keys(4)
    async with StrictProvider({secret: "ab"[at // 2] for at, secret in enumerate(secrets)}, keeps=True) as shared:
        keys = [{"id": f"k{at}", "secret": text, "account": "ab"[at // 2]} for at, text in enumerate(secrets)]
        async with sidecar({"chat": pool(shared.url, []) | {"keys": keys}}) as plane:
            file, key = await upload(plane)
            assert key == "k0"
            assert [(await plane.chat(**asking(file))).key for _ in range(4)] == ["k0", "k1"] * 2


async def test_another_pool_is_found_where_nothing_else_was_named(provider: StrictProvider) -> None:
    """A call without a model goes to the pool that has the thing; one whose model lies elsewhere is told."""
    secrets = list(provider.accounts)
    pools = {"one": pool(provider.url, secrets[:2]), "two": pool(provider.url, secrets[2:])}
    async with sidecar(pools) as plane:
        file, key = await upload(plane, "/pools/two/v1/files")
        for _ in range(3):
            got = await plane.send("GET", f"/v1/files/{file}")
            assert (got.status, got.headers["x-sidecar-pool"], got.key) == (200, "two", key)
            assert (await plane.chat(model="two/gpt-4o", **asking(file))).key == key
        told = await plane.chat(model="one/gpt-4o", **asking(file))
        assert told.status == 400
        assert f"{file} was made with two/{key}" in told.data["error"]["message"]
        assert "goes to one/gpt-4o" in told.data["error"]["message"]


async def test_what_another_provider_made_is_a_word_to_this_one(provider: StrictProvider) -> None:
    """It says itself what it finds; no account of another provider could serve the call."""
    secrets = list(provider.accounts)
    async with StrictProvider(new_keys(2), keeps=True) as other:
        elsewhere = pool(other.url, list(other.accounts), dialect="anthropic")
        async with sidecar({"chat": pool(provider.url, secrets), "claude": elsewhere}) as plane:
            file, _ = await upload(plane)
            made = await plane.send("POST", "/v1/files", FORM | {"anthropic-version": "2023-06-01"}, FILE)
            ask = {"model": "claude-x", "max_tokens": 9}
            for things in ([file], [file, made.data["id"]]):
                parts = [{"type": "document", "source": {"type": "file", "file_id": thing}} for thing in things]
                told = await plane.post("/v1/messages", ask | {"messages": [{"role": "user", "content": parts}]})
                assert (told.status, told.headers["x-sidecar-pool"]) == (200, "claude")
            assert told.key == made.key


async def test_another_name_of_the_account_is_the_same_account(provider: StrictProvider, redis_url: str) -> None:
    """And of one that is gone the provider tells, by whichever key."""
    secrets, own = list(provider.accounts), {"redis": redis_url, "namespace": "t-belonging-renamed"}
    async with sidecar({"chat": pool(provider.url, secrets)}, **own) as plane:
        file, key = await upload(plane)
    keys = [{"id": f"n{at}", "secret": secret, "account": f"new-{at}"} for at, secret in enumerate(secrets)]
    async with sidecar({"chat": pool(provider.url, []) | {"keys": keys}}, **own) as plane:
        assert {(await plane.send("GET", f"/v1/files/{file}")).key for _ in range(3)} == {f"n{key[1:]}"}
    left = [secret for at, secret in enumerate(secrets) if at != int(key[1:])]
    async with sidecar({"chat": pool(provider.url, left)}, **own) as plane:
        assert (await plane.send("GET", f"/v1/files/{file}")).status == 404


async def test_the_url_of_an_upload_is_a_right_to_that_upload_alone() -> None:
    """Without a key it begins no other one, and calls nothing else that its URL can be made to look like."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(
            b"{}", "200 OK", "X-Goog-Upload-URL: https://h/upload/v1beta/files?upload_id=UP1234567&key=k"
        )

    key, known = new_keys(1)[0], {"x-goog-api-key": "web-token", "X-Goog-Upload-Command": "start"}
    async with RawUpstream(answer) as upstream:
        pools = {"g": {"provider": "gemini", "base_url": upstream.url, "keys": [{"id": "a", "secret": key}]}}
        async with sidecar(pools, clients=[{"id": "web", "token": "web-token"}]) as plane:

            async def status(path: str, *commands: str) -> int:
                headers = CIMultiDict(("X-Goog-Upload-Command", command) for command in commands)
                return (await plane.send("POST", f"{path}?upload_id=UP1234567", headers, b"data")).status

            assert (await plane.send("POST", "/upload/v1beta/files", known, b"{}")).status == 200
            assert await status("/upload/v1beta/files", "upload") == 200
            assert await status("/pools/g/upload/v1beta/files", "upload, finalize") == 200
            assert await status("/upload/v1beta/files", "query", "start") == 401
            assert await status("/upload/v1beta/files") == 401
            assert await status("/v1beta/upload/v1/models/m:generateContent", "upload") == 401
            assert await status("/pools/g/chat/upload/v1/completions", "upload") == 401


# --- where nothing can go wrong -------------------------------------------------------------------


async def test_one_account_alone_is_asked_without_looking(
    provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was made, it made."""

    async def never(*_: object) -> None:
        raise AssertionError("nobody need know")

    async with sidecar({"chat": pool(provider.url, list(provider.accounts)[:1])}) as plane:
        monkeypatch.setattr(plane.replica.store.made, "_call", never)
        file, _ = await upload(plane)
        assert (await plane.chat(**asking(file))).status == 200
