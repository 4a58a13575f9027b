"""Cached answers, and which request runs for all that ask the same, on every kind of store."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from sidecar.model.events import Event, KeptChanged
from sidecar.model.words import Usage
from sidecar.store import cache as kept
from sidecar.store import connect
from sidecar.store.cache import Cache, Kept
from sidecar.store.calls import Call
from sidecar.store.commands import Store
from sidecar.store.names import Names
from tests.servers import RedisProcess
from tests.store.asks import run
from tests.store.conftest import Place

NAMES = Names("test")
ANSWER = Kept("application/json", "chat", "gpt-4o", Usage(12, 6, 18, None, 2), 60.0, zlib.compress(b'{"a":1}'))
MOST = 1024 * 1024
BEGINNING_US = 1_790_000_000_123_000

Open = Callable[..., Cache]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def opened(events: list[Event]) -> AsyncIterator[Open]:
    """Makes caches, each as another replica has it."""
    made: list[Cache] = []

    def make(opener: connect.Opener, own: bool = False) -> Cache:
        made.append(Cache(opener, NAMES, events.append, own))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def look(cache: Cache, digest: str, token: str) -> Kept | str:
    """What is found by who takes an answer of any age."""
    return await cache.look(digest, token, ANSWER.ttl_s)


async def told(cache: Cache, digest: str = "d", token: str = "late") -> Kept | str:
    """What a look finds once all that was queued before is done."""
    return await look(cache, digest, token)


async def test_one_runs_and_the_others_wait_for_what_it_keeps(place: Place, opened: Open) -> None:
    """Over all replicas; what is read is what was written, and says how old it is."""
    one, other = opened(place.open), opened(place.open)
    assert await look(one, "d", "a") == "runs"
    assert await look(one, "d", "b") == "sent"
    assert await look(other, "d", "c") == "sent"
    assert await look(other, "another", "c") == "runs"
    one.keep("d", "a", ANSWER, MOST)
    found = await told(one)
    assert isinstance(found, Kept)
    assert (found.content_type, found.pool, found.model, found.usage) == (
        "application/json",
        "chat",
        "gpt-4o",
        ANSWER.usage,
    )
    assert (found.body(), found.ttl_s) == (b'{"a":1}', 60.0)
    assert 0 <= found.age_s < 30
    assert isinstance(await told(other), Kept)
    assert not place.raw.exists(NAMES.run("d"))
    assert 0 < place.raw.pttl(NAMES.answer("d")) <= 60_000


async def test_a_run_that_keeps_nothing_sends_all_on_alone(place: Place, opened: Open) -> None:
    """For a moment: then the next one runs."""
    cache = opened(place.open)
    assert await look(cache, "d", "a") == "runs"
    cache.end("d", "a", alone=True)
    assert [await told(cache), await told(cache)] == ["alone", "alone"]
    assert 0 < place.raw.pttl(NAMES.run("d")) <= kept.ALONE_MS
    place.raw.delete(NAMES.run("d"))
    assert await told(cache) == "runs"


async def test_the_next_one_runs_where_a_client_went_away(place: Place, opened: Open) -> None:
    cache = opened(place.open)
    assert await look(cache, "d", "a") == "runs"
    cache.end("d", "a", alone=False)
    assert await look(cache, "d", "b") == "runs"


async def test_who_does_not_run_ends_nothing(place: Place, opened: Open) -> None:
    """A run that was given up for lost may end later: another's is not its own."""
    cache = opened(place.open)
    assert await look(cache, "d", "b") == "runs"
    cache.renew("d", "a", waits=False)
    cache.end("d", "a", alone=True)
    assert await told(cache) == "sent"
    cache.keep("d", "a", ANSWER, MOST)
    assert isinstance(await told(cache), Kept)
    assert place.raw.get(NAMES.run("d")) == b"sent|b"


async def test_a_run_lasts_as_long_as_it_gives_signs_of_life(
    place: Place, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened(place.open)
    monkeypatch.setattr(kept, "HOLD_MS", 60_000)
    assert await look(cache, "d", "a") == "runs"
    monkeypatch.setattr(kept, "HOLD_MS", 1)
    cache.renew("d", "a", waits=False)
    while (seen := await told(cache, token="b")) == "sent":  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)
    assert seen == "runs"


