"""Errors as providers would send them, and what they are classified as."""

from __future__ import annotations

import json
from typing import Any

from sidecar.model.outcomes import Outcome
from sidecar.providers.catalogue import DIALECTS, preset
from sidecar.providers.dialect import Answer

NOW_S = 1_791_300_000.0  # 2026-10-06T15:20:00Z
HTML = "<html><head><title>{}</title></head><body>cloudflare</body></html>"


def classified(provider_name: str, status: int, body: object = b"", headers: dict[str, str] | None = None) -> Outcome:
    known = preset(provider_name)
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    answer = Answer(status, headers or {}, data, NOW_S)
    dialect = DIALECTS[next(iter(known.dialects))]
    return dialect.classify(known.at(known.base_url or "https://example.com/v1"), answer)


def short(outcome: Outcome) -> str:
    return f"{outcome.kind} {outcome.scope} {'other' if outcome.other else 'no other'}"


def google(message: str, status: str = "RESOURCE_EXHAUSTED", *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": 429, "message": message, "status": status, "details": list(details)}}


def detail(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


def quota(name: str, value: str | None = "10", metric: str = "generate_requests", **dimensions: str) -> dict[str, Any]:
    violation = {"quotaId": name, "quotaMetric": f"x/{metric}", "quotaDimensions": dimensions}
    return detail("QuotaFailure", violations=[violation | ({} if value is None else {"quotaValue": value})])


def retry(delay: str) -> dict[str, Any]:
    return detail("RetryInfo", retryDelay=delay)


def openai(message: str, kind: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def info(reason: str) -> dict[str, Any]:
    return detail("ErrorInfo", reason=reason, domain="googleapis.com", metadata={"service": "x"})
