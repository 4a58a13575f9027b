"""The contract's own example: all of it parses, and what is not there yet says so."""

from __future__ import annotations

from pathlib import Path

from sidecar.model.configured import Config, Limit, Target

from .conftest import Desk

EXAMPLE = (Path(__file__).parent / "contract.yaml").read_text()
ENVIRON = {
    "GOOGLE_AI_STUDIO_KEY_CHAT": "g0",
    "GOOGLE_AI_STUDIO_KEY_CHAT_1": "g1",
    "OPENAI_A": "o-a",
    "VLLM": "v",
    "PROXY_API_KEY": "web-token",
}
LATER = (
    "cache",
    "clients[0].limits",
    "pools.chat.concurrency",
    "pools.chat.limits[2].per",
    "pools.chat.limits[2].tz",
    "pools.chat.limits[3].per",
    "pools.chat.limits[3].tokens",
    "pools.chat.total",
    "pools.spare.keys[0].weight",
    "redis",
)


def today(desk: Desk) -> Config:
    """The example without what is not supported yet."""
    desk.write("openai-b", "o-b\n")
    text = EXAMPLE.replace("embedded", "memory").replace("weight: 3, ", "")
    text = text.replace(", limits: [{requests: 10000, per: calendar_day}]}", "}")
    later = ("calendar", "total:", "concurrency:", "cache:")
    return desk.load("\n".join(line for line in text.splitlines() if not any(word in line for word in later)), ENVIRON)


def test_example_yields_exactly_what_is_not_there_yet(desk: Desk) -> None:
    desk.write("openai-b", "o-b\n")
    lines = desk.refused(EXAMPLE, ENVIRON).splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == list(LATER)
    assert all("not supported yet" in line for line in lines)


def test_example_without_it_is_what_it_says(desk: Desk) -> None:
    config = today(desk)
    chat, spare, own = config.pools.values()
    assert [key.id for key in chat.keys] == ["chat-1", "chat-2"]
    assert [key.id for key in spare.keys] == ["team-a", "team-b"]
    assert (spare.keys[0].account, spare.keys[1].account) == ("=acme", spare.keys[1].fingerprint)
    assert (own.provider.name, own.provider.base_url, own.provider.auth.kind) == (
        "own",
        "http://10.0.0.7:8000/v1",
        "bearer",
    )
    assert list(config.routes) == ["gpt-4", "claude-*", "*"]
    assert config.routes["gpt-4"][2] == Target("spare", "gpt-4o")
    assert [client.id for client in config.clients] == ["web"]
    assert config.warnings == ()


def test_limits_of_the_example(desk: Desk) -> None:
    """A guard is a fiftieth of the window, and at most a second."""
    config = today(desk)
    minute = 60_000_000
    assert config.budgets[config.pools["chat"].keys[0].account] == (
        Limit("requests", 15, minute, 1_000_000),
        Limit("requests", 2, minute, 1_000_000, "gemini-2.5-pro"),
    )
    assert config.budgets["=acme"] == (Limit("requests", 500, minute, 1_000_000),)


def test_pool_names_the_models_of_its_limits_keys_and_targets(desk: Desk) -> None:
    config = today(desk)
    assert config.pools["chat"].names_models == ("gemini-2.5-pro", "gemini-2.0-flash", "gemini-1.5-pro-latest")
    assert config.pools["spare"].names_models == ("gpt-4o*", "gpt-4o")
    assert config.pools["own"].names_models == ()


def test_origin_of_each_key(desk: Desk) -> None:
    config = today(desk)
    origins = [key.origin for pool in config.pools.values() for key in pool.keys]
    assert origins == [
        "env GOOGLE_AI_STUDIO_KEY_CHAT",
        "env GOOGLE_AI_STUDIO_KEY_CHAT_1",
        "sidecar.yaml pools.spare.keys[0]",
        'file "openai-b"',
        "sidecar.yaml pools.own.keys[0]",
    ]
