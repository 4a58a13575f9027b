"""What a call costs Redis: the same number of commands whatever the number of keys and limits, as its header says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from sidecar.model.configured import LEASE_US, SECOND_US, Key, Limit, Secret
from sidecar.model.words import Amounts, Failed, Grant, Refusal, Report, Rest, Rotation, Subject
from sidecar.store import calls, scripts, upkeep
from sidecar.store.names import Names, window_field
from tests.store.asks import ask, granted, limit, rotation, run
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_000_000
KEYS = pytest.mark.parametrize("keys", [1, 100, 1000])
A_REPORT = (
    r"(\d+) commands, (\d+) a rest, (\d+) a suspicion taken back or a rest that ended, "
    r"and (\d+) for each of its pools"
)
LIMITS = pytest.mark.parametrize("limits", [1, 4])


def commands(raw: redis.Redis, call: calls.Call) -> int:
    """How many commands the script runs in Redis."""
    raw.config_resetstat()
    run(raw, call)
    stats = raw.info("commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if not name.startswith(("cmdstat_eval", "cmdstat_config")))


def promised(script: str, what: str) -> Iterator[int]:
    """The numbers in the script's header that follow these words."""
    text = (scripts.folder() / f"{script}.lua").read_text()
    found = re.search(what, re.sub(r"\n--\s+", " ", text))
    assert found, f"lua/{script}.lua does not say `{what}`"
    return map(int, found.groups())


def turns_of(keys: int, limits: int) -> Rotation:
    """Each limit lets one grant through, so that one round spends every key."""
    return rotation(keys, *(limit(1, 60 + second) for second in range(limits)))


def acquire(raw: redis.Redis, *rotations: Rotation, now: int = NOW) -> Grant | Refusal:
    asked = ask(*rotations)
    answer = calls.read_acquire(asked, run(raw, calls.acquire(NAMES, asked, now, str(now))))
    assert isinstance(answer, Grant | Refusal)
    return answer


def spend(raw: redis.Redis, turns: Rotation) -> Grant:
    """Grants every key once; returns the last grant."""
    run(raw, upkeep.register(NAMES, turns, str(NOW)))
    asked = ask(turns)
    call = calls.acquire(NAMES, asked, NOW, str(NOW))
    sha = raw.script_load(scripts.load("acquire").text)
    pipeline: Any = raw.pipeline(transaction=False)
    for _ in turns.members:
        pipeline.evalsha(sha, len(call.keys), *call.keys, *call.args)
    return [granted(calls.read_acquire(asked, reply)) for reply in pipeline.execute()][-1]  # type: ignore[arg-type]


@KEYS
@LIMITS
def test_granted_acquire(real: Place, keys: int, limits: int) -> None:
    turns = turns_of(keys, limits)
    run(real.raw, upkeep.register(NAMES, turns))
    (cost,) = promised("acquire", r"granted at the head: (\d+) commands")
    assert commands(real.raw, calls.acquire(NAMES, ask(turns), NOW)) == cost


@KEYS
@LIMITS
def test_reservation(real: Place, keys: int, limits: int) -> None:
    """What a refusal costs, and entering it."""
    turns = turns_of(keys, limits)
    spend(real.raw, turns)
    always, target = promised("acquire", r"refused with every key parked: (\d+) and (\d+) a target")
    (more,) = promised("acquire", r"a reservation is a refusal and (\d+) more")
    reserving = calls.acquire(NAMES, ask(turns, max_wait_s=90), NOW, str(NOW))
    assert commands(real.raw, reserving) == always - 1 + target + more


@KEYS
@LIMITS
@pytest.mark.parametrize("targets", [1, 3])
def test_refused_acquire(real: Place, keys: int, limits: int, targets: int) -> None:
    """Every key is parked; only the head of each target is looked at."""
    turns = [rotation(keys, *turns_of(keys, limits).limits[0], model=f"m{i}") for i in range(targets)]
    spend(real.raw, turns[0])
    for other in turns[1:]:
        run(real.raw, upkeep.register(NAMES, other, str(NOW)))
        assert isinstance(acquire(real.raw, other), Refusal)
    always, target = promised("acquire", r"refused with every key parked: (\d+) and (\d+) a target")
    refused = calls.acquire(NAMES, ask(*turns), NOW, str(NOW))
    assert commands(real.raw, refused) == always - 1 + targets * target  # given the moment, it asks no TIME


