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
MEMBER = "00000|1|0|k0|fp-k0|acc-k0|0"
ONE = ("1", "0", "0", "0", "0", "0")
LIMIT = ("requests/60000000/", "log", "1", "1", "1", "60000000", "50000")
DAY = ("requests/day@UTC/", "calendar", "1", "1", "1", "0", "50000")  # without its boundaries
NO_POOL = ("c|pool|p", "", "+p", "0")  # its rest, no breaker, and a total without limits
NOBODY = ("", "0")  # a client without limits
WHOLE = (*NO_POOL, *NOBODY)
COUNTED = ("{x}today", "{x}total", "{x}flushed")
TARGET = (STATE, SET, HASH, WAKE)
ASK = ("", *ONE, "0", "0", "0", "0", *NOBODY, "m", "round_robin", "0", "0", "", *NO_POOL)  # up to its limits
CONFIRM = ("", MEMBER, "m", "1", "1", "0", "0", *ONE)  # likewise

# Script, KEYS, ARGV, and the beginning of the Lua line that fails.
MALFORMED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], str]] = {
    "acquire: nothing": ("acquire", TARGET, (), "local ticket, came, tried = args.number()"),
    "acquire: no count of tried": ("acquire", TARGET, ("", *ONE, "0", "0", "0"), "for i = 1, args.number() do"),
    "acquire: no amounts": ("acquire", TARGET, ("", "all", *ASK[2:], "1", "1", *LIMIT), "if amount > 0 then"),
    "acquire: no strategy": (
        "acquire",
        TARGET,
        (*ASK[:14], "by chance", *ASK[15:], "1", "1", *LIMIT),
        "strategy = orders[args.text()](),",
    ),
    "acquire: no total": ("acquire", TARGET, ASK[:-1], "for i = 1, args.number() do"),
    "acquire: no client": ("acquire", TARGET, ASK[:11], "for i = 1, args.number() do"),
    "acquire: no count of sets": ("acquire", TARGET, ASK, "for i = 1, args.number() do"),
    "acquire: a set cut short": ("acquire", TARGET, (*ASK, "1", "1"), "kinds[kind] = kinds[kind] or makers[kind]()"),
    "acquire: no set for the member": ("acquire", TARGET, (*ASK, "0"), "local prefix, count = 'w|' .. account"),
    "acquire: no such kind of window": (
        "acquire",
        TARGET,
        (*ASK, "1", "1", "name", "sand", *LIMIT[2:]),
        "kinds[kind] = kinds[kind] or makers[kind]()",
    ),
    "acquire: no such unit": (
        "acquire",
        TARGET,
        (*ASK, "1", "1", "name", "log", "9", *LIMIT[3:]),
        "local wanted = amounts and math.max(amounts[",
    ),
    "acquire: a maximum of words": (
        "acquire",
        TARGET,
        (*ASK, "1", "1", "n", "log", "1", "many", *LIMIT[4:]),
        "if wanted > limit.max then",
    ),
    "acquire: a calendar without boundaries": (
        "acquire",
        TARGET,
        (*ASK, "1", "1", *DAY),
        "if not (bounds[2] <= now",
    ),
    "acquire: fewer targets than keys": (
        "acquire",
        (*TARGET, "{x}set2", "{x}hash", WAKE),
        ("", *ONE, "0", "0", "0", "1", "0|k0", *NOBODY, "m", "round_robin", "0", *ASK[16:], "1", "0"),
        "strategy = orders[args.text()](),",
    ),
    "advance: nothing": ("advance", (STATE, WAKE), (), "for i = 1, args.number() do"),
    "advance: no limits": ("advance", (STATE, WAKE), CONFIRM, "for i = 1, args.number() do"),
    "confirm: nothing": ("confirm", (STATE, WAKE), (), "for i = 1, args.number() do"),
    "confirm: no moment": (
        "confirm",
        (STATE, WAKE),
        ("", MEMBER, "m", "then", *CONFIRM[4:], "0", *WHOLE),
        "if now < moment then",
    ),
    "confirm: no amounts": (
        "confirm",
        (STATE, WAKE),
        (*CONFIRM[:7], *["all"] * 6, "1", *LIMIT, *WHOLE),
        "local left, bound = limit.max - need, rounde",
    ),
    "confirm: no limits": ("confirm", (STATE, WAKE), CONFIRM, "for i = 1, args.number() do"),
    "confirm: no total": ("confirm", (STATE, WAKE), (*CONFIRM, "0"), "for i = 1, args.number() do"),
    "confirm: no client": ("confirm", (STATE, WAKE), (*CONFIRM, "0", *NO_POOL), "for i = 1, args.number() do"),
    "confirm: no member": (
        "confirm",
        (STATE, WAKE),
        ("", "k0", *CONFIRM[2:], "0", *WHOLE),
        "local prefix, count = 'w|' .. account",
    ),
    "release: nothing": ("release", (STATE, WAKE), (), "for i = 1, args.number() do"),
    "release: no member": (
        "release",
        (STATE, WAKE),
        ("", "k0", *CONFIRM[2:], "1", *LIMIT, *WHOLE),
        "local prefix, count = 'w|' .. account",
    ),
    "release: no moment": (
        "release",
        (STATE, WAKE),
        ("", MEMBER, "m", "then", *CONFIRM[4:], "1", *LIMIT, *WHOLE),
        "if moment + limit.window + limit.guard <= no",
    ),
    "release: a limit cut short": (
        "release",
        (STATE, WAKE),
        (*CONFIRM, "1", "name", "log", "1"),
        "for i = 1, args.number() do",
    ),
    "release: no total": ("release", (STATE, WAKE), (*CONFIRM, "1", *LIMIT), "for i = 1, args.number() do"),
    "settle: nothing": ("settle", (STATE, WAKE), (), "string.match(text, '^(%d+)|(%d+)|(%d+)|([^|]"),
    "settle: no member": (
        "settle",
        (STATE, WAKE),
        ("", "k0", "1", *ONE, *ONE, *ONE, "1", *LIMIT, "+p", "0", *NOBODY),
        "local prefix, count = 'w|' .. account",
    ),
    "settle: no moment": (
        "settle",
        (STATE, WAKE),
        ("", MEMBER, "then", *ONE, "2", *ONE[1:], *ONE, "1", *LIMIT, "+p", "0", *NOBODY),
        "if moment + limit.window + limit.guard <= no",
    ),
    "settle: only what was expected": (
        "settle",
        (STATE, WAKE),
        ("", MEMBER, "1", *ONE, "0", "+p", "0", *NOBODY),
        "for i = 1, args.number() do",
    ),
    "renew: nothing": ("renew", (STATE,), (), "for _ = 1, count do"),
    "renew: no length": (
        "renew",
        (STATE,),
        ("", "1", "a", "concurrency", "long", "1"),
        "return kept .. string.rep(digits(now + limit",
    ),
    "renew: no moment": (
        "renew",
        (STATE,),
        ("", "1", "a", "concurrency", "15000000", "then"),
        "text = string.format('%016.0f', moment)",
    ),
    "leave: nothing": ("leave", (STATE,), (), "for i = 1, args.number() do"),
    "report: nothing": ("report", (STATE, WAKE), (), "for i = 1, args.number() do"),
    "report: no delay": (
        "report",
        (STATE,),
        ("", "r", "1", "1", "c|key|x", "x", "long", "0", "1", "why", ""),
        "local ends = set.kind == '2' and cooldown.NE",
    ),
    "report: no longest delay": (
        "report",
        (STATE,),
        ("", "r", "1", "1", "c|key|x", "x", "9", "long", "1", "why", ""),
        "delay = math.min(math.max(set.most, delay),",
    ),
    "report: no kind": (
        "report",
        (STATE,),
        ("", "r", "1", "1", "c|key|x", "x", "9", "0"),
        "local resting = cooldown.read(redis.call('HG",
    ),
    "report: no reason": (
        "report",
        (STATE,),
        ("", "r", "1", "1", "c|key|x", "x", "1", "0", "1"),
        "local resting = cooldown.read(redis.call('HG",
    ),
    "report: no clears": ("report", (STATE,), ("", "r", "1", "0"), "for i = 1, args.number() do"),
    "report: no ends": ("report", (STATE,), ("", "r", "1", "0", "0"), "for i = 1, args.number() do"),
    "register: nothing": ("register", (*TARGET, MODELS), (), "local model, strategy, most, members = args."),
    "register: no strategy": (
        "register",
        (STATE, "{x}s2", "{x}h2", WAKE, MODELS),
        ("", "m", "by chance", "9", "1", MEMBER),
        "local model, strategy, most, members = args.",
    ),
    "register: no most": (
        "register",
        (*TARGET, MODELS),
        ("", "m2", "round_robin", "all", "0"),
        "if redis.call('SCARD', KEYS[5]) >= most then",
    ),
    "register: no member": (
        "register",
        (STATE, "{x}s2", "{x}h2", WAKE, MODELS),
        ("", "m", "weighted", "9", "1", "k0"),
        "local n = math.floor(place * weight + 0.5)",
    ),
    "inspect: no fields": ("inspect", (STATE,), ("",), "for i = 1, args.number() do"),
    "admin: nothing": ("admin", (STATE, WAKE), (), "for i = 1, args.number() do"),
    "admin: no count of fields": (
        "admin",
        (STATE, WAKE),
        ("", "reset", "off|x", "a", ""),
        "for i = 1, args.number() do",
    ),
    "restore: nothing": ("restore", (STATE,), (), "for i = 1, args.number() do"),
    "adopt: nothing": ("adopt", (STATE,), (), "for i = 1, args.number() do"),
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
    "made: no seconds": ("made", ("{x}made",), ("fp|acc|", "0"), "if not others[i] and"),
    "makers: no seconds": ("makers", ("{x}made",), (), "if seconds > 0 and makers[i] then"),
    "beat: no silence": ("beat", ("{x}replicas",), ("", "a", "never"), "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-in"),
}


def _fail_on_failure(away: StoreAway) -> None:
    raise AssertionError(away)


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_call_names_file_and_line(place: Place, name: str) -> None:
    """And the connection is good for the next call."""
    script, keys, args, line = MALFORMED[name]
    lane = Lane(place.open, _fail_on_failure)
    await lane.call(Call("register", (*TARGET, MODELS), ("", "m", "round_robin", "256", "1", MEMBER)))
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
