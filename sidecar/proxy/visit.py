"""What is known of a request while it is answered: the source of the `x-sidecar-*` headers and of its log line."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from aiohttp import web
from multidict import CIMultiDict

from sidecar.model.events import Answered, Cached
from sidecar.providers.catalogue import DIALECTS
from sidecar.providers.dialect import Dialect
from sidecar.proxy.attempt import Answer, Attempts
from sidecar.proxy.bodies import Share
from sidecar.store.cache import Kept

# What a client is told; what is not here is told as it is.
_SHOWN: dict[Cached, Cached] = {"waited": "hit", "away": "bypass"}


@dataclass(slots=True)
class Visit:
    """One request of the data plane."""

    request_id: str
    began: float
    method: str
    body: Share
    path: str = ""
    client: str = ""
    dialect: Dialect = DIALECTS["openai"]
    model: str = ""
    attempts: Attempts | None = None
    answer: Answer | None = None
    cache: Cached = ""
    found: Kept | None = None  # the answer of the cache
    begun: web.StreamResponse | None = None  # the stream that its client got before it was known what it would say
    operation: str = ""
    status: int = 499
    outcome: str = "cancelled"
    said: bool = False  # whether all is said, and its client has but to take it
    stopped: bool = False  # whether its handler was cancelled for the sidecar's end: its client is still there

    def headers(self) -> CIMultiDict[str]:
        """The `x-sidecar-*` headers; pool, key, model and grant where a key answered."""
        attempts, answer = self.attempts, self.answer
        headers = CIMultiDict(
            {
                "x-sidecar-request-id": self.request_id,
                "x-sidecar-attempts": str(attempts.count if attempts else 0),
                "x-sidecar-waited-ms": str(round(attempts.search.waited_s * 1000) if attempts else 0),
            }
        )
        if answer is not None:
            headers["x-sidecar-pool"] = answer.held.pool.name
            headers["x-sidecar-key"] = answer.held.key.id
            headers["x-sidecar-model"] = answer.model
            headers["x-sidecar-grant"] = str(answer.held.grant.number)
        if self.cache:
            headers["x-sidecar-cache"] = _SHOWN.get(self.cache, self.cache)
        if self.found is not None:
            headers["x-sidecar-pool"] = self.found.pool
            headers["x-sidecar-model"] = self.found.model
            headers["Age"] = str(round(self.found.age_s))
        return headers

    def answered(self) -> Answered:
        """The event of its end, whatever that was."""
        found = self.found
        now = monotonic()
        attempts = self.attempts
        held = attempts.held if attempts else None
        last = attempts.last if attempts else None
        began_upstream = attempts.began_upstream if attempts else None
        target = attempts.search.targets[held.target if held else 0] if attempts else None
        return Answered(
            request_id=self.request_id,
            method=self.method,
            path=self.path,
            status=self.status,
            outcome=self.outcome,
            attempts=attempts.count if attempts else 0,
            pool=found.pool if found else target.pool if target else "",
            key=held.key.id if held else "",
            model=found.model if found else (target.model or "") if target else self.model,
            client=self.client,
            total_s=now - self.began,
            waited_s=attempts.search.waited_s if attempts else 0.0,
            acquire_s=attempts.search.acquire_s if attempts else 0.0,
            upstream_s=now - began_upstream if began_upstream else 0.0,
            first_byte_s=last.reply.first_byte_at - self.began if last else None,
            fingerprint=held.key.fingerprint if held else "",
            cache=self.cache,
            saved=found.usage if found else None,
        )
