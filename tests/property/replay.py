"""Plays a history on a store and compares every answer, and at the end every window, with the model's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import redis

from sidecar.model import counters, room, rules, windows
from sidecar.model.lines import Line
from sidecar.model.rests import Resting
from sidecar.model.rests import read as read_rest
from sidecar.store import scripts
from sidecar.store.names import line_field, rest_field
from tests.property.history import NAMES, Play, describe, play


def texts(exact: int = windows.EXACT) -> dict[str, str]:
    """The scripts with another maximum up to which windows are exact: a small one brings buckets into a history."""
    return {name: re.sub(r"EXACT = \d+", f"EXACT = {exact}", scripts.load(name).text) for name in scripts.NAMES}


def load(client: redis.Redis, scripts_of: dict[str, str]) -> dict[str, str]:
    """Loads the scripts and returns their SHAs."""
    return {name: str(client.script_load(text)) for name, text in scripts_of.items()}


def compare(client: redis.Redis, shas: dict[str, str], steps: Sequence[int]) -> Play:
    """Raises AssertionError with the history in words where the scripts and the model disagree."""
    history = play(steps)
    pipeline: Any = client.pipeline(transaction=False)
    pipeline.flushdb()
    for call, _, _ in history.script:
        pipeline.evalsha(shas[call.script], len(call.keys), *call.keys, *call.args)
    pipeline.hgetall(NAMES.state)
    _, *replies, state = pipeline.execute()
    for (call, read, expected), reply in zip(history.script, replies, strict=True):
        answer = read(reply)
        assert answer == expected, (
            f"{call.script} {call.args}\n  script: {answer}\n  model:  {expected}\n{describe(steps)}"
        )
    told = {name.decode(): text.decode() for name, text in state.items()}
    stored = {name: _pairs(name, text) for name, text in told.items() if name.startswith("w|")}
    model = _windows(history.state)
    assert {name: pairs for name, pairs in stored.items() if pairs} == {n: p for n, p in model.items() if p}, (
        f"windows differ\n{describe(steps)}"
    )
    waiting = {name: counters.read(text) for name, text in told.items() if name.startswith("line|")}
    assert waiting == _lines(history.state), f"lines differ\n{describe(steps)}"
    resting = {name: _told(read_rest(text)) for name, text in told.items() if name.startswith("c|")}
    assert resting == _rests(history.state), f"rests differ\n{describe(steps)}"
    return history


def _pairs(name: str, text: str) -> room.Held:
    """A window's pairs. A log's total before them must be theirs."""
    limit = name.split("|")[2]
    if "@" in limit or limit.startswith("concurrency"):
        return counters.read(text)
    log = windows.read(text)
    assert int(text[:16] or 0) == sum(count for _, count in log), f"the total of {name}"
    return log


def _windows(state: rules.State) -> dict[str, room.Held]:
    """The model's windows by the names that Redis has for them."""
    return {f"w|{account}|{name}": pairs for (account, name), pairs in state.shared.windows.items()}


def _lines(state: rules.State) -> dict[str, Line]:
    """Who waits in which line, by the names that Redis has for them."""
    return {line_field(name): line for name, line in state.lines.items()}


def _rests(state: rules.State) -> dict[str, tuple[int, ...]]:
    """The model's rests by the names that Redis has for them, without their words."""
    return {rest_field(subject): _told(rest) for subject, rest in state.shared.rests.items()}


def _told(rest: Resting) -> tuple[int, ...]:
    return rest.ends, rest.since, rest.next, rest.kind, rest.streak, *rest.grants
