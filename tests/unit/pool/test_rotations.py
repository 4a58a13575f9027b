"""What is remembered of rotations, of which clients may ask for any number."""

from __future__ import annotations

from sidecar.model.configured import Target
from sidecar.model.words import Member, Total
from sidecar.pool.rotations import Rotations
from tests.unit.pool.configs import config, key, limit, pool


def test_names_of_models_cost_no_members_of_their_own() -> None:
    """A pool may have a thousand keys, and clients name any number of models: they share what is the same for all."""
    rotations = Rotations(config(pool("p", 5), pool("q", 5), limits=[limit(10)]))
    first = rotations(Target("p", "a"))
    for name in ("b", "c", "d"):
        found = rotations(Target("p", name), Total("@one", (limit(2),)))
        assert found.model == name
        assert found.members is first.members
        assert found.limits is first.limits
    assert rotations(Target("q", "a")).members is not first.members


def test_models_with_other_members_or_limits_keep_their_own() -> None:
    keys = [key("a"), key("b", models=["x-*"]), key("c")]
    rotations = Rotations(config(pool("p", keys), limits=[limit(10), limit(2, model="y-*")]))
    served = {name: rotations(Target("p", name)) for name in ("x-1", "y-1", "z-1", "x-2", "y-2", "z-2")}
    ids = {name: "".join(member.id for member in found.members) for name, found in served.items()}
    assert ids == {"x-1": "abc", "x-2": "abc", "y-1": "ac", "y-2": "ac", "z-1": "ac", "z-2": "ac"}
    most = {name: [one.max for one in found.limits[0]] for name, found in served.items()}
    assert most == {name: [10, 2] if name.startswith("y") else [10] for name in served}


def test_a_member_is_found_by_its_text_where_others_are_left_out() -> None:
    keys = [key(f"k{at}", models=["x-*"] if at % 3 else ()) for at in range(20)]
    rotations = Rotations(config(pool("p", keys)))
    for model, count in (("x-1", 20), ("y-1", 7)):
        found = rotations(Target("p", model))
        members: list[Member] = [found.member(member.text) for member in found.members]
        assert len(members) == count
        assert all(one is other for one, other in zip(members, found.members, strict=True))
