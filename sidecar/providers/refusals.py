"""What an error came to: the one law of outcomes. Resellers and compatible paths mix all dialects' shapes.

Rules are asked in order, the particular before the general; the first that knows the error decides. Each rests on
a code or a typed detail where providers send one, and on wording where that is all there is. What no rule knows falls
to the class that its status suggests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import Provider
from sidecar.model.outcomes import BLOCKED, OK, Outcome
from sidecar.providers import faults, overrides, quotas, signs
from sidecar.providers.dialect import Answer
from sidecar.providers.faults import Fault

Rule = Callable[[Provider, Fault], Outcome | None]

_SERVER_TIMEOUTS = frozenset({408, 504, 522, 524})
_OVERLOADS = frozenset({503, 529})


def classify(provider: Provider, answer: Answer) -> Outcome:
    """What an answer came to that is no 2xx, or of which only its pool says that it is an error."""
    if answer.status < 400:
        said = overrides.of_answer(provider, answer) if provider.overrides else None
        return said or OK
    return _judge(provider, faults.of_answer(answer), answer)


def of_error(provider: Provider, answer: Answer, error: object) -> Outcome:
    """What an error inside a 2xx came to: as if it had come with the status that it names."""
    return _judge(provider, faults.of_error(answer, error), replace(answer, head=msgspec.json.encode(error)))


def _judge(provider: Provider, fault: Fault, answer: Answer) -> Outcome:
    """`answer`: what the error stood in. What the pool says of it comes before what the dialect knows."""
    said = overrides.of_fault(provider, fault, answer) if provider.overrides else None
    if said is not None:
        return said
    rules = _SERVER_RULES if fault.status >= 499 or fault.status in {408, 425} else _CLIENT_RULES
    for rule in rules:
        outcome = rule(provider, fault)
        if outcome is not None:
            return outcome
    return Outcome(Class.BAD_REQUEST, Scope.REQUEST, other=False)


# --- the provider's fault ---------------------------------------------------------------------------


def _server(_provider: Provider, fault: Fault) -> Outcome:
    """A 500 may say that it is overloaded; whatever it is, no key is to blame."""
    if fault.status in _OVERLOADS or fault.shows(signs.CAPACITY):
        kind = Class.OVERLOADED
    else:
        kind = Class.TIMEOUT if fault.status in _SERVER_TIMEOUTS else Class.SERVER_ERROR
    return _of_provider(kind, fault)


def _of_provider(kind: Class, fault: Fault) -> Outcome:
    return Outcome(kind, Scope.PROVIDER, other=True, delay_s=quotas.pause(fault))


def _region(_provider: Provider, fault: Fault) -> Outcome | None:
    """The address that the sidecar calls from is refused: every key would be."""
    if fault.status == 451 or fault.shows(signs.REGION):
        return Outcome(Class.PERMISSION, Scope.PROVIDER, other=False)
    return None


def _egress(_provider: Provider, fault: Fault) -> Outcome | None:
    """A page for people, not an API's answer: somebody in front takes us for a robot, whichever key we show."""
    if fault.status == 429 and fault.says(signs.EGRESS):
        return Outcome(Class.OVERLOADED, Scope.PROVIDER, other=False, delay_s=quotas.floor(fault))
    if fault.status == 403 and fault.html:
        return Outcome(Class.PERMISSION, Scope.PROVIDER, other=False)
    return None


def _capacity(_provider: Provider, fault: Fault) -> Outcome | None:
    """A 429, or Groq's 498, for everybody: the model is full, or the provider behind a reseller is.

    OpenRouter calls a quota of the key "high demand" too; then its headers show the quota spent.
    """
    if fault.status not in {429, 498}:
        return None
    full = fault.coded(signs.CAPACITY) or (fault.shows(signs.CAPACITY) and not quotas.spent(fault))
    return _of_provider(Class.OVERLOADED, fault) if fault.upstream or full else None


# --- the request's fault ----------------------------------------------------------------------------


def _elsewhere(_provider: Provider, fault: Fault) -> Outcome | None:
    """A file, cache or stored answer of another account: that one's key would find it."""
    if fault.status in {400, 403, 404} and (fault.shows(signs.ELSEWHERE)):
        return Outcome(Class.BAD_REQUEST, Scope.REQUEST, other=True)
    return None


def _context(_provider: Provider, fault: Fault) -> Outcome | None:
    """Another model may read so much; another key of this one does not help."""
    if fault.status in {400, 413, 422} and fault.shows(signs.CONTEXT):
        return Outcome(Class.CONTEXT_TOO_LONG, Scope.REQUEST, other=False)
    return None


def _too_large(_provider: Provider, fault: Fault) -> Outcome | None:
    """Larger than the quota itself: no wait helps, only an account that has a larger one."""
    if fault.status == 413 or (fault.status == 429 and (fault.says(signs.TOO_LARGE) or _asks_too_much(fault))):
        of_quota = fault.status == 429 or "rate_limit_exceeded" in fault.codes
        return Outcome(Class.BAD_REQUEST, Scope.REQUEST, other=of_quota)
    return None


