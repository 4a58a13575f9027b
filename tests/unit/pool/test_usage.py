"""What replicas count is in Redis as it happened: nothing twice, and nothing lost but with a replica that is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.model.counting import OUTCOMES, Counts, Row
from sidecar.model.events import Answered, Attempted, Event, StoreChanged
from sidecar.model.labels import MOST_MODELS, OTHER, ModelLabels
from sidecar.model.words import Usage
from sidecar.pool import usage
from sidecar.pool.usage import Counting
from sidecar.store import connect, memory
from sidecar.store.commands import Store
from sidecar.store.connect import Opener, StoreAway
from sidecar.store.counted import Counted
from tests.unit.pool.configs import config, pool

CONFIG = config(pool("p", 3, names_models=("small", "big*")), pool("q"))
ATTEMPTED = Attempted("r", "p", "k0", "small", "ok", 200, 0.1, client="web", fingerprint="fp-k0")


def answered(outcome: str = "ok", status: int = 200, **fields: Any) -> Answered:
    whose = {"pool": "p", "key": "k0", "model": "small", "client": "web"} | fields
    whose["fingerprint"] = whose["key"] and f"fp-{whose['key']}"
    return Answered("r", "POST", "/v1", status, outcome, 1, **whose, total_s=1, waited_s=0, acquire_s=0, upstream_s=1,
                    first_byte_s=1)  # fmt: skip


class Forgetful(Store):
    """A store whose answers may be lost before the call is sent, or after it was executed."""

    fate: Callable[[], str] = staticmethod(lambda: "well")

    def __init__(self, *told: Any) -> None:
        super().__init__(*told)
        self.counted = Forgotten(self, self.counted)


class Forgotten(Counted):
    def __init__(self, store: Forgetful, counted: Counted) -> None:
        self._store, self._counted = store, counted
        super().__init__(counted._names, counted._call)

    async def add(self, *told: Any) -> None:
        fate = self._store.fate()
        if fate != "unsent":
            await self._counted.add(*told)
        if fate != "well":
            raise StoreAway(fate, sent=fate == "lost")


@pytest.fixture
async def opener() -> Opener:
    return memory.opener()


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Forgetful]:
    made = Forgetful(opener, "test", lambda _: None)
    yield made
    await made.close()


def test_each_event_adds_to_the_row_of_its_key_client_and_model(store: Store) -> None:
    counting = Counting(CONFIG, store, "a")
    counting(Attempted("r", "p", "k0", "small", "ok", 200, 0.1, Usage(10, 5, 15, 4, None), "web", "fp-k0"))
    counting(Attempted("r", "p", "k1", "small", "rate_limit_day", 429, 0.1, client="web", fingerprint="fp-k1"))
    counting(answered())
    counting(answered("out_of_budget", 429, key=""))
    counting(answered("cancelled", 499, key=""))
    counting(answered("bad_request", 400))
    counting(answered("listed", 200, pool="", key="", model=""))
    counting(StoreChanged(up=False))
    assert counting._rows == {
        Row("p", "k0~fp-k0", "web", "small"): {"ok": 1, "input": 10, "output": 5, "cached": 4, "requests": 2},
        Row("p", "k1~fp-k1", "web", "small"): {"rate_limit_day": 1},
        Row("p", "", "web", "small"): {"requests": 2, "unserved/out_of_budget": 1, "unserved/cancelled": 1},
    }


def test_an_id_that_is_another_keys_now_counts_in_another_row(store: Store) -> None:
    counting = Counting(CONFIG, store, "a")
    for fingerprint in ("one", "two"):
        counting(replace(ATTEMPTED, fingerprint=fingerprint))
        counting(replace(answered(), fingerprint=fingerprint))
    assert counting._rows == {
        Row("p", "k0~one", "web", "small"): {"ok": 1, "requests": 1},
        Row("p", "k0~two", "web", "small"): {"ok": 1, "requests": 1},
    }


def test_names_of_clients_make_a_bounded_number_of_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process, and where Redis is away for long; no count is left out."""
    label = ModelLabels(CONFIG)
    names = {label("p", f"m{at}", 200) for at in range(2 * MOST_MODELS)}
    assert len(names - {OTHER}) == MOST_MODELS - 1
    assert (label("p", "small", 404), label("p", "typo", 404), label("", "junk", 401)) == ("small", OTHER, "")
    monkeypatch.setattr(usage, "MOST_HELD", 3)
    counting = Counting(CONFIG, store, "a")
    for at in range(10):
        counting(Attempted("r", "p", "k0", f"m{at}", "ok", 200, 0.1, fingerprint="fp-k0"))
    assert counting._rows.pop(Row("p", "k0~fp-k0", "", OTHER)) == {"ok": 7}
    assert len(counting._rows) == 3


