"""Which quota a 429 was about, whose it is, and how long it says to wait.

The answer's own structure is asked first (Google's QuotaFailure and ErrorInfo, codes), then its words, then the
`x-ratelimit-*` headers, of which only those of an exhausted quota mean anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

from sidecar.model.classes import Scope
from sidecar.model.outcomes import NamedLimit, NamedUnit, Period
from sidecar.providers import delays, limits, signs
from sidecar.providers.faults import Fault
from sidecar.providers.limits import PERIODS

Unit = Literal["", "requests", "tokens"]
Side = Literal["", "input_tokens", "output_tokens"]
_Name = TypeVar("_Name", Period, Unit)
HOUR_S = 3600.0

_QUOTA_ID = re.compile(r"per_?(second|minute|hour|day|month)", re.IGNORECASE)
_METRIC_LINE = re.compile(
    r"quota exceeded for (?:metric: |(?=[\w.-]*googleapis\.com/))([^\s,]+)(?:, limit: (\d+))?"
    r"(?:(?:,| with base) model: (\S+))?"
)
_ZERO = re.compile(r"\blimit(?: of|:)? ?0\b(?![.,]?\d)")
_WINDOWS: tuple[tuple[Period, re.Pattern[str]], ...] = (
    ("month", re.compile(
        r"(?:\b|_)per[-_ ]month(?:\b|_)|/ ?month\b|(?:\b|_)monthly\b.{0,30}\b(?:limit|quota|calls|requests|tokens)\b"
    )),
    ("session", re.compile(r"session (?:usage )?limit|\bweekly\b|per[- ]week\b|usage_limit_reached|5[- ]hour")),
    ("day", re.compile(r"(?:\b|_)per[-_ ]day(?:\b|_)|/ ?day\b|(?:\b|_)daily\b|(?:\b|_)[rt]pd\b|\bper 24 ?h")),
    ("hour", re.compile(r"(?:\b|_)per[-_ ]hour(?:\b|_)|/ ?hour\b|\bhourly\b|(?:\b|_)[rt]ph\b")),
    ("minute", re.compile(r"(?:\b|_)per[-_ ]min(?:ute)?(?:\b|_)|/ ?min(?:ute)?\b|(?:\b|_)[rt]pm\b")),
    ("second", re.compile(r"(?:\b|_)per[-_ ]second(?:\b|_)|\brps\b")),
)  # fmt: skip
_UNITS: tuple[tuple[Unit, re.Pattern[str]], ...] = (
    ("tokens", re.compile(
        r"\btokens? (?:rate |usage )?(?:limit|quota)|(?:\b|_)tokens?[-_ /]*(?:per|/)|(?:\b|_)tp[mdh]\b"
        r"|number of (?:\w+ )?tokens"
        r"|(?:input|output|prompt|completion|request) tokens|too[_ ]many[_ ]tokens|token_(?:quota|count)"
    )),
    ("requests", re.compile(
        r"(?:\b|_)requests?[-_ /]*(?:per|/)|(?:\b|_)rp[mdh]\b|number of requests|request rate|\bcalls? ?/|request_quota"
    )),
)  # fmt: skip
_PER_MODEL = re.compile(
    r"for (?:model )?[`'\"]?[\w./:@-]+[`'\"]? (?:\(for limit [^)]*\) )?in organization|for this model\b"
)
_SIDE = re.compile(r"(input|prompt|output|completion)[ _-]?tokens?")
_MOST = re.compile(
    r"\blimit(?: of|:)? ?([\d,]*\d)\b(?!\.\d)"
    r"|\blimit(?:ed)?\b[^.]{0,120}? (?:of|to) ([\d,]*\d) (?:\w+ ){0,2}(?:requests|tokens|calls) ?(?:/|per\b)"
)


@dataclass(frozen=True, slots=True)
class Quota:
    """What was exceeded, as far as the answer says. `none`: its limit is 0, so no wait helps."""

    window: Period = ""
    unit: Unit = ""
    scope: Scope | None = None
    none: bool = False
    google: bool = False
    max: int | None = None
    side: Side = ""  # of which tokens
    model: str = ""


def hit(fault: Fault) -> Quota:
    """The quota that this error is about."""
    told = _by_words(fault)
    google = _by_google(fault)
    if google is not None:
        return replace(
            google,
            scope=google.scope or told.scope,
            none=google.none or told.none,
            max=google.max if google.max is not None else told.max,
        )
    if "resource_exhausted" in fault.codes:
        told = replace(told, google=True)
    return told if told.window and told.unit else _by_headers(fault, told)


# --- Google -----------------------------------------------------------------------------------------


def _by_google(fault: Fault) -> Quota | None:
    """Of several violations the longest window: the day's is not over when the minute's is."""
    lines = [match.groups() for sentence in fault.sentences for match in _METRIC_LINE.finditer(sentence)]
    named = any(int(limit or 0) for _, limit, _ in lines)
    violations = [_violation(violation, zero_if_absent=not named) for violation in _violations(fault)]
    quotas = violations or [_limit_of_info(info) for info in _infos(fault)]
    if not quotas:
        quotas = [_metric(*line) for line in lines]
    if not quotas:
        return None
    longest = max(quotas, key=lambda quota: PERIODS.index(quota.window))
    return replace(longest, none=any(quota.none for quota in quotas), google=True)


def _typed(fault: Fault, kind: str) -> Iterator[Mapping[str, Any]]:
    return (detail for detail in fault.details if str(detail["@type"]).endswith(f".{kind}"))


def _violations(fault: Fault) -> list[Mapping[str, Any]]:
    listed = [failure.get("violations") for failure in _typed(fault, "QuotaFailure")]
    flat = [item for items in listed if isinstance(items, list) for item in items]
    return [item for item in flat if isinstance(item, dict) and item.get("quotaId")]


def _violation(violation: Mapping[str, Any], zero_if_absent: bool) -> Quota:
    """proto3 leaves out a 0, so that a quota without a value is one of nothing."""
    name, metric = str(violation["quotaId"]), str(violation.get("quotaMetric", ""))
    dimensions = violation.get("quotaDimensions")
    per_model = "permodel" in name.lower() or (isinstance(dimensions, dict) and "model" in dimensions)
    value = violation.get("quotaValue")
    none = zero_if_absent if value is None else str(value) == "0"
    model = str(dimensions.get("model", "")) if isinstance(dimensions, dict) else ""
    return replace(_of_names(name, metric, value), scope=_scope(per_model), none=none, model=model)


def _of_names(name: str, metric: str, value: object) -> Quota:
    """By the quota's id and its metric, which say what is counted, and for how long."""
    return Quota(_window(name) or _window(metric), _unit(name + metric), max=_most(value), side=_side(name + metric))


