"""What a pool says of its provider's answers, asked before any dialect: resellers have codes of their own.

An override sets class and scope; how long it is to rest is still read from the answer, as the dialect would for that
class, and what the pool names is for answers that name nothing, and the least that missing money rests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sidecar.model.classes import Class
from sidecar.model.configured import Override, Provider
from sidecar.model.outcomes import NamedLimit, Outcome, Period
from sidecar.providers import faults, quotas
from sidecar.providers.dialect import Answer
from sidecar.providers.faults import Fault

_Wait = tuple[float | None, Literal["midnight", "month"] | None, NamedLimit | None]


def of_fault(provider: Provider, fault: Fault, answer: Answer) -> Outcome | None:
    """Of an error with the status that it came with, or, inside a 2xx, would have had. None: no override fits."""
    text = _text(fault, answer)
    for override in provider.overrides:
        statuses = override.statuses
        if (not statuses or not statuses.isdisjoint({answer.status, fault.status})) and override.body in text:
            return _outcome(override, fault)
    return None


def of_answer(provider: Provider, answer: Answer) -> Outcome | None:
    """Of what the dialect takes for no error; only an override that names its status speaks of it."""
    told = replace(provider, overrides=tuple(one for one in provider.overrides if answer.status in one.statuses))
    return of_fault(told, faults.of_answer(answer), answer) if told.overrides else None


def _text(fault: Fault, answer: Answer) -> str:
    """The answer as it came, and what it says without JSON's escapes."""
    return "\n".join((answer.head.decode("utf-8", "replace").lower(), *fault.sentences, *fault.codes))


def _outcome(override: Override, fault: Fault) -> Outcome:
    delay_s, until, named = _wait(override.kind, fault)
    guessed = delay_s is None or until is not None or override.kind is Class.BILLING
    if override.delay_s is not None and guessed:
        delay_s, until = max(delay_s or 0.0, override.delay_s), None
    return Outcome(override.kind, override.scope, override.other, delay_s, until, named)


def _wait(kind: Class, fault: Fault) -> _Wait:
    """How long, until when, and which limit, as an answer of this class says it."""
    if kind is Class.BILLING:
        return (*quotas.unpaid(fault), None)
    if kind not in _QUOTAS:
        return quotas.pause(fault), None, None
    quota = quotas.hit(fault)
    if kind is Class.RATE_LIMIT_TOKENS:
        quota = replace(quota, unit="tokens")
    elif quota.window not in _QUOTAS[kind]:
        quota = replace(quota, window=_QUOTAS[kind][0])
    delay_s = quotas.wait(fault, quota)
    return delay_s, quotas.until(quota, delay_s), quotas.named(fault, quota, delay_s)


# The windows that a class may be about; the first where the answer says another.
_QUOTAS: dict[Class, tuple[Period, ...]] = {
    Class.RATE_LIMIT_MINUTE: ("", "second", "minute", "hour"),
    Class.RATE_LIMIT_TOKENS: (),
    Class.RATE_LIMIT_DAY: ("day", "session"),
}
