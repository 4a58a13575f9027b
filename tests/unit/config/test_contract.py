"""The contract's own example: all of it parses, and means what the contract says."""

from __future__ import annotations

from pathlib import Path

from sidecar.model.configured import LEASE_US, Cache, Calendar, Config, Limit, Target

from .conftest import Desk

EXAMPLE = (Path(__file__).parent / "contract.yaml").read_text()
ENVIRON = {
    "GOOGLE_AI_STUDIO_KEY_CHAT": "g0",
    "GOOGLE_AI_STUDIO_KEY_CHAT_1": "g1",
    "OPENAI_A": "o-a",
    "VLLM": "v",
    "PROXY_API_KEY": "web-token",
}
NO_EFFECT = (
    "sidecar.yaml: pools.spare.keys: weights count with strategy: weighted. With round_robin they have no effect."
)
LOS_ANGELES = "America/Los_Angeles"
MINUTE, SECOND = 60_000_000, 1_000_000


def today(desk: Desk) -> Config:
    desk.write("openai-b", "o-b\n")
    return desk.load(EXAMPLE, ENVIRON)


def test_example_is_what_it_says(desk: Desk) -> None:
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
    assert config.routes["gpt-4"].targets[2] == Target("spare", "gpt-4o")
    day = Limit("requests", 10_000, 0, SECOND, calendar=Calendar("day", "UTC"))
    assert [(client.id, client.limits) for client in config.clients] == [("web", (day,))]
    assert config.cache == Cache(ttl_s=600, max_bytes=1024 * 1024, scope="all")
    assert config.warnings == (NO_EFFECT,)


def test_limits_of_the_example(desk: Desk) -> None:
    """A guard is a fiftieth of the window, and at most a second; a month is that of the provider's zone."""
    config = today(desk)
    chat = config.pools["chat"]
    assert config.budgets[chat.keys[0].account] == (
        Limit("concurrency", 8, LEASE_US, LEASE_US),
        Limit("requests", 15, MINUTE, SECOND),
        Limit("requests", 2, MINUTE, SECOND, "gemini-2.5-pro"),
        Limit("requests", 1500, 0, SECOND, calendar=Calendar("day", LOS_ANGELES)),
        Limit("tokens", 1000000, 0, SECOND, calendar=Calendar("month", LOS_ANGELES)),
    )
    assert (chat.strategy, chat.total) == ("round_robin", (Limit("requests", 1000, MINUTE, SECOND),))
    assert config.budgets["=acme"] == (Limit("requests", 500, MINUTE, SECOND),)


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