def _most(value: object) -> int | None:
    text = str(value)[:18].replace(",", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _infos(fault: Fault) -> list[Mapping[str, Any]]:
    """The older form: the quota stands in ErrorInfo's metadata."""
    told = [info.get("metadata") for info in _typed(fault, "ErrorInfo")]
    return [metadata for metadata in told if isinstance(metadata, dict) and metadata.get("quota_limit")]


def _limit_of_info(metadata: Mapping[str, Any]) -> Quota:
    """A region's limit of 0 says where the caller is, not what the key may."""
    name, metric = str(metadata["quota_limit"]), str(metadata.get("quota_metric", ""))
    regional = "quota_location" in metadata or "perregion" in name.lower()
    none = str(metadata.get("quota_limit_value", "")) == "0" and not regional
    named = _of_names(name, metric, metadata.get("quota_limit_value"))
    return replace(named, scope=_scope("permodel" in name.lower()), none=none)


def _metric(metric: str, limit: str | None, model: str | None) -> Quota:
    """What stands in words alone. Whose quota it is, it does not say unless it names a model."""
    per_model = model is not None or "per_model" in metric or "per_base_model" in metric
    scope = Scope.KEY_MODEL if per_model else None
    return replace(_of_names(metric, "", limit), scope=scope, model=model or "")


def _window(name: str) -> Period:
    found = _QUOTA_ID.search(name)
    return cast(Period, found.group(1).lower()) if found else ""


def _unit(name: str) -> Unit:
    return "tokens" if "token" in name.lower() else "requests"


def _side(text: str) -> Side:
    found = _SIDE.search(text.lower())
    if not found:
        return ""
    return "input_tokens" if found[1] in {"input", "prompt"} else "output_tokens"


def _scope(per_model: bool) -> Scope:
    return Scope.KEY_MODEL if per_model else Scope.KEY


# --- words and headers ------------------------------------------------------------------------------


def _by_words(fault: Fault) -> Quota:
    """The first window and unit that are named: what follows is mostly advice."""
    text = "\n".join([*fault.sentences, *fault.codes])
    unit: Unit = next((cast(Unit, code) for code in ("tokens", "requests") if code in fault.codes), "")
    return Quota(
        window=_first(text, _WINDOWS) or "",
        unit=unit or _first(text, _UNITS) or _unit_of_policy(fault),
        scope=_scope_of_words(fault),
        none=fault.says(_ZERO),
        max=_most_in(fault),
        side=_side(text),
    )


def _most_in(fault: Fault) -> int | None:
    """`Limit 3, Used 3`, `limit: 250`, `the rate limit for your organization of 20,000 input tokens per minute`."""
    found = next((match for sentence in fault.sentences if (match := _MOST.search(sentence))), None)
    return _most(found[1] or found[2]) if found else None


def _scope_of_words(fault: Fault) -> Scope | None:
    if fault.says(signs.VOLUME):
        return Scope.KEY
    return Scope.KEY_MODEL if fault.says(_PER_MODEL) else None


def _first(text: str, named: tuple[tuple[_Name, re.Pattern[str]], ...]) -> _Name | None:
    found = [(match.start(), name) for name, pattern in named if (match := pattern.search(text))]
    return min(found, key=lambda item: item[0])[1] if found else None


def _unit_of_policy(fault: Fault) -> Unit:
    """Azure names it in a header alone: `policy-id: DeploymentRatelimit-Token`."""
    return "tokens" if "token" in fault.headers.get("policy-id", "").lower() else ""


def _by_headers(fault: Fault, told: Quota) -> Quota:
    """Completed by the exhausted quotas of the headers, where they agree with one another."""
    spent = [bucket for bucket in _buckets(fault) if bucket.remaining == 0 and _concerns(bucket, told)]
    units: set[Unit] = {_unit(bucket.unit) if bucket.unit else "" for bucket in spent}
    window: Period = max((bucket.per for bucket in spent), key=PERIODS.index, default="")
    return replace(told, window=told.window or window, unit=told.unit or (units.pop() if len(units) == 1 else ""))


def spent(fault: Fault) -> bool:
    """Whether a header, or one that the body repeats, shows a quota without rest."""
    return any(bucket.remaining == 0 for bucket in _buckets(fault))


def is_page(fault: Fault) -> bool:
    """Whether it is no API's answer, but that of somebody in front who counts what comes from one address."""
    return fault.html or fault.says(signs.ADDRESS)


def is_bare(fault: Fault, quota: Quota) -> bool:
    """Whether neither words nor headers tell anything of the quota; how long to wait tells nothing of one."""
    return is_page(fault) or (replace(quota, google=False) == Quota() and not spent(fault))


def _buckets(fault: Fault) -> list[NamedLimit]:
    return limits.of_headers((*fault.headers.items(), *fault.named.items()), fault.now_s)


def _concerns(bucket: NamedLimit, quota: Quota) -> bool:
    """Whether it may be that quota: what one of them leaves open contradicts nothing."""
    return _may_count(bucket, quota.unit) and (not quota.window or bucket.per in {"", quota.window})


def _may_count(bucket: NamedLimit, unit: Unit) -> bool:
    """Input and output tokens are tokens."""
    return not bucket.unit or bucket.unit.endswith(unit)


def named(fault: Fault, quota: Quota, wait_s: float | None) -> NamedLimit | None:
    """The limit that was hit, where its maximum is told: by the answer itself, else by the headers of what is spent."""
    most = quota.max
    if most is None:
        told = {bucket.max for bucket in _buckets(fault) if bucket.remaining == 0 and _concerns(bucket, quota)}
        most = told.pop() if len(told) == 1 else None
    if not most:
        return None
    unit: NamedUnit = quota.unit or "requests"  # as a header without a unit means
    if unit == "tokens" and quota.side:
        unit = quota.side
    return NamedLimit(unit, quota.window, most, 0, wait_s, quota.model)


# --- the wait ---------------------------------------------------------------------------------------


def floor(fault: Fault) -> float | None:
    """What `retry-after` and its kin name, in seconds: no answer may be tried again earlier. 0 names nothing."""
    told: list[float | None] = []
    for headers in (fault.headers, fault.named):
        told.append(delays.reset(headers.get("retry-after", ""), fault.now_s))
        told += [delays.retry_after_ms(headers.get(name, "")) for name in ("retry-after-ms", "x-ms-retry-after-ms")]
    return max((seconds for seconds in told if seconds), default=None)


def wait(fault: Fault, quota: Quota) -> float | None:
    """The longest wait that is named for this quota, in seconds; None where nothing is."""
    told = [floor(fault), _said(fault, quota), *_resets(fault, quota)]
    return max((seconds for seconds in told if seconds), default=None)


def until(quota: Quota, delay_s: float | None) -> Literal["midnight"] | None:
    """Midnight, where a day's quota names no wait, or (Google) a `retry-after` too short for a day."""
    short = delay_s is None or (quota.google and delay_s < HOUR_S)
    return "midnight" if quota.window == "day" and short else None


def unpaid(fault: Fault) -> tuple[float | None, Literal["month"] | None]:
    """How long money is missing: what is named, and the end of the month that is spent, unless hours are said instead.

    A wait of seconds is often named too: it is the least, and the pool knows better.
    """
    dated = (_said(fault, Quota()) or 0.0) >= HOUR_S
    month = not dated and fault.says(signs.MONTH_SPENT) and not fault.says(signs.CREDITS)
    return pause(fault), "month" if month else None


def pause(fault: Fault) -> float | None:
    """The wait that is named without regard to any quota, as a 503 does."""
    told = (floor(fault), _said(fault, Quota()))
    return max((seconds for seconds in told if seconds), default=None)


def _said(fault: Fault, quota: Quota) -> float | None:
    """By RetryInfo or in words. Google's below an hour says nothing of a day (22 s for a daily quota, seen often)."""
    told = [delays.duration(str(info.get("retryDelay", ""))) for info in _typed(fault, "RetryInfo")]
    told += [delays.spoken(sentence, fault.now_s) for sentence in fault.sentences]
    said = max((seconds for seconds in told if seconds), default=None)
    return None if said and said < HOUR_S and quota.google and quota.window == "day" else said


def _resets(fault: Fault, quota: Quota) -> Iterator[float | None]:
    """Of the exhausted quotas, and of those whose rest is unknown but whose name is the quota's."""
    for bucket in _buckets(fault):
        unknown = bucket.remaining is None and (not bucket.unit or (quota.unit and _may_count(bucket, quota.unit)))
        if (bucket.remaining == 0 or unknown) and _concerns(bucket, quota):
            yield bucket.resets_in_s
