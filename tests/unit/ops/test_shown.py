"""The config is shown whole: whatever a file may set is seen, and nothing that opens a door."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import (
    Address,
    CaBundle,
    Cache,
    Calendar,
    Client,
    Config,
    Connections,
    Cooldowns,
    Key,
    Limit,
    Override,
    Parameters,
    Pool,
    Proxy,
    Route,
    Secret,
    Speech,
    Target,
    Tls,
    Token,
)
from sidecar.ops import shown
from tests.unit.ops.worlds import CLIENT, CONFIG, FIRST, KEYS, MINUTE, POOL, PROVIDER, SECOND, TOKEN

PROXY = Proxy("http", "proxy.example", 3128, Secret("user:word-5150"))
TOKENS = Limit("tokens", 10, 60_000_000, 1_000_000)
OVERRIDE = Override(Class.INVALID_KEY, Scope.KEY, other=True, statuses=frozenset({402}), body="no funds", delay_s=90.0)

TARGET = Target("chat", "small")
ROUTE = Route((TARGET,))

# Of each field a value that it does not have in the tests' config.
OTHER: dict[type, dict[str, Any]] = {
    Config: {
        "pools": {"chat": POOL, "more": replace(POOL, name="more")},
        "budgets": {"f1": (MINUTE,)},
        "routes": {"big": ROUTE},
        "clients": (replace(CLIENT, id="other"),),
        "listen": Address("127.0.0.1", 4001),
        "ops_listen": Address("127.0.0.1", 9465),
        "tls": Tls("cert.pem", "key.pem", "digest"),
        "redis": "memory",
        "namespace": "other",
        "max_body": 1,
        "cache": Cache(),
        "cache_redis": "redis://127.0.0.1:6380/0",
        "cache_total": 1,
        "max_waiting": 1,
        "keepalive_s": 1.0,
        "hosts": ("a.example",),
        "failures": "failures.jsonl",
        "admin_token": None,
    },
    Pool: {
        "name": "other",
        "provider": replace(PROVIDER, overrides=(OVERRIDE,)),
        "keys": KEYS[:1],
        "strategy": "fill_first",
        "total": (MINUTE,),
        "interactive_share": 0.5,
        "cooldowns": Cooldowns(1, 2),
        "max_wait_us": 1,
        "max_attempts": 1,
        "timeout_s": 1.0,
        "first_byte_s": 1.0,
        "idle_s": 1.0,
        "include_usage": False,
        "retry_unsafe": True,
        "proxy": PROXY,
        "ca_bundle": CaBundle("ca.pem", "PEM"),
        "connections": Connections(max=1),
        "retry_budget": math.inf,
        "breaker": None,
    },
    Key: {
        "id": "other",
        "fingerprint": "f3",
        "account": "=other",
        "weight": 2,
        "priority": 2,
        "models": ("m",),
        "proxy": PROXY,
        "origin": "env X",
    },
    Cache: {"ttl_s": 1.0, "max_bytes": 1, "scope": "client"},
    Limit: {
        "unit": "input_tokens",
        "max": 11,
        "window_us": 1_000_000,
        "guard_us": 2_000_000,
        "model": "m",
        "calendar": Calendar("month", "Asia/Tokyo"),
        "enforce": False,
        "count_cached": False,
    },
    Client: {
        "id": "other",
        "tokens": (),
        "models": ("m",),
        "limits": (MINUTE,),
        "batch": True,
    },
    Token: {"digest": "ab" * 32, "expires_s": 1},
    Route: {
        "targets": (Target("chat", "other"),),
        "mask_model": True,
        "fallback_on": frozenset({"blocked"}),
        "retry_empty": True,
        "cache": "off",
    },
    Target: {
        "pool": "other",
        "model": None,
        "weight": 2,
        "parameters": Parameters(fixed=(("temperature", b"0.5"),)),
        "headers": (("x-a", "b"),),
        "group": 1,
    },
    Parameters: {
        "fixed": (("stop", b"null"),),
        "default": (("temperature", b"0.5"),),
        "most": (("max_tokens", 100.0),),
        "removed": ("logprobs",),
    },
}
# What no file says: a secret, what follows from the rest, and what is told elsewhere.
UNSAID = {
    Config: {"warnings"},
    Pool: {"names_models"},
    Key: {"secret"},
    Route: {"name"},
    Target: {"account", "prefers", "secrets"},
    Token: {"secret"},
}


def _with(changed: Any) -> Config:
    """The tests' config with this part in the place of its own."""
    match changed:
        case Config():
            made = changed
        case Pool():
            made = replace(CONFIG, pools={changed.name: changed})
        case Cache():
            made = replace(CONFIG, cache=changed)
        case Client():
            made = replace(CONFIG, clients=(changed,))
        case Token():
            made = _with(replace(CLIENT, tokens=(changed,)))
        case Key():
            made = _with(replace(POOL, keys=(changed, KEYS[1])))
        case Limit():
            made = replace(CONFIG, budgets={"f1": (changed,)})
        case Route():
            made = replace(CONFIG, routes={"big": changed})
        case Target():
            made = _with(replace(ROUTE, targets=(changed,)))
        case _:
            made = _with(replace(TARGET, parameters=changed))
    return made


WHOLE = (CONFIG, POOL, KEYS[0], TOKENS, ROUTE, TARGET, Parameters(), CLIENT, CLIENT.tokens[0], Cache())


@pytest.mark.parametrize(("of", "whole"), [(type(whole), whole) for whole in WHOLE])
def test_every_field_that_a_file_may_set_is_seen(of: type, whole: Any) -> None:
    assert {field.name for field in fields(of)} == OTHER[of].keys() | UNSAID.get(of, set())
    before = shown.config(_with(whole))
    assert [
        name for name, value in OTHER[of].items() if shown.config(_with(replace(whole, **{name: value}))) == before
    ] == []


@pytest.mark.parametrize(("probe", "told"), [(None, "/v1/models"), ("/key", "/key"), ("", "off")])
def test_the_call_that_tries_a_key_is_seen(probe: str | None, told: str) -> None:
    pool = replace(POOL, provider=replace(PROVIDER, dialects={"openai": Speech("", PROVIDER.auth)}, probe=probe))
    assert shown.config(_with(pool))["pools"]["chat"]["probe"] == told


def test_an_outcome_is_seen_in_the_words_of_the_file() -> None:
    told = shown.config(_with(replace(POOL, provider=replace(PROVIDER, overrides=(OVERRIDE,)))))
    assert told["pools"]["chat"]["outcomes"] == [
        {"class": "invalid_key", "scope": "key", "status": [402], "body": "no funds", "delay": "90s"}
    ]


def test_whether_there_is_an_admin_token_is_seen_and_no_secret() -> None:
    told = shown.config(CONFIG)
    assert told["admin_token"] is True
    text = json.dumps(told)
    assert not [secret for secret in (FIRST, SECOND, TOKEN, "the-admins-own", "word-5150") if secret in text]
