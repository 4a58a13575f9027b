"""The ops plane of a replica with two pools, as the tests of the admin API start and ask it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp

from sidecar.model.events import Event
from sidecar.ops.stream import Stream
from sidecar.replica import Replica

SECRETS = {"a": "sk-a0a1b2c3d4e5f60718293", "b": "sk-b0a1b2c3d4e5f60718293", "twin": "sk-t0a1b2c3d4e5f60718293"}
TOKEN, WEB = "admin-token-0a1b2c3d", "web-token-9f8e7d6c"
FILE = f"""
redis: memory
namespace: admin
hosts: [ops.example]
clients: [{{id: web, token: {WEB}}}]
pools:
  chat:
    provider: openai
    keys: [{{id: a, secret: {SECRETS["a"]}, account: acme}}, {{id: b, secret: {SECRETS["b"]}}}]
    limits: [{{requests: 5, per: minute}}, {{requests: 2, per: 90s, model: "gpt-4o*"}}]
    max_wait: 1500ms
    outcomes: [{{status: 402, body: no funds, class: invalid_key}}]
  spare:
    provider: openai
    keys: [{{id: a, secret: {SECRETS["twin"]}}}]
routes:
  big: [{{pool: chat, model: gpt-4o}}, {{pool: spare}}]
"""


class Plane:
    """A replica's ops plane, its events, and a client of it."""

    def __init__(self, replica: Replica, told: list[Event], changes: Stream, http: aiohttp.ClientSession) -> None:
        self.replica, self.events, self.stream, self.http = replica, told, changes, http

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, Any]:
        async with self.http.request(method, f"/admin/v1{path}", headers=headers) as answer:
            return answer.status, await answer.json()

    async def refused(self, method: str, path: str, **headers: str) -> tuple[int, str, str]:
        status, told = await self.ask(method, path, **headers)
        return status, told["error"]["code"], told["error"]["message"]


Start = Callable[..., Any]
