"""Who made what, on every kind of store: by whichever replica it was told, for as long as its provider keeps it."""

from __future__ import annotations

from sidecar.model.events import KeptChanged
from sidecar.store.commands import Store
from sidecar.store.evicting import Memory
from sidecar.store.made import Maker
from tests.store.conftest import OpenStore, Place

ONE, OTHER = Maker("fp-1", "=acme"), Maker("fp-2", "fp-2", "web")


async def test_every_replica_knows(place: Place, open_store: OpenStore) -> None:
    """Also with the client, where one was told; of what nobody told, nobody knows."""
    told, asked = open_store(place.open).store, open_store(place.open).store
    await told.made.add(ONE, {"file-1": 60, "file-2": 60})
    await told.made.add(OTHER, {"upload_id=x": 60})
    found = await asked.made.makers({"file-1": 0, "file-2": 0, "file-3": 0, "upload_id=x": 0})
    assert found == {"file-1": ONE, "file-2": ONE, "upload_id=x": OTHER}


async def test_what_is_anothers_stays_so_until_it_is_taken_and_zero_forgets(store: Store) -> None:
    """Whose it is tells the key or the account: either may have another name by now."""
    await store.made.add(ONE, {"file-1": 60, "file-2": 60, "file-3": 60})
    renamed = Maker("fp-1", "=acme-2")
    assert await store.made.add(OTHER, {"file-1": 60, "file-2": 0}) == {"file-1": ONE, "file-2": ONE}
    assert await store.made.add(renamed, {"file-1": 60, "file-3": 0}) == {}
    assert await store.made.add(OTHER, {"file-2": 60}, takes=True) == {}
    things = {"file-1": 0, "file-2": 0, "file-3": 0}
    assert await store.made.makers(things) == {"file-1": renamed, "file-2": OTHER}


async def test_what_was_said_of_a_thing_is_not_unsaid(store: Store) -> None:
    """By an answer that only lists it, whichever key of its account it is for."""
    of_model = Maker("fp-1", "=acme", model="gemini-2.5-flash")
    await store.made.add(of_model, {"cachedContents/1": 60})
    assert await store.made.add(Maker("fp-3", "=acme"), {"cachedContents/1": 60}) == {}
    assert await store.made.makers({"cachedContents/1": 0}) == {"cachedContents/1": of_model._replace(key="fp-3")}
    await store.made.add(of_model._replace(model="gemini-2.5-pro"), {"cachedContents/1": 60})
    assert (await store.made.makers({"cachedContents/1": 0}))["cachedContents/1"].model == "gemini-2.5-pro"


async def test_it_is_kept_as_long_as_was_said_or_from_its_last_use(place: Place, store: Store) -> None:
    await store.made.add(ONE, {"file-1": 60, "resp_1": 60})
    await store.made.makers({"file-1": 6000, "resp_1": 0})
    left = [place.raw.ttl(store.names.made(thing)) for thing in ("file-1", "resp_1")]
    assert 5990 <= left[0] <= 6000
    assert 50 <= left[1] <= 60


async def test_redis_sees_no_id(place: Place, store: Store) -> None:
    """Whoever reads that of an upload could write to it."""
    await store.made.add(ONE, {"upload_id=secret": 60})
    assert not any(b"secret" in name for name in place.raw.scan_iter())


async def test_nothing_more_is_remembered_above_three_quarters_of_redis(place: Place, open_store: OpenStore) -> None:
    """What is known stays so, and what is no more is forgotten; it is told once, and that it is over."""
    witness = open_store(place.open)
    made = witness.store.made
    await made.add(ONE, {"file-1": 60, "file-2": 60})
    for used, file, remembered in (
        (75, "file-3", True),
        (76, "file-4", False),
        (90, "file-5", False),
        (67, "file-6", False),
        (66, "file-7", True),
        (75, "file-8", True),
    ):
        made.heed(Memory(used, 100, "noeviction"))
        await made.add(ONE, {file: 60})
        assert bool(await made.makers({file: 0})) is remembered
    made.heed(Memory(90, 100, "noeviction"))
    assert await made.add(OTHER, {"file-1": 0, "file-9": 60}) == {"file-1": ONE}
    await made.add(ONE, {"file-2": 0})
    assert await made.makers({"file-1": 0, "file-2": 0}) == {"file-1": ONE}
    told = [event for event in witness.events if isinstance(event, KeptChanged)]
    assert [(event.what, event.works) for event in told] == [("ids", False), ("ids", True), ("ids", False)]
    assert "maxmemory" in told[0].reason
