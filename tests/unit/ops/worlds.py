"""A config of two keys and the events of a request, as the tests of this room need them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.model.configured import Auth, Client, Config, Key, Limit, Pool, Provider, Secret, Speech, Token
from sidecar.model.events import Answered, Attempted, Drifted
from sidecar.model.tokens import digest

FIRST, SECOND, TOKEN = "sk-first-0a1b2c3d", "sk-first-0a1b2c3d-and+more/", "token-of-web-77"
BEARER = Auth("bearer")
PROVIDER = Provider("openai", "http://127.0.0.1:9/v1", BEARER, {"openai": Speech("/v1", BEARER)})
MINUTE = Limit("requests", 10, 60_000_000, 1_000_000)
OF_MODEL = Limit("requests", 2, 90_000_000, 1_000_000, "big*")
KEYS = (Key("chat-1", Secret(FIRST), "f1", "f1"), Key("chat-2", Secret(SECOND), "f2", "=acme"))
POOL = Pool("chat", PROVIDER, KEYS, names_models=("small", "big*"))
CLIENT = Client("web", (Token(digest(TOKEN), secret=Secret(TOKEN)),))
CONFIG = Config(
    {"chat": POOL},
    {"f1": (MINUTE,), "=acme": (MINUTE, OF_MODEL)},
    clients=(CLIENT,),
    redis="redis://user:pass%40word-5150@127.0.0.1:6379/0",
    admin_token=Secret("the-admins-own"),
)

_ANSWERED = Answered(
    request_id="r1",
    method="POST",
    path="/v1/chat/completions",
    status=200,
    outcome="ok",
    attempts=1,
    pool="chat",
    key="chat-1",
    model="small",
    client="web",
    total_s=1.25,
    waited_s=0.5,
    acquire_s=0.001,
    upstream_s=0.7,
    first_byte_s=0.6,
)
_DRIFTED = Drifted("r1", "chat", "chat-1", "small", "rate_limit_minute", (MINUTE,), None, "UTC", 1)
_ATTEMPTED = Attempted("r1", "chat", "chat-1", "small", "ok", 200, 0.1)


def answered(**fields: Any) -> Answered:
    return replace(_ANSWERED, **fields)


def attempted(**fields: Any) -> Attempted:
    return replace(_ATTEMPTED, **fields)


def drifted(**fields: Any) -> Drifted:
    return replace(_DRIFTED, **fields)