async def test_a_run_tells_whether_it_only_waits_for_room(place: Place, opened: Open) -> None:
    """Who looks at it knows; it is another's neither way."""
    one, other = opened(place.open), opened(place.open)
    assert await look(one, "d", "a") == "runs"
    for waits, seen in ((True, "waits"), (True, "waits"), (False, "sent")):
        one.renew("d", "a", waits)
        await told(one)
        assert await look(other, "d", "b") == seen
    other.renew("d", "b", waits=True)
    assert await told(other) == "sent"
    one.renew("d", "a", waits=True)
    one.end("d", "a", alone=False)
    assert await told(one) == "runs"


async def test_a_look_that_is_given_up_runs_nothing(place: Place, opened: Open) -> None:
    cache = opened(place.open)
    assert await look(cache, "warm", "w") == "runs"  # connected
    looking = asyncio.create_task(look(cache, "d", "a"))
    await asyncio.sleep(0)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    while (seen := await told(cache, token="b")) == "sent":  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)
    assert seen == "runs"


async def test_an_answer_that_is_too_old_is_none_to_who_asks(place: Place, opened: Open) -> None:
    """One runs for all who say so; to who takes it as it is it is there."""
    one, other = opened(place.open), opened(place.open)
    one.keep("d", "", ANSWER, MOST)
    await told(one)
    place.raw.pexpire(NAMES.answer("d"), 40_000)  # that is kept for a minute
    assert [await one.look("d", "a", 19.0), await other.look("d", "b", 19.0)] == ["runs", "sent"]
    found = await other.look("d", "b", 30.0)
    assert isinstance(found, Kept)
    assert 20 <= found.age_s < 30
    one.keep("d", "a", ANSWER, MOST)
    await told(one)
    assert isinstance(await other.look("d", "b", 19.0), Kept)


@pytest.mark.parametrize("text", [b"", b"1[]\nx", b"2{}\nx", b'2[1,"a","b","c",null', b"2\xff\nx"])
async def test_what_cannot_be_read_is_no_answer(place: Place, opened: Open, text: bytes) -> None:
    """Another version's, or somebody else's."""
    place.raw.set(NAMES.answer("d"), text, px=60_000)
    assert await told(opened(place.open)) == "alone"
    assert Kept("", "", "", None, 1.0, b"no zlib").body() is None


# --- bounds -----------------------------------------------------------------------------------------


