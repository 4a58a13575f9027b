"""The judges are awake: each of these mistakes in the Lua is told from the truth.

The histories that tell were found by hypothesis and shrunk: `python -m tests.property --mutations` finds them anew.
"""

from __future__ import annotations

import pytest
import redis

from tests.property import replay
from tests.property.counterexamples import HISTORIES
from tests.property.drive import exact_up_to

MUTATIONS = {
    # A sliding window.
    "entries trimmed at now - window": (
        "first < at and number_at(text, first) + limit.window + limit.guard <= now",
        "first < at and number_at(text, first) + limit.window <= now",
    ),
    "the guard forgotten": (
        "math.max(t, number_at(text, i) + limit.window + limit.guard)",
        "math.max(t, number_at(text, i) + limit.window)",
    ),
    "room for one is taken for room for more": ("total_of(text) + need - limit.max", "total_of(text) + 1 - limit.max"),
    "a larger grant counts as one": (
        "number_at(text, at - PAIR + 16) + amount",
        "number_at(text, at - PAIR + 16) + 1",
    ),
    "what is reserved blocks all before it": ("return i > window.TOTAL and number_at(text, i) > t", "return false"),
    "a window begins with an entry only": ("if i > #moments or from_grant(t) <= left then", "if true then"),
    "a window with a reservation behind it is not looked at": ("from_entry(moments[i]) > left then", "false then"),
    "what nobody is refused for is kept exactly": ("<= window.EXACT and limit.holds", "<= window.EXACT"),
    # A calendar.
    "a grant before midnight counts on its own side only": (
        "limit.bounds[i] <= moment + limit.guard",
        "limit.bounds[i] <= moment",
    ),
    "a new day begins at its midnight, not a guard later": (
        "limit.bounds[i + 1] + limit.guard <= moment",
        "limit.bounds[i + 1] <= moment",
    ),
    "the day that ends is not looked at": (
        "for period = last, first, -1 do",
        "for period = last, last do",
    ),
    # Requests in flight.
    "leases that ended still count": ("and number_at(text, i) <= t do", "and false do"),
    "a renewed lease counts twice": (
        "if number_at(text, i + 16) == moment then\n        count",
        "if false then\n        count",
    ),
    "a settled request stays in flight": (
        "of.texts[i] = kind.leave(limit, of.texts[i], moment, now)",
        "local _ = kind",
    ),
    "a reservation is in flight before its moment": (
        "if moment > now then\n      return text",
        "if false then\n      return text",
    ),
    "a confirmed reservation is not in flight": ("  room.run(state, of, moment, now, clock_text, grant.runs)\n", ""),
    # Who waits for a place among them.
    "who came later takes what others wait for": (
        "(of.line == '' or not line.has_earlier",
        "(true or not line.has_earlier",
    ),
    "who has looked is waited for again": ("if other[2] < freed then", "if true then"),
    "who came first is not known": ("if other[1] >= came then", "if other[1] < came then"),
    "who is gone is waited for": ("and asked + line.PATIENCE > now then", "then"),
    "who is served stays in line": ("if stands then", "if true then"),
    "the last to end is forgotten": (
        "return digits(now) .. digits(moment) .. string.sub(text, first, i - 1)",
        "return string.sub(text, first, i - 1)",
    ),
    "batch takes the last place": ("need(limit, nil, share))", "need(limit, nil, 0))"),
    # The pool as a whole, and what is left to others.
    "a total is not asked": ("math.max(room.free_in_pool(of, own, ask), crowded)", "math.max(own, crowded)"),
    "a total is not entered": (
        "for i = 1, of.all do\n    local limit = of.limits[i]\n    local amount",
        "for i = 1, of.own do\n    local limit = of.limits[i]\n    local amount",
    ),
    # What a client may spend, whatever the key.
    "a client's limits are not asked": ("whose.client and of.all or of.own", "whose.client and of.common or of.own"),
    "a client's limits are not entered": (
        "for i = 1, of.all do\n    local limit = of.limits[i]\n    local amount",
        "for i = 1, of.common do\n    local limit = of.limits[i]\n    local amount",
    ),
    "a client's requests in flight are as many as come": (
        "return place_at(of, now, 0, of.common + 1, of.all)",
        "return now",
    ),
    "a key rests for the requests in flight of a client": (
        "local at = place_at(of, t, share, 1, of.own)",
        "local at = place_at(of, t, share, 1, of.all)",
    ),
    "who has too many in flight stands in the way of others": (
        "and not (candidate and candidate.crowded) then",
        "then",
    ),
    "a client is not told that it is over its limits": ("busy, by_client and 1 or 0", "busy, 0"),
    "a client leaves a share of its own": ("i <= of.common and ask.share or 0", "ask.share"),
    "one client's guard keeps the keys of all apart": ("guard(of, of.common)", "guard(of, of.all)"),
    "the share of the others is taken": ("wanted + math.ceil(limit.max * share)", "wanted"),
    "who leaves a share leaves no gap for it": ("if leaves and not is_exact(limit) then", "if false then"),
    "a limit that is not enforced refuses": (
        "holds = holds == '1'",
        "holds = true",
    ),
    "what was settled is not taken back": (
        "and after > 0 and kind.enter",
        "and after > before and kind.enter",
    ),
    "what is sent again is charged for each attempt": ("i > of.common and charged or actual", "actual"),
    # The turn order.
    "last is the latest place, not the highest": (
        "local last = math.max(tonumber(turn.last), place)",
        "local last = place",
    ),
    "a weight is forgotten after a grant": (
        "return above(last, member.weight)\n    end,\n  }",
        "return above(last, 1)\n    end,\n  }",
    ),
    "one key of an account always comes first": (
        "and tonumber(latest) < siblings.last",
        "and false",
    ),
    "who waits is given the first of keys that come together": (
        "local later = served(turn, members)",
        "local later = {}",
    ),
    "who waits is not given the key whose turn it is": ("    soonest = whose_turn(soonest)\n", ""),
    "what one key rests all of its account rest": (
        "whole, places = room.free_in_account(of, now, probing)",
        "whole, places = free, busy",
    ),
    "priorities share one last place": ("local others = string.gsub(known, entry(member), ';')", "local others = ';'"),
    "grants are counted for ever": ("tonumber(day) == math.floor(now / room.DAY) and", "true and"),
    "tried kept by key, not by target and key": (
        "tried and tried[at .. '|' .. member.id]",
        "tried and (tried['0|' .. member.id] or tried['1|' .. member.id])",
    ),
    "nobody is woken": ("if #woken > 0 then", "if false then"),
    "a key without room for this request ends the search": (
        "if not has_room and moment == math.max(room.free_of_pool(of, free, ask), crowded) then",
        "if not has_room then",
    ),
    "numbers skip where a wait is refused": (
        "if earliest then\n",
        "if earliest then redis.call('HINCRBY', KEYS[3], 'seq', 1)\n",
    ),
    # What becomes of a grant.
    "a withdrawn grant keeps its budget": (
        "room.leave(of, moment, now, amounts, grant.runs)\nif",
        "for _, rest in ipairs(of.rests) do rest.let_through = true end\nif",
    ),
    "a reservation does not look at those that came late": (
        "and room.free_before(of, moment, amounts) <= moment then",
        "then",
    ),
    "what is given back keeps its moment after a rest": ("    return not is_it\n", "    return true\n"),
    "a probe that is given back is not due again": ("rest.next = math.min(rest.next, moment)", "local _ = moment"),
    "who only tells moves too": ("at < moment and not grant.runs", "at < moment"),
    "nobody is woken by what is put off": ("  wake() -- before it is written", "  --"),
    "what is advanced does not know of a rest": ("finds = room.finds(of, at)", "finds = finds"),
    "a late grant looks at nothing": (
        "local at = room.let_through_at(of, room.free_before(of, now, amounts))",
        "local at = now",
    ),
    "late grants come at once after a rest": (
        "room.let_through_at(of, room.free_before(of, now, amounts))",
        "room.free_before(of, now, amounts)",
    ),
    "who reserved before a rest comes at once after it": (" and room.is_let_through(of)", ""),
    "a probe may be sent within any rest": ("if rest.ends > now and not rest.let_through then", "if false then"),
    "a late grant keeps its moment": ("now - moment <= (room.guard(of) or math.huge)", "true"),
    # Rests.
    "a rest ended by a request that did not set it": (
        "rest.kind == '0' and rest.request == request",
        "rest.kind == '0'",
    ),
    "a proved rest taken back": ("rest.kind == '0' and rest.request == request", "rest.request == request"),
    "a later rest shortened": ("if old.ends >= ends then", "if false then"),
    "the model's rest forgotten": ("if texts[n + i] then", "if texts[n + i] and i ~= 2 then"),
    "the end of a rest is worth any number of grants": ("t = math.max(t, at + guard)", "t = t"),
    "a long rest is probed only once": ("math.min(rest.ends, moment + math.min(", "rest.ends, (0 * math.min("),
    "what a longer rest overtook leaves its moment": ("    return at <= now or at >= rest.ends\n", "    return true\n"),
    "a dead key is tried by anybody": ("if rest.kind == '2' and not probing then", "if false then"),
    "requests on their way double a rest": ("if not old or moment >= old.since then", "if true then"),
    "a rest does not double": ("delay * 2 ^ math.min(60, math.max(0, streak - 1))", "delay"),
    "a success before a rest ends it": ("rest and (moment >= rest.since or", "rest and (true or"),
    "two accounts are a throttle": ("ACCOUNTS = 3", "ACCOUNTS = 2"),
    "a throttled pool's keys rest": ("rest.ends == line.ends", "false"),
    "whatever lengths are named, it is a throttle": ("math.abs(line.ends - now - told) <= throttle.WITHIN", "true"),
    "a pause is shorter than what was named": ("math.max(throttle.FIRST, told)", "throttle.FIRST"),
    "a rest that a throttle takes back is not told": ("freed[#freed + 1] = text", "text = text"),
    "faults of a provider far apart are a run": ("old.ends + set.within > now and old or nil", "old"),
    "what was sent before a provider rested lengthens its rest": (
        " or not counts and moment < old.since then",
        " then",
    ),
    "every attempt of a request counts as a request": ("counts and set.again or", "false or"),
    "faults in a row go on over the success of who was granted before": (
        "or rest.kind == cooldown.COUNTS)",
        "or false)",
    ),
    "who finds out about a provider is followed at once": ("rest.apart = i == 6 and cooldown.finding(rest)", ""),
    "who finds out about a provider is waited for half a minute": (
        "rest.apart = i == 6 and cooldown.finding(rest)",
        "rest.apart = i == 6 and cooldown.MOST_FINDING",
    ),
    # The clock.
    "the clock goes back": ("passed < 0 and last - raw or offset - math", "offset - math"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_found(redis_url: str, name: str) -> None:
    """Were it not, the histories would prove nothing of that rule."""
    with redis.Redis.from_url(redis_url) as client, exact_up_to(64):
        shas = replay.load(client, mutated(name))
        with pytest.raises(AssertionError):
            replay.compare(client, shas, HISTORIES[name])


def mutated(name: str) -> dict[str, str]:
    """The scripts with this mistake in them."""
    right, wrong = MUTATIONS[name]
    texts = {script: text.replace(right, wrong) for script, text in replay.texts(exact=64).items()}
    assert texts != replay.texts(exact=64), "the mutation no longer applies to the scripts"
    return texts
