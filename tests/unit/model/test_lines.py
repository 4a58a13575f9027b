"""Who waits for a place comes in the order of coming, and holds nobody up with what it cannot use."""

from __future__ import annotations

from dataclasses import replace

from sidecar.model import lines
from sidecar.model.configured import Auth, Key, Pool, Provider, Secret

SECOND = 1_000_000


def test_who_came_before_looks_first_at_what_was_given_back() -> None:
    line = lines.with_((), 10, stands=True, now=100)
    assert lines.has_earlier(line, came=20, freed=101, now=102)
    assert not lines.has_earlier(line, came=5, freed=101, now=102), "who came earlier"
    assert not lines.has_earlier(line, came=10, freed=101, now=102), "itself"


def test_who_has_looked_holds_up_nobody() -> None:
    line = lines.with_((), 10, stands=True, now=100)
    assert not lines.has_earlier(lines.with_(line, 10, stands=True, now=102), came=20, freed=101, now=103)


def test_who_asks_no_more_is_forgotten_and_finds_its_place_again() -> None:
    line = lines.with_(lines.with_((), 10, stands=True, now=100), 20, stands=True, now=100)
    late = 100 + SECOND
    assert not lines.has_earlier(line, came=30, freed=late, now=late)
    line = lines.with_(line, 30, stands=True, now=late)
    assert line == ((30, late),)
    assert lines.with_(line, 10, stands=True, now=late) == ((10, late), (30, late))


def test_who_leaves_is_in_the_way_of_nobody() -> None:
    line = lines.with_(lines.with_((), 10, stands=True, now=100), 10, stands=False, now=101)
    assert line == ()


def test_no_two_have_one_ticket() -> None:
    assert lines.free([((10, 1), (11, 1)), ((12, 1),)], 10) == 13
    assert lines.free([()], 10) == 10


def pool(name: str, *accounts: str) -> Pool:
    provider = Provider("own", "http://localhost", Auth("bearer"), {})
    key = Key("", Secret(""), "", "")
    return Pool(name, provider, tuple(replace(key, id=f"{name}{i}", account=of) for i, of in enumerate(accounts)))


def test_pools_that_have_an_account_in_common_have_one_line() -> None:
    """Also by way of a third."""
    pools = {one.name: one for one in (pool("a", "x"), pool("b", "y", "z"), pool("c", "v"), pool("d", "x", "y"))}
    told = lines.names(pools)
    assert told["a"] == told["b"] == told["d"]
    assert told["c"] == "c"