EVENTS = st.one_of(
    st.builds(
        Attempted,
        request_id=st.just("r"),
        pool=st.sampled_from(["p", "q"]),
        key=st.just("k0"),
        fingerprint=st.sampled_from(["fp-k0", "other"]),
        model=st.sampled_from(["small", "m|1", ""]),
        outcome=st.sampled_from(OUTCOMES),
        status=st.just(200),
        first_byte_s=st.none(),
        usage=st.none() | st.builds(Usage, input=st.integers(0, 10**9), output=st.none(), cached=st.integers(0, 9)),
        client=st.sampled_from(["", "web"]),
    ),
    st.builds(answered, st.sampled_from(["ok", "late"]), st.sampled_from([200, 503]), client=st.sampled_from("ab")),
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2), EVENTS | st.sampled_from(["well", "unsent", "lost", "cancelled"])), max_size=60
)


def plain_sums(events: list[Event]) -> Counter[tuple[Row, str]]:
    """The same sums, added up by hand."""
    sums: Counter[tuple[Row, str]] = Counter()
    for event in events:
        assert isinstance(event, Attempted | Answered)
        row = Row(event.pool, f"{event.key}~{event.fingerprint}", event.client, event.model)
        if isinstance(event, Answered):
            sums[row, "requests"] += 1
            sums[row, f"unserved/{event.outcome}"] += event.outcome == "late" and event.status == 503
        else:
            sums[row, str(event.outcome)] += 1
            for kind in ("input", "output", "cached"):
                sums[row, kind] += getattr(event.usage, kind, None) or 0
    return +sums


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from([1, 2, 100]))
def test_redis_has_the_plain_sums_of_all_replicas_whatever_happens_to_their_flushes(
    steps: list[tuple[int, Event | str]], at_once: int
) -> None:
    """Flushes that were not sent, whose answer was lost, and that were cancelled half-way: each counts once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage, "MOST_AT_ONCE", at_once)
        patch.setattr(connect, "CALL_S", 60.0)  # a busy machine is none of what may happen here
        asyncio.run(_history(steps))


async def _history(steps: list[tuple[int, Event | str]]) -> None:
    opener = memory.opener()
    stores = [Forgetful(opener, "test", lambda _: None) for _ in range(3)]
    replicas = [Counting(CONFIG, store, f"replica{at}") for at, store in enumerate(stores)]
    happened: list[Event] = []
    for at, step in steps:
        if not isinstance(step, str):
            replicas[at](step)
            happened.append(step)
        elif step == "cancelled":
            flush = asyncio.create_task(replicas[at].flush())
            for _ in range(3):
                await asyncio.sleep(0)
            flush.cancel()
            await asyncio.gather(flush, return_exceptions=True)
        else:
            stores[at].fate = lambda fate=step: fate  # type: ignore[misc]
            await asyncio.gather(replicas[at].flush(), return_exceptions=True)
            stores[at].fate = lambda: "well"
    for replica in replicas:
        await replica.close()
    total: dict[Row, Counts] = await stores[0].counted.total()
    (today,) = [rows async for _, rows in stores[0].counted.days(1)]
    for store in stores:
        await store.close()
    assert today == total
    assert {(row, kind): count for row, counts in total.items() for kind, count in counts.items()} == plain_sums(
        happened
    )


async def test_what_is_counted_while_redis_is_away_is_flushed_when_it_is_back(store: Forgetful) -> None:
    counting = Counting(CONFIG, store, "a")
    store.fate = lambda: "unsent"
    counting(ATTEMPTED)
    with pytest.raises(StoreAway):
        await counting.flush()
    counting(ATTEMPTED)
    store.fate = lambda: "well"
    await counting.flush()
    assert await store.counted.total() == {Row("p", "k0~fp-k0", "web", "small"): {"ok": 2}}


async def test_it_flushes_by_itself_and_at_the_end(store: Forgetful, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = asyncio.Event()

    def fate() -> str:
        flushed.set()
        return "well"

    store.fate = fate
    monkeypatch.setattr(usage, "FLUSH_S", 0.001)
    counting = Counting(CONFIG, store, "a")
    counting.start()
    counting(ATTEMPTED)
    await flushed.wait()
    monkeypatch.setattr(usage, "FLUSH_S", 3600)
    await counting.flush()
    counting(ATTEMPTED)
    await counting.close()
    assert await store.counted.total() == {Row("p", "k0~fp-k0", "web", "small"): {"ok": 2}}


async def test_a_store_that_is_away_at_the_end_stops_nothing(store: Forgetful) -> None:
    counting = Counting(CONFIG, store, "a")
    counting(ATTEMPTED)
    store.fate = lambda: "unsent"
    assert await counting.close() is None  # type: ignore[func-returns-value]
    assert await store.counted.total() == {}
