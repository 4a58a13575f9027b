"""Usage as it is asked for: any names to sum by, the same numbers as JSON and as CSV, and mistakes told."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.model.configured import Key, Secret
from sidecar.model.counting import Row
from sidecar.ops import app, status
from sidecar.ops.metrics import Metrics
from sidecar.ops.stream import Stream
from sidecar.ops.usage import CACHE, BadQuestion, as_csv, usage
from sidecar.replica import Replica
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway
from tests.unit.ops.worlds import CONFIG, FIRST, KEYS, POOL, answered, attempted

LOCAL = replace(CONFIG, redis="memory", admin_token=None)

ROWS = {
    Row("chat", "chat-1", "web", "small"): {"requests": 3, "ok": 2, "timeout": 1, "input": 20, "output": 7},
    Row("chat", "chat-2", "web", "small"): {"ok": 1, "rate_limit_day": 3, "connect": 1, "input": 5, "cached": 5},
    Row("chat", "chat-1", "app", "=cmd()"): {"requests": 2, "ok": 1, "unserved/cancelled": 1, "reasoning": 9},
}


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """With ROWS today, and nothing before."""
    made = Store.at("memory", "test", lambda _: None)
    await made.counted.add("a", 1, ROWS)
    yield made
    await made.close()


def numbers(**told: Any) -> dict[str, Any]:
    of_requests = dict.fromkeys(("requests", "attempts", "sent", "successes"), 0)
    of_tokens = dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), 0)
    return {**of_requests, "failures": {}, "unserved": {}, **of_tokens, **dict.fromkeys(CACHE, 0), **told}


async def test_rows_are_summed_by_key_and_in_all(store: Store) -> None:
    found = await usage(CONFIG, store, 1, "key")
    assert found["by"] == ["pool", "key"]
    assert found["rows"] == [
        {"pool": "chat", "key": "chat-1"}
        | numbers(requests=5, attempts=4, sent=4, successes=3, failures={"timeout": 1}, unserved={"cancelled": 1})
        | {"input_tokens": 20, "output_tokens": 7, "reasoning_tokens": 9},
        {"pool": "chat", "key": "chat-2"}
        | numbers(attempts=5, sent=4, successes=1, failures={"rate_limit_day": 3, "connect": 1})
        | {"input_tokens": 5, "cached_tokens": 5},
    ]
    assert found["total"] == numbers(
        requests=5,
        attempts=9,
        sent=8,
        successes=4,
        failures={"rate_limit_day": 3, "connect": 1, "timeout": 1},
        unserved={"cancelled": 1},
        input_tokens=25,
        output_tokens=7,
        cached_tokens=5,
        reasoning_tokens=9,
    )


@pytest.mark.parametrize(
    ("by", "places"),
    [
        ("model", [("=cmd()",), ("small",)]),
        ("client", [("app",), ("web",)]),
        ("pool", [("chat",)]),
        ("client, pool", [("app", "chat"), ("web", "chat")]),
        ("key,pool", [("chat", "chat-1"), ("chat", "chat-2")]),
    ],
)
async def test_any_names_can_be_summed_by(store: Store, by: str, places: list[tuple[str, ...]]) -> None:
    found = await usage(CONFIG, store, 0, by)
    assert [tuple(row[name] for name in found["by"]) for row in found["rows"]] == places
    assert sum(row["attempts"] for row in found["rows"]) == found["total"]["attempts"] == 9
    assert (found["from"], found["to"]) == (None, None)


async def test_a_keys_usage_goes_with_it_to_another_id() -> None:
    """`two` was chat-2 and is chat-1 now; `one` is gone, and so is who was chat-2 before: each is itself."""
    again = {
        Row("chat", "chat-1~f1", "web", "small"): {"ok": 9},
        Row("chat", "chat-2~f2", "web", "small"): {"ok": 3},
        Row("chat", "chat-1~f2", "web", "small"): {"ok": 2},
        Row("chat", "chat-2~f0", "web", "small"): {"ok": 5},
        Row("spare", "chat-2~f2", "web", "small"): {"ok": 7},
    }
    other = Store.at("memory", "other", lambda _: None)
    await other.counted.add("a", 1, again)
    keys = (replace(KEYS[1], id="chat-1"), Key("chat-2", Secret(FIRST), "f3", "f3"))
    now = replace(LOCAL, pools={"chat": replace(POOL, keys=keys)})
    for days in (0, 1):
        found = await usage(now, other, days, "key")
        assert [(row["pool"], row["key"], row["attempts"]) for row in found["rows"]] == [
            ("chat", "chat-1", 5),
            ("chat", "chat-1~f1", 9),
            ("chat", "chat-2~f0", 5),
            ("spare", "chat-2~f2", 7),
        ]
        assert as_csv(found).splitlines()[2].startswith("chat,chat-1~f1,0,9,9,")
    (chat,) = (await status.read(now, other))["pools"].values()
    assert [(key["id"], key["usage"]["today"]["sent"], key["usage"]["total"]["sent"]) for key in chat["keys"]] == [
        ("chat-1", 5, 5),
        ("chat-2", 0, 0),
    ]
    await other.close()


async def test_days_are_those_of_redis_and_yesterday_is_not_today(store: Store) -> None:
    today = store.counted._today
    store.counted._today -= timedelta(days=1)
    found = await usage(CONFIG, store, 3, "day")
    assert [row["day"] for row in found["rows"]] == [today.isoformat()]
    assert (found["from"], found["to"]) == ((today - timedelta(days=2)).isoformat(), today.isoformat())


@pytest.mark.parametrize(
    ("days", "by", "told"),
    [
        (1, "keys", 'by: "keys" is nothing to sum by. Known: day, pool, key, client, model'),
        (1, "", 'by: "" is nothing'),
        (0, "day", "by: the usage of all time is not kept by day. Ask for 1 to 400 days."),
        (401, "key", "days: 401 is not 1 to 400, nor 0 for all time."),
        (-1, "key", "days: -1 is not"),
    ],
)
async def test_what_is_not_kept_is_told_with_what_is(store: Store, days: int, by: str, told: str) -> None:
    with pytest.raises(BadQuestion) as raised:
        await usage(CONFIG, store, days, by)
    assert str(raised.value).startswith(told)


async def test_csv_has_a_header_and_the_same_columns_whatever_was_counted(store: Store) -> None:
    """A model's name that a spreadsheet would run is text."""
    by_model, by_key = [
        list(csv.DictReader(io.StringIO(as_csv(await usage(CONFIG, store, 1, by))))) for by in ("model", "key")
    ]
    assert [row["model"] for row in by_model] == ["'=cmd()", "small"]
    assert list(by_model[0])[1:] == list(by_key[0])[2:]
    second = by_key[1]
    assert (second["attempts"], second["failures"], second["rate_limit_day"], second["timeout"]) == ("5", "4", "3", "0")
    assert (second["input_tokens"], second["cached_tokens"], second["unserved"]) == ("5", "5", "0")
    assert as_csv(await usage(CONFIG, store, 1, "key")).count("\n") == 3


