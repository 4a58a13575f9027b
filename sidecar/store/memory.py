"""The `memory` store: the same scripts on a fakeredis inside this process, shared with nobody, gone with it."""

from __future__ import annotations

from sidecar.store.connect import Opener
from sidecar.store.home import Home

LOST = (
    "budgets, cooldowns and rotation live in this process's memory: other replicas do not share them and a restart "
    "forgets them. Set `redis:` or REDIS_URL to share and keep them."
)

HOME = Home("memory", warning=LOST, private=True)


def opener() -> Opener:
    """Connections to a new, empty server of this process."""
    # Imported here: it takes as long as all the rest of a start, and only this store wants it.
    from fakeredis import FakeServer  # noqa: PLC0415
    from fakeredis.aioredis import FakeAsyncRedisConnection  # noqa: PLC0415

    server = FakeServer()
    return lambda: FakeAsyncRedisConnection(server=server, protocol=2)
