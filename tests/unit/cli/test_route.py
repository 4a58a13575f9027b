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
        'fast-one: route "fast-*", for openai, anthropic callers',
        "  -  own/claude-haiku-4  left out: pool own does not speak the openai dialect",
        "  2  chat/gpt-4o  openai at https://api.openai.com/v1, 1 key, round_robin, waits at most 2 s",
    ]


def test_another_dialect_goes_elsewhere(command: Command, written: Written) -> None:
    written(CHAT, pools={"own": OWN, "chat": CHAT}, routes=ROUTES)
    done = command("route", "fast-one", "--dialect", "anthropic", "--json")
    assert json.loads(done.output) == {
        "by": 'route "fast-*"',
        "callers": ["openai", "anthropic"],
        "targets": [
            {"pool": "own", "model": "claude-haiku-4", "keys": 1, "share": 1.0, "left_out": None},
            {
                "pool": "chat",
                "model": "gpt-4o",
                "keys": 1,
                "share": None,
                "left_out": "pool chat does not speak the anthropic dialect",
            },
        ],
        "fallback_on": [],
        "mask_model": False,
        "retry_empty": False,
        "cache": None,
    }


def test_what_would_be_a_404_ends_with_1_and_says_why(command: Command, written: Written) -> None:
    written(CHAT, pools={"own": OWN, "chat": CHAT}, routes=ROUTES)
    unknown = command("route", "fsat-one", "--dialect", "gemini")
    assert unknown.exit_code == 1
    assert 'No route or pool serves "fsat-one": no pool speaks the gemini dialect. Pools: own, chat.' in unknown.output
    left_out = command("route", "fast-one", "--dialect", "gemini")
    assert left_out.exit_code == 1
    assert "a call would be answered 404" in left_out.output


FULL: dict[str, Any] = {
    "smart": {
        "targets": [
            {"pool": "chat", "model": "gpt-4o", "weight": 3, "set": {"temperature": 0.5, "reasoning.effort": "low"}},
            {"pool": "more", "model": "gpt-4o", "weight": 1, "max": {"max_tokens": 4096}, "remove": ["user", "seed"]},
            {"pool": "more", "model": "gpt-5", "headers": {"x-team": "sk-0123456789abcdefgh"}},
        ],
        "mask_model": True,
        "fallback_on": ["context_too_long", "blocked"],
        "retry_empty": True,
        "cache": None,
    }
}


def test_shares_changes_and_fallback_are_told(command: Command, written: Written) -> None:
    """Of a header the name: its value may be secret."""
    more = CHAT | {"keys": [{"id": "m", "secret": "sk-abcdefgh0123456789"}]}
    written(CHAT, pools={"chat": CHAT, "more": more}, routes=FULL)
    here = "openai at https://api.openai.com/v1, 1 key, round_robin, waits at most 2 s"
    assert command("route", "smart").output.splitlines() == [
        'smart: route "smart", for openai callers',
        f"  1  chat/gpt-4o  {here}",
        "       group 1: first for 75% of the requests that come to it (weight 3)",
        '       set temperature 0.5, reasoning.effort "low"',
        f"  2  more/gpt-4o  {here}",
        "       group 1: first for 25% of the requests that come to it (weight 1)",
        "       max max_tokens 4096",
        "       remove user, seed",
        f"  3  more/gpt-5  {here}",
        "       headers x-team",
        "  the next has its turn when no key of those before it has room or works, and at once after blocked, "
        "context_too_long",
        "  answers call their model smart",
        "  an answer without content is asked for again",
    ]
    told = json.loads(command("route", "smart", "--json").output)
    assert [target["share"] for target in told["targets"]] == [0.75, 0.25, 1.0]
    assert told["targets"][1]["max"] == {"max_tokens": 4096}
    assert (
        "smart -> chat/gpt-4o (75%) or more/gpt-4o (25%), then more/gpt-5; for openai callers"
        in command("check").output
    )
