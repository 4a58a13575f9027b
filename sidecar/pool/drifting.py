"""When a refusal contradicts our own count: the provider knows of requests, or of a limit, that the config does not."""

from __future__ import annotations

from dataclasses import replace

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import Pool
from sidecar.model.events import Drifted
from sidecar.model.outcomes import Outcome
from sidecar.model.reports import THROTTLED_ACCOUNTS
from sidecar.model.words import Grant, Rest

RATE_LIMITS = frozenset({Class.RATE_LIMIT_MINUTE, Class.RATE_LIMIT_DAY, Class.RATE_LIMIT_TOKENS})


def drifted(request_id: str, pool: Pool, grant: Grant, model: str, outcome: Outcome) -> Drifted | None:
    """The drift that this outcome is, not counted yet; None where no enforced budget had said that there is room.

    A probe goes out against a rest, so that its refusal says nothing new. Requests in flight are no rate: a limit of
    concurrency says nothing of how many a minute may follow one another.
    """
    ours = tuple(limit for limit in grant.limits if limit.enforce and limit.unit != "concurrency")
    if outcome.kind not in RATE_LIMITS or outcome.scope not in {Scope.KEY, Scope.KEY_MODEL} or not ours or grant.probes:
        return None
    named = outcome.named
    if named is not None and outcome.scope is Scope.KEY_MODEL:
        named = replace(named, model=named.model or model)
    zone = pool.provider.zone
    return Drifted(request_id, pool.name, grant.member.id, model, outcome.kind, ours, named, zone, count=0)


def is_doubtful(drift: Drifted, rest: Rest, pool: Pool) -> bool:
    """Whether it may turn out to be the provider's throttle of all the pool's keys, which names no limit."""
    accounts = {key.account for key in pool.keys}
    return rest.throttle != "" and drift.named is None and len(accounts) >= THROTTLED_ACCOUNTS