# --- GET /admin/v1/usage ----------------------------------------------------------------------------


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    """It has counted one request, which failed once, and flushed nothing yet."""
    made = Replica(LOCAL, Store.at("memory", "test", lambda _: None), lambda _: None)
    for event in (attempted(outcome="timeout", client="web"), attempted(client="web"), answered()):
        made.emit(event)
    yield made
    await made.close()


@pytest.fixture
async def http(replica: Replica) -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.ServerRunner(app.server(replica, app.pages(replica, Metrics(LOCAL)), Stream(str)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}/admin/v1/") as session:
        yield session
    await runner.cleanup()


async def test_a_replica_tells_what_it_has_counted_up_to_now(http: aiohttp.ClientSession) -> None:
    async with http.get("usage") as answer:
        (row,) = (await answer.json())["rows"]
    assert (row["key"], row["requests"], row["attempts"], row["failures"]) == ("chat-1", 1, 2, {"timeout": 1})
    async with http.get("usage", params={"days": 7, "by": "client,model", "format": "csv"}) as answer:
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert (await answer.text()).splitlines()[1].startswith("web,small,1,2,1,1,")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"days": "all"}, 'days: "all" is no number'),
        ({"days": "1" * 5000}, "days: "),
        ({"by": "week"}, 'by: "week" is nothing to sum by'),
        ({"format": "xml"}, 'format: it is no "xml". Known: json, csv.'),
        ({"day": "1"}, 'a query has no "day". Known: days, by, format.'),
    ],
)
async def test_a_question_that_cannot_be_answered_is_400(
    query: dict[str, str], told: str, http: aiohttp.ClientSession
) -> None:
    async with http.get("usage", params=query) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["message"].startswith(told)


async def test_without_the_store_it_is_503_and_worth_another_try(
    replica: Replica, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreAway("gone")

    with monkeypatch.context() as patch:
        patch.setattr(replica.store.counted, "add", away)
        async with http.get("usage") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    async with http.get("usage") as answer:
        assert (await answer.json())["total"]["attempts"] == 2
