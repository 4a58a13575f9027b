"""Usage in Redis: counted once, on Redis's day, in a bounded number of rows that are kept as long as is said."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest
import redis

from sidecar.model.counting import Counts, Row
from sidecar.store import connect, upkeep
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway
from sidecar.store.names import Names
from tests.servers import RedisProcess
from tests.store.asks import run
from tests.store.conftest import OpenStore, Place
from tests.store.test_costs import commands, promised
from tests.store.wire import proxy

NAMES = Names("test")
DAY = date(2026, 9, 21)
DAY_US = 86_400_000_000
NOON = str((DAY - date(1970, 1, 1)).days * DAY_US + DAY_US // 2)
ROW = Row("chat", "k0", "web", "big|odd model")


def rows(count: int, model: str = "m") -> dict[Row, Counts]:
    return {Row("chat", f"k{at}", "web", model): {"ok": 1, "input": 10} for at in range(count)}


def count(place: Place, number: int, told: dict[Row, Counts], day: date = DAY, replica: str = "a") -> date:
    return upkeep.read_day(run(place.raw, upkeep.count(NAMES, replica, number, day, told, NOON)))


def read(place: Place, day: date | None = DAY) -> dict[Row, Counts]:
    today, found = upkeep.read_usage(run(place.raw, upkeep.usage(NAMES, day, NOON)))
    assert today == DAY
    return found


def test_counts_add_up_in_the_day_and_in_the_total(place: Place) -> None:
    """Over replicas, flushes and days; a model may be called anything."""
    assert count(place, 1, {ROW: {"ok": 2, "input": 99_999_999_999_999}}) == DAY
    assert count(place, 1, {ROW: {"ok": 3, "timeout": 1}}, replica="b") == DAY
    place.raw.rename(NAMES.usage(DAY), NAMES.usage(DAY - timedelta(days=1)))
    count(place, 2, {ROW: {"ok": 4}})
    assert read(place) == {ROW: {"ok": 4}}
    assert read(place, None) == {ROW: {"ok": 9, "timeout": 1, "input": 99_999_999_999_999}}
    assert read(place, DAY + timedelta(days=1)) == {}


def test_flush_that_is_sent_again_counts_once(place: Place) -> None:
    for _ in range(3):
        assert count(place, 7, {ROW: {"ok": 2}}) == DAY
    assert count(place, 6, {ROW: {"ok": 2}}) == DAY
    assert read(place) == read(place, None) == {ROW: {"ok": 2}}


def test_flush_of_another_day_counts_nothing_and_says_which_day_it_is(place: Place) -> None:
    for wrong in (DAY - timedelta(days=1), DAY + timedelta(days=400)):
        assert count(place, 1, {ROW: {"ok": 1}}, wrong) == DAY
    assert place.raw.keys() == []
    assert count(place, 1, {ROW: {"ok": 1}}) == DAY
    assert read(place, None) == {ROW: {"ok": 1}}


def test_flush_that_counted_yesterday_counts_no_second_time_today(place: Place) -> None:
    """Sent before midnight, its answer lost, and sent again after it."""
    count(place, 1, {ROW: {"ok": 1}})
    after = upkeep.count(NAMES, "a", 1, DAY + timedelta(days=1), {ROW: {"ok": 1}}, str(int(NOON) + DAY_US))
    assert upkeep.read_day(run(place.raw, after)) == DAY + timedelta(days=1)
    assert read(place, None) == {ROW: {"ok": 1}}


def test_models_beyond_the_most_rows_count_as_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, known rows go on, and one key and client make one row more."""
    monkeypatch.setattr(upkeep, "MOST_ROWS", 3)
    told = {Row("chat", "k0", "web", f"m{at}"): {"ok": 1} for at in range(6)}
    count(place, 1, told)
    count(place, 2, told | {Row("chat", "k0", "web", "other"): {"ok": 10}})
    for day in (DAY, None):
        found = read(place, day)
        assert found.pop(Row("chat", "k0", "web", "other")) == {"ok": 16}
        assert sorted(found) == sorted(told)[:3]
        assert {counts["ok"] for counts in found.values()} == {2}