@KEYS
def test_key_met_without_room_is_parked_and_not_met_again(real: Place, keys: int) -> None:
    """A rotation of another model finds out for itself, once, that the accounts are spent."""
    turns = turns_of(keys, 1)
    spend(real.raw, turns)
    other = rotation(keys, *turns.limits[0], model="other")
    run(real.raw, upkeep.register(NAMES, other, str(NOW)))
    refused = calls.acquire(NAMES, ask(other), NOW, str(NOW))
    first, second = commands(real.raw, refused), commands(real.raw, refused)
    (met,) = promised("acquire", r"(\d+) for each key that is met without room")
    assert first - second == met * keys


@pytest.mark.parametrize("keys", [3, 100, 1000])
def test_keys_of_one_account_without_room_are_parked_at_once(real: Place, keys: int) -> None:
    """The first two are met, by the grant that spends it too: what it tells of one it tells of all."""
    turns = rotation(keys, limit(1, 60), account="acme")
    spent = rotation(1, limit(1, 60), account="acme", model="other")
    for each in (turns, spent):
        run(real.raw, upkeep.register(NAMES, each, str(NOW)))
    assert isinstance(acquire(real.raw, spent), Grant)
    refused = calls.acquire(NAMES, ask(turns), NOW, str(NOW))
    first, second = commands(real.raw, refused), commands(real.raw, refused)
    met, others = promised("acquire", r"(\d+) for each key that is met without room .+? and (\d+) more for all others")
    assert first - second == 2 * met + others


def test_once_a_day_a_grant_keeps_what_it_used(real: Place) -> None:
    turns = turns_of(3, 1)
    run(real.raw, upkeep.register(NAMES, turns, str(NOW)))
    cost, more = promised("acquire", r"granted at the head: (\d+) commands, .+?, and (\d+) more once a day")
    late = NOW + 2 * 86_400 * SECOND_US
    assert commands(real.raw, calls.acquire(NAMES, ask(turns), late, str(late))) == cost - 1 + more
    assert commands(real.raw, calls.acquire(NAMES, ask(turns), late, str(late))) == cost - 1


@KEYS
def test_key_with_some_room_but_not_for_this_request_is_stepped_over(real: Place, keys: int) -> None:
    """A look at each of the first ones; the rotation is not changed for it."""
    turns = rotation(keys, Limit("tokens", 100, 60 * SECOND_US, 50_000))
    run(real.raw, upkeep.register(NAMES, turns, str(NOW)))
    half = replace(ask(turns), amounts=(1, 60, 60, 0, 60, 60))
    for _ in turns.members:
        run(real.raw, calls.acquire(NAMES, half, NOW, str(NOW)))
    always, target = promised("acquire", r"refused with every key parked: (\d+) and (\d+) a target")
    a_key, most = promised(
        "acquire", r"(\d+) for each that has some room, but not for this request, at most (\d+) a target"
    )
    refused = calls.acquire(NAMES, half, NOW, str(NOW))
    nobody_left = 1  # looks for a further key
    assert commands(real.raw, refused) == always - 1 + target - 2 + nobody_left + min(keys, most) * a_key


def test_key_that_waits_for_a_request_in_flight_is_remembered_once(real: Place) -> None:
    turns = rotation(3, Limit("concurrency", 1, LEASE_US, 0))
    spend(real.raw, turns)
    other = rotation(3, Limit("concurrency", 1, LEASE_US, 0), model="other")
    run(real.raw, upkeep.register(NAMES, other, str(NOW)))
    asked = calls.acquire(NAMES, ask(other), NOW, str(NOW))
    (met,) = promised("acquire", r"(\d+) for each key that is met without room")
    (more,) = promised("acquire", r"(\d+) for each key that waits for a request in flight to end")
    assert commands(real.raw, asked) - commands(real.raw, asked) == 3 * met + 3 * more


