"""What an attempt can come to, and what rests for it."""

from __future__ import annotations

from enum import StrEnum


class Class(StrEnum):
    """What an attempt came to. The values are the `outcome` label of the metrics."""

    OK = "ok"
    RATE_LIMIT_MINUTE = "rate_limit_minute"
    RATE_LIMIT_DAY = "rate_limit_day"
    RATE_LIMIT_TOKENS = "rate_limit_tokens"
    BILLING = "quota_exhausted_billing"
    INVALID_KEY = "invalid_key"
    PERMISSION = "permission"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECT = "connect"
    BAD_REQUEST = "bad_request"
    CONTEXT_TOO_LONG = "context_too_long"
    BLOCKED = "blocked"


class Scope(StrEnum):
    """What rests for it: the key (for all models, or for this one), or nothing, being another's fault."""

    KEY = "key"
    KEY_MODEL = "key+model"
    PROVIDER = "provider"
    REQUEST = "request"
