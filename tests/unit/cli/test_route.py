"""`sidecar route` says where a call would go, and what it would pass over."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.cli.conftest import Command, Written

ROUTES: dict[str, Any] = {"fast-*": [{"pool": "own", "model": "claude-haiku-4"}, {"pool": "chat", "model": "gpt-4o"}]}
OWN = {
    "base_url": "http://own.test",
    "dialect": "anthropic",
    "keys": [{"id": "o", "secret": "sk-ant-0123456789abcdef"}],
    "strategy": "fill_first",
}
CHAT = {"provider": "openai", "keys": [{"id": "c", "secret": "sk-0123456789abcdefgh"}], "max_wait": "2s"}


def test_every_target_is_told_in_its_order_or_why_it_is_left_out(command: Command, written: Written) -> None:
    written(CHAT, pools={"own": OWN, "chat": CHAT}, routes=ROUTES)
    done = command("route", "fast-one")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        'fast-one: route "fast-*"',
        "  -  own/claude-haiku-4  left out: pool own does not speak the openai dialect",
        "  2  chat/gpt-4o  openai at https://api.openai.com/v1, 1 key, round_robin, waits at most 2 s",
    ]


def test_another_dialect_goes_elsewhere(command: Command, written: Written) -> None:
    written(CHAT, pools={"own": OWN, "chat": CHAT}, routes=ROUTES)
    done = command("route", "fast-one", "--dialect", "anthropic", "--json")
    assert json.loads(done.output) == {
        "by": 'route "fast-*"',
        "targets": [
            {"pool": "own", "model": "claude-haiku-4", "keys": 1, "left_out": None},
            {
                "pool": "chat",
                "model": "gpt-4o",
                "keys": 1,
                "left_out": "pool chat does not speak the anthropic dialect",
            },
        ],
    }


def test_what_would_be_a_404_ends_with_1_and_says_why(command: Command, written: Written) -> None:
    written(CHAT, pools={"own": OWN, "chat": CHAT}, routes=ROUTES)
    unknown = command("route", "fsat-one", "--dialect", "gemini")
    assert unknown.exit_code == 1
    assert 'No route or pool serves "fsat-one". Served: fast-*' in unknown.output
    left_out = command("route", "fast-one", "--dialect", "gemini")
    assert left_out.exit_code == 1
    assert "a call would be answered 404" in left_out.output