@KEYS
@LIMITS
def test_confirm(real: Place, keys: int, limits: int) -> None:
    """On time, late, put off and withdrawn."""
    turns = turns_of(keys, limits)
    grant = spend(real.raw, turns)
    on_time, late, moved, a_pool = promised(
        "confirm",
        r"on time (\d+) commands, late or in flight from now on (\d+), put off or withdrawn (\d+) and (\d+) a pool",
    )
    assert commands(real.raw, calls.confirm(NAMES, grant, ["p"], NOW, str(NOW))) == on_time - 1
    assert commands(real.raw, calls.confirm(NAMES, grant, ["p"], NOW + SECOND_US, str(NOW + SECOND_US))) == late - 1
    reserved = Grant(0, turns, grant.member, grant.number, NOW + SECOND_US, 0)
    rest = Rest(Subject(grant.member.account), 3600 * SECOND_US, "why")
    run(real.raw, calls.report(NAMES, Report("r", (rest,)), (), str(NOW + SECOND_US)))
    withdrawn = calls.confirm(NAMES, reserved, ["p", "q"], NOW + SECOND_US, str(NOW + SECOND_US))
    assert commands(real.raw, withdrawn) == moved - 1 + 2 * a_pool


@KEYS
@LIMITS
@pytest.mark.parametrize("pools", [1, 2])
def test_advance(real: Place, keys: int, limits: int, pools: int) -> None:
    """Where nothing is free before, and where the key is."""
    turns = turns_of(keys, limits)
    kept, moved, a_pool = promised("advance", r"(\d+) commands, moved (\d+) and (\d+) a pool")
    spend(real.raw, turns)
    reply = run(real.raw, calls.acquire(NAMES, ask(turns, max_wait_s=100), NOW, str(NOW)))
    first = calls.read_acquire(ask(turns), reply)
    assert isinstance(first, Grant)
    advance = calls.advance(NAMES, first, ["p", "q"][:pools], NOW, str(NOW))
    assert commands(real.raw, advance) == kept - 1
    real.raw.hdel(NAMES.state, *(window_field(first.member.account, limit) for limit in first.limits))
    assert commands(real.raw, advance) == moved - 1 + pools * a_pool


@KEYS
@LIMITS
@pytest.mark.parametrize("pools", [1, 2])
def test_release(real: Place, keys: int, limits: int, pools: int) -> None:
    grant = spend(real.raw, turns_of(keys, limits))
    always, a_pool = promised("release", r"(\d+) commands and (\d+) a pool")
    released = calls.release(NAMES, grant, ["p", "q"][:pools], NOW, str(NOW))
    assert commands(real.raw, released) == always - 1 + pools * a_pool


@KEYS
@pytest.mark.parametrize("models", [1, 100])
def test_report(real: Place, keys: int, models: int) -> None:
    """A rest costs the same for one model and for a hundred."""
    turns = turns_of(keys, 1)
    for model in range(models):
        run(real.raw, upkeep.register(NAMES, rotation(keys, *turns.limits[0], model=f"m{model}"), str(NOW)))
    member = turns.members[0]
    suspicion = Rest(Subject(member.account, member.key), SECOND_US, "invalid_key", proved=False)
    always, a_rest, a_clear, a_pool = promised("report", A_REPORT)
    resting = calls.report(NAMES, Report("r", (suspicion, Rest(Subject("x"), SECOND_US, "why"))), (), str(NOW))
    assert commands(real.raw, resting) == always - 1 + 2 * a_rest
    clearing = calls.report(NAMES, Report("r", clears=(suspicion.subject,)), ["p", "q"], str(NOW))
    assert commands(real.raw, clearing) == always - 1 + a_clear + 2 * a_pool
    run(real.raw, resting)
    ending = calls.report(NAMES, Report("r", ends=(suspicion.subject,), moment_us=NOW), ["p", "q"], str(NOW))
    assert commands(real.raw, ending) == always - 1 + a_clear + 2 * a_pool


