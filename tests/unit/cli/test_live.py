"""`sidecar check --live` tells of every key what its provider says of it, inside the budgets, and changes no rest."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from sidecar import config
from sidecar.cli import live
from sidecar.model.words import Report, Rest, Subject
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.commands import Store
from tests.servers import free_port
from tests.unit.cli.at_provider import checked, openai, told
from tests.unit.cli.conftest import FIRST, MANY, SECOND, Command, Written


async def test_every_key_is_called_once_and_told_in_config_order(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    written(openai(provider.url))
    done = await checked(command)
    assert done.exit_code == 0
    assert told(done) == ["a ok (. s)", "b ok (. s)"]
    assert sorted((arrival.key, arrival.path) for arrival in provider.arrivals) == [
        (FIRST, "/v1/models"),
        (SECOND, "/v1/models"),
    ]
    assert not provider.excess()


async def test_without_the_option_nothing_is_sent(command: Command, written: Written, provider: StrictProvider) -> None:
    written(openai(provider.url))
    assert (await asyncio.to_thread(command, "check")).exit_code == 0
    assert not provider.arrivals


@pytest.mark.parametrize(
    ("dialect", "base", "path", "header"),
    [
        ("openai", "", "/v1/models", "authorization"),
        ("openai", "/v1", "/v1/models", "authorization"),
        ("anthropic", "", "/v1/models", "x-api-key"),
        ("gemini", "", "/v1beta/models", "x-goog-api-key"),
    ],
)
async def test_each_dialect_asks_for_its_list_of_models_as_its_sdk_would(
    command: Command, written: Written, provider: StrictProvider, dialect: str, base: str, path: str, header: str
) -> None:
    written(openai(provider.url, [FIRST], dialect=dialect, base_url=provider.url + base))
    assert (await checked(command)).exit_code == 0
    (call,) = provider.calls
    names = {name.lower() for name, _ in call.headers}
    assert (call.method, call.path, call.body) == ("GET", path, b"")
    assert header in names
    assert ("anthropic-version" in names) == (dialect == "anthropic")


async def test_a_refused_key_is_told_in_the_providers_words_without_its_secret(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    """Also where the provider repeats the key, and where it stands at the edge of what is shown."""
    long = "x" * (live.SHOWN - 10)
    for secret, message in ((FIRST, "Incorrect API key provided: {secret}."), (SECOND, f"{long} {{secret}}")):
        provider.faults.append(Fault(key=secret, status=401, body={"error": {"message": message}}))
    written(openai(provider.url, [FIRST, SECOND, MANY[0]]))
    done = await checked(command)
    assert done.exit_code == 1
    assert told(done)[0] == "a invalid_key (401: Incorrect API key provided: a)"
    assert told(done)[1].startswith("b invalid_key (401: xxx")
    assert told(done)[2] == "c ok (. s)"
    assert done.output.splitlines()[-1].startswith("2 of 3 keys cannot be used: ")
    assert not re.search("sk-0a1b|sk-ffee", done.output)


async def test_what_a_provider_says_is_one_printable_line(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    body = {"detail": [{"msg": "no\r\nlive     b ok\x1b[2J\u202e"}]}
    provider.faults.append(Fault(status=403, body=body))
    written(openai(provider.url, [FIRST]))
    assert told(await checked(command)) == ["a permission (403: no live b ok [2J)"]


HTML = "<html><title>Welcome</title></html>"


@pytest.mark.parametrize(
    ("fault", "said", "exit_code"),
    [
        ({"status": 429, "body": {"error": {"message": "Slow"}}}, "rate_limit_minute (429: Slow): no fault", 0),
        ({"status": 404, "body": {"error": "Nothing here"}}, "bad_request (404: Nothing here): says nothing of", 0),
        ({"status": 402, "body": ""}, "quota_exhausted_billing (402)", 1),
        ({"status": 403, "body": "No."}, "permission (403: No)", 1),
        ({"status": 500, "body": "Oh"}, "server_error (500: Oh)", 1),
        ({"status": 503, "body": HTML}, "overloaded (503: a page for people)", 1),
        ({"body": {"error": {"message": "Bad key", "code": "invalid_api_key"}}}, "invalid_key (200: Bad key)", 1),
        ({"status": 401, "body": {"message": "Packed"}, "gzip": True}, "invalid_key (401: Packed)", 1),
        ({"status": 307, "headers": {"Location": "/there"}}, "not answered (307: redirected to /there)", 1),
        ({"status": 200, "body": HTML, "headers": {"Content-Type": "text/html"}}, "not answered (200: a page", 1),
        ({"close": "before"}, "server_error (the connection broke: closed without an answer)", 1),
    ],
)
async def test_an_answer_is_judged_as_the_data_plane_does(
    command: Command, written: Written, provider: StrictProvider, fault: Mapping[str, Any], said: str, exit_code: int
) -> None:
    provider.faults.append(Fault(**fault))
    written(openai(provider.url, [FIRST]))
    done = await checked(command)
    (line,) = told(done)
    assert line.startswith(f"a {said}")
    assert done.exit_code == exit_code
    assert ("1 of 1 keys" in done.output) == bool(exit_code)


async def test_a_provider_that_cannot_be_reached_is_told_of_each_key(command: Command, written: Written) -> None:
    written(openai(f"http://127.0.0.1:{free_port()}", MANY))
    done = await checked(command)
    assert done.exit_code == 1
    assert len(told(done)) == len(MANY)
    assert all(re.match(r"\w+ connect \((127\.0\.0\.1|as for a)", line) for line in told(done))
    assert f"{len(MANY)} of {len(MANY)} keys met no provider" in done.output.splitlines()[-1]


async def test_a_silent_provider_costs_one_round_of_waiting_however_many_keys(
    command: Command, written: Written, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "ANSWER_S", 0.5)
    provider.faults.append(Fault(hang=True))
    written(openai(provider.url, MANY))
    done = await checked(command)
    assert done.exit_code == 1
    assert told(done)[0] == "a timeout (no answer within 0.5 s)"
    assert re.search(r"timeout \(as for [a-h]\): not tried", told(done)[-1])
    assert len(provider.arrivals) <= live.AT_ONCE


async def test_so_many_calls_are_under_way_and_no_more(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    seen: list[int] = []
    watching = asyncio.create_task(provider.wait_for(lambda: seen.append(provider.open)))
    provider.faults.append(Fault(hang=True))
    written(openai(provider.url, MANY))
    checking = asyncio.create_task(checked(command))
    await provider.wait_for(lambda: provider.open == live.AT_ONCE)
    provider.faults.clear()
    provider.release()
    assert (await checking).exit_code == 0
    watching.cancel()
    assert max(seen) == live.AT_ONCE
    assert set(provider.counts().values()) == {0, 1}


async def test_where_no_cheap_call_is_known_the_key_is_not_tried(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    written(openai(provider.url, [FIRST], dialect="plain"))
    done = await checked(command)
    assert done.exit_code == 0
    assert told(done) == ["a no cheap call is known for chat: not tried"]
    assert not provider.arrivals


async def test_ids_that_two_pools_have_are_told_with_their_pool(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    pools = {"one": openai(provider.url, [FIRST]), "two": openai(provider.url, [SECOND, MANY[0]])}
    written(pools=pools)
    assert told(await checked(command)) == ["one/a ok (. s)", "two/a ok (. s)", "b ok (. s)"]


async def test_a_key_bound_to_models_is_called_too(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    keys = [{"id": "a", "secret": FIRST, "models": ["gpt-4o*"]}, {"id": "b", "secret": SECOND}]
    written(openai(provider.url, keys=keys))
    assert told(await checked(command)) == ["a ok (. s)", "b ok (. s)"]


# --- budgets and rests ------------------------------------------------------------------------------


async def test_a_call_counts_and_a_spent_key_is_not_called(
    command: Command, written: Written, provider: StrictProvider, shared: dict[str, str]
) -> None:
    written(openai(provider.url), **shared)
    assert told(await checked(command)) == ["a ok (. s)", "b ok (. s)"]
    again = await checked(command)
    assert again.exit_code == 0
    for line in told(again):
        assert re.fullmatch(r"[ab] has no room in its budgets for \d+ s: not tried", line)
    assert len(provider.arrivals) == 2
    assert not provider.excess()


async def test_keys_of_one_account_share_its_budget_here_too(command: Command, written: Written) -> None:
    async with StrictProvider(dict.fromkeys(MANY, "acme"), [(2, 60)]) as provider:
        keys = [{"id": f"k{at}", "secret": secret, "account": "acme"} for at, secret in enumerate(MANY)]
        written(openai(provider.url, keys=keys, limits=[{"requests": 2, "per": "minute"}]))
        done = await checked(command)
        assert done.exit_code == 0
        assert sum(" ok (" in line for line in told(done)) == 2
        assert len(provider.arrivals) == 2


async def test_what_was_not_sent_does_not_count(command: Command, written: Written, shared: dict[str, str]) -> None:
    written(openai(f"http://127.0.0.1:{free_port()}", [FIRST]), **shared)
    for _ in range(2):
        (line,) = told(await checked(command))
        assert line.startswith("a connect (")


async def test_check_only_tells_so_a_refused_key_does_not_rest(
    command: Command, written: Written, provider: StrictProvider, shared: dict[str, str]
) -> None:
    provider.faults += [Fault(key=FIRST, dead=True), Fault(key=SECOND, status=429)]
    written(openai(provider.url), **shared)
    assert (await checked(command)).exit_code == 1
    with redis.Redis.from_url(shared["redis"]) as client:
        state: Any = client.hkeys(f"sc:{{{shared['namespace']}}}:state")
    assert [name for name in state if name.startswith(b"w|")]
    assert not [name for name in state if name.startswith(b"c|")]


@pytest.mark.parametrize(
    ("reason", "kind", "said", "exit_code"),
    [
        ("invalid_key", {"dead": True}, r"rests for invalid_key, until a sidecar's own try succeeds", 1),
        ("invalid_key", {}, r"rests for invalid_key, tried again in (900|8\d\d) s", 1),
        ("quota_exhausted_billing", {}, r"rests for quota_exhausted_billing, tried again in (900|8\d\d) s", 1),
        ("rate_limit_day", {}, r"rests for rate_limit_day, tried again in (900|8\d\d) s", 0),
        ("invalid_key", {"proved": False}, r"rests on suspicion, tried again in (900|8\d\d) s", 0),
    ],
)
async def test_a_key_that_rests_is_told_with_its_reason_and_not_called(
    command: Command,
    written: Written,
    provider: StrictProvider,
    shared: dict[str, str],
    tmp_path: Path,
    reason: str,
    kind: dict[str, Any],
    said: str,
    exit_code: int,
) -> None:
    written(openai(provider.url), **shared)
    loaded = config.load(None, {}, tmp_path)
    first, _ = loaded.pools["chat"].keys
    store = Store.at(loaded.redis, loaded.namespace, lambda _: None)
    reported = asyncio.Event()
    rest = Rest(Subject(first.account, first.fingerprint), 3600_000_000, reason, **kind)
    store.report(Report("r", (rest,)), (), lambda _: reported.set())
    await reported.wait()
    await store.close()
    done = await checked(command)
    resting, other = told(done)
    assert re.fullmatch(f"a {said}: not tried", resting)
    assert other == "b ok (. s)"
    assert done.exit_code == exit_code
    assert [arrival.key for arrival in provider.arrivals] == [SECOND]


async def test_without_its_store_no_key_is_called(command: Command, written: Written, provider: StrictProvider) -> None:
    written(openai(provider.url), redis=f"redis://127.0.0.1:{free_port()}/0")
    done = await checked(command)
    assert done.exit_code == 1
    assert "cannot be used" in done.output.splitlines()[-1]
    assert not provider.arrivals
