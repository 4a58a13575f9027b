"""A script that is told nonsense fails with the Lua file and line that could make no sense of it."""

from __future__ import annotations

import re

import pytest

from sidecar.store import scripts
from sidecar.store.batch import Lane
from sidecar.store.calls import Call
from sidecar.store.connect import StoreAway, StoreUnable
from tests.store.conftest import Place

STATE, SET, HASH, WAKE, MODELS = (f"{{x}}{name}" for name in ("state", "set", "hash", "wake", "models"))
MEMBER = "00000|1|k0|fp-k0|acc-k0|0"
LIMIT = ("requests/60000000/", "1", "60000000", "50000")
COUNTED = ("{x}today", "{x}total", "{x}flushed")
TARGET = (STATE, SET, HASH, WAKE)

# Script, KEYS, ARGV, and the beginning of the Lua line that fails.
MALFORMED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str]] = {
    "acquire: nothing": ("acquire", TARGET, (), "for i = 1, args.number() do"),
    "acquire: no count of tried": ("acquire", TARGET, ("",), "for i = 1, args.number() do"),
    "acquire: no count of sets": ("acquire", TARGET, ("", "0", "m", "0"), "for i = 1, args.number() do"),
    "acquire: a set cut short": ("acquire", TARGET, ("", "0", "m", "0", "1", "1"), "fields[i] = 'w|'"),
    "acquire: no set for the member": ("acquire", TARGET, ("", "0", "m", "0", "0"), "for i, limit in ipairs(limits)"),
    "acquire: a maximum of words": (
        "acquire",
        TARGET,
        ("", "0", "m", "0", "1", "1", "requests/1/", "many", "60000000", "50000"),
        "local older = total_of(text) - limit.max",
    ),
    "acquire: no wait": (
        "acquire",
        (*TARGET, "{x}set2", "{x}hash", WAKE),
        ("", "1", "0|k0", "m", "soon", "1", "0"),
        "for i = 1, args.number() do",
    ),
    "confirm: nothing": ("confirm", (STATE, WAKE), (), "local id, key, account, limits = string.match"),
    "confirm: no moment": ("confirm", (STATE, WAKE), ("", MEMBER, "m", "then", "0"), "if now < moment then"),
    "confirm: no limits": ("confirm", (STATE, WAKE), ("", MEMBER, "m", "1"), "for i = 1, args.number() do"),
    "confirm: no member": ("confirm", (STATE, WAKE), ("", "k0", "m", "1", "0"), "local of_key, of_account ="),
    "release: nothing": ("release", (STATE, WAKE), (), "local id, key, account, limits = string.match"),
    "release: no member": ("release", (STATE, WAKE), ("", "k0", "1", "1", *LIMIT), "fields[i] = 'w|'"),
    "release: no moment": ("release", (STATE, WAKE), ("", MEMBER, "then", "1", *LIMIT), "if moment + limit.window"),
    "release: a limit cut short": (
        "release",
        (STATE, WAKE),
        ("", MEMBER, "1", "1", "name"),
        "if moment + limit.window",
    ),
    "report: nothing": ("report", (STATE, WAKE), (), "for _ = 1, args.number() do"),
    "report: no delay": ("report", (STATE,), ("", "r", "1", "c|key|x", "long", "1", "why", "0"), "local ends, since ="),
    "report: no reason": ("report", (STATE,), ("", "r", "1", "c|key|x", "1", "1"), "for _ = 1, args.number() do"),
    "report: no clears": ("report", (STATE,), ("", "r", "0"), "for _ = 1, args.number() do"),
    "register: nothing": ("register", (*TARGET, MODELS), (), "for i = 1, args.number() do"),
    "register: no most": ("register", (*TARGET, MODELS), ("", "m2", "all", "0"), "if redis.call('SCARD'"),
    "register: no member": (
        "register",
        (STATE, "{x}s2", "{x}h2", WAKE, MODELS),
        ("", "m", "9", "1", "k0"),
        "of_account",
    ),
    "inspect: no fields": ("inspect", (STATE,), ("",), "for i = 1, args.number() do"),
    "admin: nothing": ("admin", (STATE, WAKE), (), "for i = 1, args.number() do"),
    "admin: no count of fields": (
        "admin",
        (STATE, WAKE),
        ("", "reset", "off|x", "a", ""),
        "for i = 1, args.number() do",
    ),
    "count: nothing": ("count", COUNTED, (), "now = now ~= '' and now"),
    "count: no rows": ("count", COUNTED, ("1", "0", "1", "9", "9", "9"), "for i = 1, args.number() do"),
    "count: a row of no model": (
        "count",
        COUNTED,
        ("1", "0", "1", "9", "9", "0", "1", "a", "{}"),
        "field = string.match(",
    ),
    "usage: a moment of words": ("usage", ("{x}today",), ("soon",), "now = now ~= '' and now"),
    "drift: no moment": ("drift", (STATE, "{x}drift"), ("", "fp", "then", "x"), "if last >= moment then"),
    "beat: no silence": ("beat", ("{x}replicas",), ("", "a", "never"), "redis.call('ZREMRANGEBYSCORE'"),
}


def _fail_on_failure(away: StoreAway) -> None:
    raise AssertionError(away)


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_call_names_file_and_line(place: Place, name: str) -> None:
    """And the connection is good for the next call."""
    script, keys, args, line = MALFORMED[name]
    lane = Lane(place.open, _fail_on_failure)
    await lane.call(Call("register", (*TARGET, MODELS), ("", "m", "256", "1", MEMBER)))
    with pytest.raises(StoreUnable) as failed:
        await lane.call(Call(script, keys, args))
    found = re.search(r"lua/(\S+\.lua):(\d+): ", str(failed.value))
    assert found, failed.value
    text = (scripts.folder() / found[1]).read_text().splitlines()[int(found[2]) - 1].strip()
    assert text.startswith(line)
    assert str(failed.value).startswith(f"{script}: ")
    assert "\n" not in str(failed.value)
    assert len(await lane.call(Call("inspect", (STATE,), ("", "0")))) == 1
    await lane.close()


async def test_key_of_another_type_names_file_and_line(real: Place) -> None:
    """Someone else's data under our name is told with where it was met."""
    real.raw.set(STATE, "text")
    lane = Lane(real.open, _fail_on_failure)
    with pytest.raises(
        StoreUnable, match=r"inspect: WRONGTYPE .* @lua/parts/clock.lua:\d+|@lua/parts/clock.lua:\d+: WRONGTYPE"
    ):
        await lane.call(Call("inspect", (STATE,), ("", "0")))
    await lane.close()