def test_report_of_what_may_be_the_providers_throttle(real: Place) -> None:
    """Of two accounts, of the third, which finds it out, and of those that come while the pool rests."""
    always, a_rest, a_clear, a_pool = promised("report", A_REPORT)
    maybe, instead, resting, found, taken_back, its_pool = promised(
        "report",
        r"that may be the provider's throttle (\d+) instead of (\d+), but (\d+) while its pool rests for that; "
        r"the one that finds it out (\d+), and (\d+) and (\d+) a pool for each rest that it takes back",
    )
    assert (instead, taken_back, its_pool) == (a_rest, a_clear, a_pool)
    refused = [
        Report("r", (Rest(Subject(f"a{n}"), SECOND_US, "why", most_us=SECOND_US, throttle="p"),)) for n in range(4)
    ]
    costs = [commands(real.raw, calls.report(NAMES, one, ["p", "q"], str(NOW))) for one in refused]
    two_back = 2 * (taken_back + 2 * its_pool)
    assert [cost - (always - 1) for cost in costs] == [maybe, maybe, found + two_back, resting]


def test_report_of_a_fault_of_a_provider(real: Place) -> None:
    """Counted, the one that opens its breaker, and one of what was sent before."""
    (always, *_), (a_fault,) = promised("report", A_REPORT), promised("report", r"; a fault (\d+)\b")
    failed = Failed(Subject("@p", None, "m"), 2, SECOND_US, SECOND_US)
    faults = [
        calls.report(NAMES, Report("r", failed=failed, moment_us=moment), (), str(NOW)) for moment in (NOW, NOW, 0)
    ]
    costs = [commands(real.raw, fault) - (always - 1) for fault in faults]
    assert costs == [a_fault, a_fault, a_fault - 1]


@KEYS
@LIMITS
@pytest.mark.parametrize("pools", [1, 2])
def test_settle(real: Place, keys: int, limits: int, pools: int) -> None:
    """It tells the pools only where the account had no room before it."""
    always, a_pool = promised("settle", r"(\d+) commands, and (\d+) a pool where the account had no room before it")
    turns = turns_of(keys, limits)
    grant = spend(real.raw, turns)
    settled = calls.settle(NAMES, grant, grant.amounts, grant.amounts, ["p", "q"][:pools], NOW, str(NOW))
    assert commands(real.raw, settled) == always - 1
    nothing: Amounts = (0, 0, 0, 0, 0, 0)
    back = calls.settle(NAMES, grant, nothing, nothing, ["p", "q"][:pools], NOW, str(NOW))
    assert commands(real.raw, back) == always - 1 + pools * a_pool


@pytest.mark.parametrize("requests", [0, 1, 100])
def test_renew(real: Place, requests: int) -> None:
    turns = rotation(requests, Limit("concurrency", 1, LEASE_US, 0))
    grants = [Grant(0, turns, member, 0, NOW, 0) for member in turns.members]
    always, a_lease = promised("renew", r"(\d+) commands, and (\d+) a lease")
    assert commands(real.raw, calls.renew(NAMES, grants, {}, str(NOW))) == always - 1 + requests * a_lease


def test_inspect_models_and_beat(real: Place) -> None:
    always, a_rotation = promised("inspect", r"(\d+) commands and (\d+) a rotation")
    inspecting = upkeep.inspect(NAMES, [f"f{i}" for i in range(100)], [rotation(1), rotation(2)])
    assert commands(real.raw, inspecting) == always + 2 * a_rotation
    (a_pool,) = promised("models", r"(\d+) command a pool")
    assert commands(real.raw, upkeep.models(NAMES, ["p", "q", "r"])) == 3 * a_pool
    (cost,) = promised("beat", r"(\d+) commands")
    for leaves in (False, True):
        assert commands(real.raw, upkeep.beat(NAMES, "a", SECOND_US, leaves)) == cost