def test_days_are_kept_for_400_days_and_the_total_for_ever(place: Place) -> None:
    count(place, 1, rows(1))
    assert place.raw.ttl(NAMES.usage(DAY)) == upkeep.USAGE_DAYS * 86_400 == 400 * 86_400
    assert place.raw.ttl(NAMES.flushed("a")) == upkeep.FLUSHED_S
    assert place.raw.ttl(NAMES.usage(None)) == -1


def test_names_carry_the_namespaces_hash_tag() -> None:
    names = (NAMES.usage(DAY), NAMES.usage(None), NAMES.flushed("a"))
    assert names == ("sc:{test}:usage:20260921", "sc:{test}:usage:total", "sc:{test}:flushed:a")


@pytest.mark.parametrize("size", [1, 100])
def test_cost_does_not_grow_with_the_rows(real: Place, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    always, beyond = promised("count", r"(\d+) commands whatever the number of rows, and (\d+) for each row")
    for number in (1, 2):
        assert commands(real.raw, upkeep.count(NAMES, "a", number, DAY, rows(size), NOON)) == always - 1  # asks no TIME
    monkeypatch.setattr(upkeep, "MOST_ROWS", 0)
    spared = upkeep.count(NAMES, "a", 3, DAY, rows(size, "new"), NOON)
    assert commands(real.raw, spared) == always - 1 + 2 * size * beyond
    (cost,) = promised("usage", r"(\d+) commands, in proportion")
    assert commands(real.raw, upkeep.usage(NAMES, DAY, NOON)) == cost - 1


def test_a_row_takes_as_many_bytes_as_is_said(real: Place) -> None:
    counts = {"ok": 118, "input": 51_204, "output": 20_655, "requests": 117, "rate_limit_minute": 2}
    for number in range(10):
        made = {Row("chat", f"chat-{number}", f"team-{at}", "gemini-2.0-flash"): counts for at in range(100)}
        count(real, number + 1, made)
    for day in (DAY, None):
        assert 140 < (real.raw.memory_usage(NAMES.usage(day), samples=0) or 0) / 1000 < 190
    assert (real.raw.memory_usage(NAMES.flushed("a")) or 0) <= 80


# --- through a Store --------------------------------------------------------------------------------


async def test_store_counts_today_and_reads_the_last_days(store: Store) -> None:
    await store.counted.add("a", 1, {ROW: {"ok": 1}})
    found = [(day, rows) async for day, rows in store.counted.days(3)]
    assert [rows for _, rows in found] == [{ROW: {"ok": 1}}, {}, {}]
    assert [found[0][0] - day for day, _ in found] == [timedelta(days=back) for back in range(3)]
    assert await store.counted.total() == {ROW: {"ok": 1}}


async def test_store_that_thinks_it_is_another_day_learns_it(place: Place, open_store: OpenStore) -> None:
    """A replica's clock may be wrong, and midnight passes."""
    for wrong in (-3, 2):
        store = open_store(place.open).store
        today = store.counted._today
        store.counted._today += timedelta(days=wrong)
        await store.counted.add(f"replica{wrong}", 1, {ROW: {"ok": 1}})
        assert store.counted._today == today
        store.counted._today += timedelta(days=wrong)
        assert [day async for day, _ in store.counted.days(1)] == [today]
    assert await store.counted.total() == {ROW: {"ok": 2}}


async def test_flush_whose_answer_was_lost_is_counted_once(redis_process: RedisProcess, open_store: OpenStore) -> None:
    """Redis counts, the connection breaks before it can say so, and the replica sends it again."""
    async with proxy(redis_process.port) as cut:
        witness = open_store(connect.opener(f"redis://127.0.0.1:{cut.port}/0"))
        await witness.store.counted.add("a", 1, {ROW: {"ok": 1}})
        cut.cut_next_reply_after(0)
        with pytest.raises(StoreAway):
            await witness.store.counted.add("a", 2, {ROW: {"ok": 1}})
        await asyncio.wait_for(witness.store.up.wait(), 30)
        with redis.Redis(port=redis_process.port) as raw:
            assert raw.get(witness.store.names.flushed("a")) == b"2"
        await witness.store.counted.add("a", 2, {ROW: {"ok": 1}})
        assert await witness.store.counted.total() == {ROW: {"ok": 2}}
        await witness.store.close()