def _asks_too_much(fault: Fault) -> bool:
    """`Limit 6000, Used 0, Requested 6042`: the words are those of any rate limit, the numbers are not."""
    found = signs.ASKED.search(fault.text)
    if not found:
        return False
    limit, requested = (int(digits.replace(",", "")[:18] or 0) for digits in found.groups())
    return requested > limit > 0


def _plan(_provider: Provider, fault: Fault) -> Outcome | None:
    """The account's plan does not cover what this request wants; others of the same key pass."""
    return Outcome(Class.PERMISSION, Scope.REQUEST, other=True) if fault.says(signs.PLAN) else None


def _flagged(_provider: Provider, fault: Fault) -> Outcome | None:
    if fault.status in {400, 403, 422, 498} and fault.shows(signs.FLAGGED):
        return BLOCKED
    return None


# --- the key's or its account's fault ---------------------------------------------------------------


def _credit(_provider: Provider, fault: Fault) -> Outcome | None:
    """Money. Rests until somebody pays, or to the end of the month or the date where the answer says so."""
    spent = fault.status == 402 or fault.shows(signs.CREDIT)
    ours = fault.says(signs.OUR_QUOTA) and not (fault.details or "resource_exhausted" in fault.codes)
    if fault.status not in {400, 401, 402, 403, 429} or not (spent or ours):
        return None
    delay_s, until = quotas.unpaid(fault)
    return Outcome(Class.BILLING, Scope.KEY, other=True, delay_s=delay_s, until=until)


def _key_bound(_provider: Provider, fault: Fault) -> Outcome | None:
    """A valid key whose project or restrictions keep it from this API altogether."""
    if fault.status in {400, 401, 403} and (fault.shows(signs.KEY_BOUND)):
        return Outcome(Class.PERMISSION, Scope.KEY, other=True)
    return None


def _key(_provider: Provider, fault: Fault) -> Outcome | None:
    if fault.status == 401 and fault.says(signs.SCOPES):
        return Outcome(Class.PERMISSION, Scope.KEY_MODEL, other=True)
    dead = fault.status == 401 or fault.shows(signs.KEY)
    if fault.status in {400, 401, 403} and dead:
        return Outcome(Class.INVALID_KEY, Scope.KEY, other=True)
    return None


def _permission(_provider: Provider, fault: Fault) -> Outcome | None:
    return Outcome(Class.PERMISSION, Scope.KEY_MODEL, other=True) if fault.status == 403 else None


def _model(provider: Provider, fault: Fault) -> Outcome | None:
    """A model that this account may not see is "not found"; where all accounts see the same, it is just wrong."""
    if fault.status not in {400, 404}:
        return None
    hidden = fault.status == 404 and fault.shows(signs.NO_ACCESS) and provider.models_by_account
    if fault.shows(signs.MODEL) or hidden:
        return Outcome(Class.PERMISSION, Scope.KEY_MODEL, other=True)
    return None


def _rate(provider: Provider, fault: Fault) -> Outcome | None:
    """A quota that is spent, or that is none at all."""
    if fault.status != 429 and not (fault.status == 403 and fault.says(signs.VOLUME)):
        return None
    quota = quotas.hit(fault)
    scope = quota.scope or (Scope.KEY_MODEL if provider.counts == "account+model" else Scope.KEY)
    if quota.none:
        return Outcome(Class.PERMISSION, quota.scope or Scope.KEY_MODEL, other=True)
    if quota.window == "month":
        return Outcome(Class.BILLING, Scope.KEY, other=True, delay_s=quotas.floor(fault), until="month")
    delay_s = quotas.wait(fault, quota)
    named = quotas.named(fault, quota, delay_s)
    long = not quota.window and (delay_s or 0) >= quotas.HOUR_S and not quotas.is_page(fault)
    if quota.window in {"day", "session"} or long:
        until = quotas.until(quota, delay_s)
        return Outcome(Class.RATE_LIMIT_DAY, scope, other=True, delay_s=delay_s, until=until, named=named)
    kind = Class.RATE_LIMIT_TOKENS if quota.unit == "tokens" else Class.RATE_LIMIT_MINUTE
    return Outcome(kind, scope, other=True, delay_s=delay_s, named=named, bare=quotas.is_bare(fault, quota))


_SERVER_RULES: tuple[Rule, ...] = (_server,)
_CLIENT_RULES: tuple[Rule, ...] = (
    _egress,
    _elsewhere,
    _plan,
    _context,
    _too_large,
    _flagged,
    _credit,
    _region,
    _key_bound,
    _key,
    _model,
    _capacity,
    _rate,
    _permission,
)