@pytest.mark.parametrize("fields", [1, 1000, 1001])
def test_admin(real: Place, fields: int) -> None:
    key = Key("k0", Secret("k0"), "fp-k0", "acc-k0")
    (disable,) = promised("admin", r"disable (\d+) commands")
    enable, a_pool = promised("admin", r"enable (\d+) and (\d+) a pool")
    reset, some_fields, of_pool = promised("admin", r"reset (\d+), (\d+) for each 1,000 fields and (\d+) a pool")
    assert commands(real.raw, upkeep.disable(NAMES, key, "op", str(NOW))) == disable - 1
    assert commands(real.raw, upkeep.enable(NAMES, key, ["p", "q"], str(NOW))) == enable - 1 + 2 * a_pool
    forgetting = upkeep.reset(NAMES, key, [f"w|acc-k0|{n}" for n in range(fields)], ["p", "q"], str(NOW))
    assert commands(real.raw, forgetting) == reset - 1 + -(-fields // 1000) * some_fields + 2 * of_pool


@pytest.mark.parametrize("keys", [1, 1000])
def test_restore(real: Place, keys: int) -> None:
    same, more, a_key = promised("restore", r"(\d+) command; of a state that is another (\d+) more and (\d+) a key")
    off = {f"fp-k{number}": "0|op" for number in range(keys)}
    assert commands(real.raw, upkeep.restore(NAMES, "1", off, str(NOW))) == same + more - 1 + keys * a_key
    assert commands(real.raw, upkeep.restore(NAMES, str(NOW), off, str(NOW))) == same


@pytest.mark.parametrize("accounts", [1, 1000])
def test_adopt(real: Place, accounts: int) -> None:
    """Nothing for accounts that stay as they are, whatever they hold."""
    of_keys = r"(\d+) commands, and for each 1,000 keys (\d+), or (\d+) .* another account (\d+) more, .*"
    of_all = of_keys + r"of an old account (\d+), and (\d+) for each .*; (\d+) for each name that stands"
    always, same, new, moving, a_field, an_account, a_name = promised("adopt", of_all)
    spend(real.raw, turns_of(accounts, 1))
    own = {f"fp-k{n}": f"acc-k{n}" for n in range(1000)}

    def cost(**changed: str) -> int:
        return commands(real.raw, upkeep.adopt(NAMES, own | changed, str(NOW)))

    assert cost() == always - 1 + new
    assert cost() == always - 1 + same
    assert cost(**{"fp-k0": "=new"}) == always - 1 + new + moving + a_field + an_account + a_name


@pytest.mark.parametrize("keys", [1, 1000])
def test_drift_and_drifts(real: Place, keys: int) -> None:
    """The same however many keys have drifted, but for the sweep of once a day."""
    always, a_sweep = promised("drift", r"(\d+) commands; once a day (\d+) more")
    for key in range(keys):
        run(real.raw, upkeep.drift(NAMES, f"fp-{key}", NOW - 1, "{}", str(NOW)))
    again = upkeep.drift(NAMES, "fp-0", NOW + 1, "{}", str(NOW + 2))
    assert commands(real.raw, again) == always - 1
    sweeping = upkeep.drift(NAMES, "fp-0", NOW + 86400 * SECOND_US, "{}", str(NOW + 86400 * SECOND_US + 1))
    assert commands(real.raw, sweeping) == always - 1 + a_sweep
    (cost,) = promised("drifts", r"(\d+) commands")
    assert commands(real.raw, upkeep.drifts(NAMES)) == cost


@pytest.mark.parametrize("things", [1, 256])
def test_made_and_makers(real: Place, things: int) -> None:
    (a_thing,) = promised("made", r"(\d+) commands a thing")
    always, more = promised("makers", r"(\d+) command, and (\d+) more for each that is known and kept longer")
    keys = tuple(NAMES.made(f"file-{at}") for at in range(things))
    assert commands(real.raw, calls.Call("made", keys, ("fp|acc|", "0", *["60"] * things))) == a_thing * things
    assert commands(real.raw, calls.Call("makers", keys, ("0",) * things)) == always
    assert commands(real.raw, calls.Call("makers", keys, ("60",) * things)) == always + more * things


@pytest.mark.parametrize("keys", [1, 9000])
def test_rotation_reads_any_number_of_woken_accounts(real: Place, keys: int) -> None:
    """Lua unpacks at most 8,000 values; more accounts than that may have been woken since a model was asked for."""
    turns = turns_of(keys, 1)
    spend(real.raw, turns)
    assert isinstance(acquire(real.raw, turns), Refusal)
    real.raw.delete(NAMES.state)
    real.raw.zadd(NAMES.wake("p"), {member.account: NOW + order for order, member in enumerate(turns.members)})
    assert granted(acquire(real.raw, turns, now=NOW + keys)).number == keys