async def test_all_answers_together_are_bounded(
    place: Place, opened: Open, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that would be too much is not kept, and those that wait for it go alone. It is told once, and that it
    is over when nothing was refused for a while: at a bound one is kept now and then."""
    cache = opened(place.open)
    most = 3 * (len(kept.write(ANSWER)) + 250)
    for digest in "abcde":
        cache.keep(digest, "", ANSWER, most)
    assert await look(cache, "x", "t") == "runs"
    cache.keep("x", "t", ANSWER, most)
    assert await told(cache, "x") == "alone"
    assert [bool(place.raw.exists(NAMES.answer(digest))) for digest in "abcde"] == [True, True, True, False, False]
    assert events == [KeptChanged("answers", False, "the answers are 0.0 MiB of the 0.0 MiB of cache.max_total")]
    cache.keep("a", "", ANSWER, most)  # in the place of what was there
    assert isinstance(await told(cache, "a"), Kept)
    cache.keep("d", "", ANSWER, most)
    assert await told(cache, "a")
    assert len(events) == 1
    monkeypatch.setattr(kept, "SETTLED_S", 0.0)
    cache.keep("a", "", ANSWER, most)
    assert isinstance(await told(cache, "a"), Kept)
    assert events[1:] == [KeptChanged("answers", True)]


Keep = Callable[..., object]  # digest, bytes, ttl in seconds, at: seconds from the beginning


@pytest.fixture
def keep(place: Place) -> Keep:
    def keep(digest: str, size: int, ttl_s: float, at_s: float) -> object:
        keys = (NAMES.answer(digest), NAMES.run(digest), NAMES.sizes)
        args = (str(BEGINNING_US + round(at_s * 1e6)), "", "1", str(round(ttl_s * 1000)), "10000", "0", "x" * size)
        return run(place.raw, Call("cache_keep", keys, args))

    return keep


def counted(place: Place) -> int:
    """The bytes of all answers, which are those of each moment together."""
    sizes = {name: int(text) for name, text in place.raw.hgetall(NAMES.sizes).items()}
    total, first = sizes.pop(b"total"), sizes.pop(b"next")
    assert total == sum(sizes.values())
    assert first == min(map(int, sizes), default=10**15)
    return total


@pytest.mark.parametrize("ttl_s", [0.05, 6, 60, 30 * 86_400])
def test_what_has_expired_counts_no_more(place: Place, keep: Keep, ttl_s: float) -> None:
    """But for a sixtieth of its ttl, however short or long that is."""
    assert keep("a", 4000, ttl_s, 0) == b"kept"
    assert keep("b", 4000, ttl_s * 10, 0) == b"kept"
    assert keep("c", 4000, ttl_s, ttl_s * 0.98) == [b"total", b"8500", b"10000"]
    assert keep("c", 4000, ttl_s, ttl_s * 1.04) == b"kept"
    assert counted(place) == 8500
    assert place.raw.pttl(NAMES.sizes) > ttl_s * 9000


def test_what_a_former_ttl_keeps_counts_on(place: Place, keep: Keep) -> None:
    """Until it has expired by that; and what is replaced counts no more, and never less than nothing."""
    assert keep("a", 4000, 60, 0) == b"kept"
    assert keep("b", 4000, 86_400, 30) == b"kept"
    assert keep("c", 4000, 6, 58) == [b"total", b"8500", b"10000"]
    assert keep("c", 4000, 6, 62) == b"kept"
    assert keep("c", 100, 86_400, 63) == b"kept"  # while the former one had 6 s to live
    for at_s in (63, 75, 90_000):
        assert keep("d", 9900, 60, at_s)[0] == b"total"  # type: ignore[index]
        assert counted(place) >= (0 if at_s > 86_400 else 4250 + 350)
    assert keep("d", 9000, 60, 90_000) == b"kept"


def test_what_is_known_of_sizes_is_bounded(place: Place, keep: Keep) -> None:
    """However many answers there are and end."""
    for n in range(500):
        assert keep(f"d{n}" if n % 3 else "again", 1, 60, n * 2) == b"kept"
    assert place.raw.hlen(NAMES.sizes) <= 62 + 2


# --- Redis's memory ---------------------------------------------------------------------------------


def bound(process: RedisProcess, most: int, policy: str) -> redis.Redis:
    """A client of it, with this maxmemory in bytes above what it uses now."""
    client = redis.Redis(port=process.port)
    used: int = client.info("memory")["used_memory"]
    client.config_set("maxmemory-policy", policy)
    client.config_set("maxmemory", used + most if most else 0)
    return client


async def test_nothing_is_kept_above_half_of_redis(
    redis_process: RedisProcess, opened: Open, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is still read, and when there is room again answers are kept again."""
    monkeypatch.setattr(kept, "SETTLED_S", 0.0)
    cache = opened(connect.opener(redis_process.url))
    cache.keep("a", "", ANSWER, MOST)
    assert isinstance(await told(cache, "a"), Kept)
    with bound(redis_process, 300_000, "noeviction") as client:
        assert await look(cache, "b", "t") == "runs"
        cache.keep("b", "t", ANSWER, MOST)
        assert await told(cache, "b") == "alone"
        assert isinstance(await told(cache, "a"), Kept)
        assert [event.works for event in events if isinstance(event, KeptChanged)] == [False]
        assert "maxmemory" in str(events[0])
        client.config_set("maxmemory", 100_000_000)
        cache.keep("b", "", ANSWER, MOST)
        assert isinstance(await told(cache, "b"), Kept)
        assert [event.works for event in events if isinstance(event, KeptChanged)] == [False, True]


@pytest.mark.parametrize(("own", "found"), [(True, True), (False, False)])
async def test_a_redis_of_its_own_that_evicts_may_be_full(
    redis_process: RedisProcess, opened: Open, own: bool, found: bool
) -> None:
    """One that has the budgets too may not, whatever it evicts."""
    cache = opened(connect.opener(redis_process.url), own)
    await told(cache)
    with bound(redis_process, 300_000, "allkeys-lru"):
        cache.keep("a", "", ANSWER, MOST)
        assert isinstance(await told(cache, "a"), Kept) is found


@pytest.mark.parametrize(
    ("url", "found"), [("{0}", False), ("{0}?db=1", False), ("redis://elsewhere", True), ("embedded", True)]
)
async def test_another_database_of_the_budgets_server_is_none_of_its_own(
    redis_process: RedisProcess, events: list[Event], url: str, found: bool
) -> None:
    """Both share its memory, and what evicts an answer evicts a budget. `url`: that of the budgets."""
    cache = Cache.at(redis_process.url, url.format(redis_process.url), None, NAMES, events.append)  # type: ignore[arg-type]
    await told(cache)
    with bound(redis_process, 300_000, "allkeys-lru"):
        cache.keep("a", "", ANSWER, MOST)
        assert isinstance(await told(cache, "a"), Kept) is found
    await cache.close()


async def test_a_full_redis_is_no_error(redis_process: RedisProcess, opened: Open, events: list[Event]) -> None:
    """Each goes alone, and what is there is read."""
    cache = opened(connect.opener(redis_process.url))
    cache.keep("a", "", ANSWER, MOST)
    assert await look(cache, "b", "t") == "runs"
    with bound(redis_process, 0, "noeviction") as client:
        client.config_set("maxmemory", 1)
        assert await told(cache, "c") == "alone"
        cache.keep("b", "t", ANSWER, MOST)
        cache.end("b", "t", alone=True)
        assert await told(cache, "b") == "alone"
        assert isinstance(await told(cache, "a"), Kept)
        assert not client.exists(NAMES.run("b"))
    assert not any("away" in str(event) for event in events)


@pytest.mark.parametrize(
    ("policy", "bounded", "risky"),
    [
        ("noeviction", True, False),
        ("allkeys-lru", False, False),
        ("allkeys-lru", True, True),
        ("volatile-ttl", True, True),
    ],
)
async def test_whether_redis_may_evict_budgets(
    redis_process: RedisProcess, policy: str, bounded: bool, risky: bool
) -> None:
    store = Store(connect.opener(redis_process.url), "test", lambda _: None)
    with bound(redis_process, 10_000_000 if bounded else 0, policy):
        told = (await store.memory()).risk
    await store.close()
    assert (policy in told, "noeviction" in told) == (risky, risky)


async def test_a_redis_that_does_not_say_is_no_risk() -> None:
    """fakeredis has no INFO in scripts, and where it is rented it may be closed."""
    store = Store.at("memory", "test", lambda _: None)
    assert (await store.memory()).risk == ""
    await store.close()


# --- cost -------------------------------------------------------------------------------------------


def test_what_a_call_costs_is_what_its_script_says(real: Place) -> None:
    """However many answers there are."""
    entry, under_way = NAMES.answer("d"), NAMES.run("d")
    look = Call("cache_look", (entry, under_way), ("a", "600000", "1000"))
    too_old = Call("cache_look", (NAMES.answer("old"), NAMES.run("old")), ("a", "60000", "1000"))
    keep = Call("cache_keep", (entry, under_way, NAMES.sizes), ("", "a", "1", "60000", "10000", "0", "text"))

    def cost(call: Call) -> int:
        real.raw.config_resetstat()
        run(real.raw, call)
        stats = real.raw.info("commandstats")
        return sum(
            stat["calls"] for name, stat in stats.items() if not name.startswith(("cmdstat_eval", "cmdstat_config"))
        )

    assert (cost(look), cost(look)) == (3, 2)
    assert cost(Call("cache_renew", (under_way,), ("a", "1000", "waits"))) == 2
    assert cost(keep) <= 13
    assert (cost(keep) <= 13, cost(look)) == (True, 2)
    real.raw.set(under_way, "sent|b")
    real.raw.set(NAMES.answer("old"), b"2[90000,", px=20_000)
    assert (cost(too_old), cost(too_old)) == (4, 3)
    assert cost(Call("cache_end", (under_way,), ("b", "1000"))) == 2
    assert cost(Call("memory", (NAMES.state,), ())) == 1
