"""What an account hears that is over one of its budgets, in the body and headers that its provider sends for that unit.

Sources: tests/wire/cases; for concurrency LLM-Red-Team/kimi-cc#16 (Moonshot) and cline/cline#4351 (Anthropic).
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta

from sidecar.simulate.answers import Answer
from sidecar.simulate.calls import Call
from sidecar.simulate.failures import anthropic_error, detail, duration, failed, google_error, json_answer, openai_error
from sidecar.simulate.ledger import SECOND_NS, Violation

DAY_S = 86_400
SHORT_S = 22  # what Google's RetryInfo says of a calendar day: nothing of its end


def limited(call: Call, violation: Violation, now: datetime) -> Answer:
    """An account is over its budget. The wait is exact where the provider tells it at all."""
    wait_s = violation.retry_ns / SECOND_NS
    if call.dialect in {"gemini", "gemini-openai"}:
        return _google_limited(call, violation, wait_s)
    if call.dialect == "anthropic":
        return _anthropic_limited(violation, wait_s, now)
    if call.dialect == "openai":
        return _openai_limited(call, violation, wait_s)
    return json_answer(429, {"error": "too many requests"}, {"Retry-After": str(math.ceil(wait_s))})


def _daily(violation: Violation) -> bool:
    return violation.budget.calendar == "day" or violation.budget.window_s >= DAY_S


def _kind(violation: Violation) -> str:
    """What headers and types call the unit."""
    return "requests" if violation.budget.unit == "requests" else "tokens"


# --- Google -----------------------------------------------------------------------------------------


def _google_limited(call: Call, violation: Violation, wait_s: float) -> Answer:
    """With QuotaFailure, Help and RetryInfo, as the free tier sends it; it names a model where the budget does."""
    budget, array = violation.budget, call.dialect == "gemini-openai"
    if budget.unit == "concurrency":
        return failed(call.dialect, 429)
    if budget.calendar == "month":
        text = "Your project has exceeded its monthly spending cap. Please go to AI Studio to manage your spend cap."
        return google_error(429, text, array=array)
    metric, quota_id = _google_quota(violation)
    quota = {
        "quotaMetric": metric,
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global"} | ({"model": call.model} if budget.model else {}),
        "quotaValue": str(budget.max),
    }
    wait_s = min(wait_s, SHORT_S) if budget.calendar else wait_s
    link = "https://ai.google.dev/gemini-api/docs/rate-limits"
    text = (
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        f"error, head to: {link}.\n* Quota exceeded for metric: {metric}, limit: {budget.max}\n"
        f"Please retry in {wait_s:.9f}s."
    )
    details = [
        detail("QuotaFailure", violations=[quota]),
        detail("Help", links=[{"description": "Learn more about Gemini API quotas", "url": link}]),
        detail("RetryInfo", retryDelay=f"{math.ceil(wait_s)}s"),
    ]
    return google_error(429, text, details, array=array)


def _google_quota(violation: Violation) -> tuple[str, str]:
    """Metric and id. Google writes the model before the span for tokens and at the end for requests."""
    span, unit = "PerDay" if _daily(violation) else "PerMinute", violation.budget.unit
    per_model = "PerModel" if violation.budget.model else ""
    metric = "generativelanguage.googleapis.com/generate_content_free_tier"
    if unit == "requests":
        return f"{metric}_requests", f"GenerateRequests{span}PerProject{per_model}-FreeTier"
    side = "output" if unit == "output_tokens" else "input"
    return f"{metric}_{side}_token_count", f"GenerateContent{side.capitalize()}Tokens{per_model}{span}-FreeTier"


# --- Anthropic --------------------------------------------------------------------------------------


def _anthropic_limited(violation: Violation, wait_s: float, now: datetime) -> Answer:
    """The delay is in the headers alone; none for concurrency, and the moment in words for a month."""
    budget = violation.budget
    if budget.unit == "concurrency":
        sales = "contact sales at https://www.anthropic.com/contact-sales to discuss your options"
        text = f"Number of concurrent connections has exceeded your rate limit. Please try again later or {sales}"
        return anthropic_error(429, f"{text} for a rate limit increase.")
    end = now + timedelta(seconds=math.ceil(wait_s))
    if budget.calendar == "month":
        text = "You have reached your specified API usage limits. You will regain access on"
        return anthropic_error(400, f"{text} {end:%Y-%m-%d} at {end:%H:%M} UTC.")
    unit, span = budget.unit.replace("_", " "), "day" if _daily(violation) else "minute"
    named = f"anthropic-ratelimit-{budget.unit.replace('_', '-')}"
    headers = {
        "retry-after": str(math.ceil(wait_s)),
        f"{named}-limit": str(budget.max),
        f"{named}-remaining": "0",
        f"{named}-reset": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    text = (
        f"This request would exceed the rate limit for your organization ({_organization(violation)}) of "
        f"{budget.max:,} {unit} per {span}. For details, refer to: https://docs.anthropic.com/en/api/rate-limits."
    )
    return anthropic_error(429, text, headers)


# --- OpenAI -----------------------------------------------------------------------------------------


def _openai_limited(call: Call, violation: Violation, wait_s: float) -> Answer:
    budget, organization = violation.budget, _organization(violation)
    if budget.unit == "concurrency":
        text = (
            f"Your account org-{organization}<ak-simulated> request reached max organization concurrency: "
            f"{budget.max}, please try again after 1 seconds"
        )
        return json_answer(429, {"error": {"message": text, "type": "rate_limit_reached_error"}})
    if budget.calendar == "month":
        text = "You exceeded your current quota, please check your plan and billing details."
        return openai_error(429, text, "insufficient_quota", "insufficient_quota")
    kind, asked = _kind(violation), budget.amount(violation.arrival)
    span = f"day ({kind[0].upper()}PD)" if _daily(violation) else f"min ({kind[0].upper()}PM)"
    where = f"for {call.model} in organization org-{organization} on {kind} per {span}: Limit {budget.max}"
    more = "Visit https://platform.openai.com/account/rate-limits to learn more."
    if asked > budget.max:
        fits = "The input or output tokens must be reduced in order to run successfully."
        return openai_error(
            429, f"Request too large {where}, Requested {asked}. {fits} {more}", kind, "rate_limit_exceeded"
        )
    headers = {
        "retry-after": str(math.ceil(wait_s)),
        "retry-after-ms": str(math.ceil(wait_s * 1000)),
        f"x-ratelimit-limit-{kind}": str(budget.max),
        f"x-ratelimit-remaining-{kind}": "0",
        f"x-ratelimit-reset-{kind}": duration(wait_s),
    }
    used = f"Used {min(budget.max, violation.held - asked)}, Requested {asked}"
    text = f"Rate limit reached {where}, {used}. Please try again in {duration(wait_s)}. {more}"
    return openai_error(429, text, kind, "rate_limit_exceeded", headers)


def _organization(violation: Violation) -> str:
    """A name for the account that is no secret, as the account of a key on its own would be."""
    return hashlib.sha256(violation.arrival.account.encode()).hexdigest()[:24]
