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
    "entries trimmed at now - window": (
        "first < at and moment_at(text, first) + limit.window + limit.guard <= now",
        "first < at and moment_at(text, first) + limit.window <= now",
    ),
    "entries trimmed by count": (
        "  local count, older = 1, at - 1",
        "  while #text - first + 1 > 32 * limit.max do total, first = total - count_at(text, first), first + 32 end\n"
        "  local count, older = 1, at - 1",
    ),
    "the guard forgotten": (
        "return moment_at(text, i) + limit.window + limit.guard",
        "return moment_at(text, i) + limit.window",
    ),
    "last is the latest place, not the highest": ("turn.last = math.max(turn.last, place)", "turn.last = place"),
    "tried kept by key, not by target and key": (
        "tried[target .. '|' .. member.id]",
        "(tried['0|' .. member.id] or tried['1|' .. member.id])",
    ),
    "a rest ended by a request that did not set it": ("return proved == '0' and owner == request", "return true"),
    "a proved rest taken back": ("return proved == '0' and owner == request", "return owner == request"),
    "a later rest shortened": ("if tonumber(old_ends) >= ends then", "if false then"),
    "a skipped key keeps all the turns it missed": (
        "free > now and free or order.above(turn.last)",
        "free > now and free or order.above(place)",
    ),
    "nobody is woken": ("if #woken > 0 then", "if false then"),
    "a parked key is not looked up again": ("score >= rotation.PARKED and free <= score", "score >= rotation.PARKED"),
    "a withdrawn grant keeps its budget": ("room.leave(of, moment, now)\nif of.rests", "if of.rests"),
    "a reservation does not look at those that came late": (
        "now - moment <= guard and room.free_before(of, moment) <= moment",
        "now - moment <= guard",
    ),
    "a late grant looks at nothing": ("math.max(now, room.free_before(of, now))", "now"),
    "a late grant looks at the reservations behind it": ("room.free_before(of, now))", "room.free_at(of))"),
    "a late grant keeps its moment": ("now - moment <= guard and room.free_before", "room.free_before"),
    "the model's rest forgotten": ("for i = n + 1, n + 4 do", "for i = n + 1, n + 3 do"),
    "the clock goes back": ("elseif raw + offset < last then", "elseif false then"),
    "numbers skip where a wait is refused": (
        "if earliest then\n",
        "if earliest then redis.call('HINCRBY', KEYS[3], 'seq', 1)\n",
    ),
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
