"""What to write here instead of what LiteLLM has and we have not, or have otherwise; for people, in a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_CLIENTS = "virtual keys and their limits are clients here. Make them with `sidecar clients create`."
_TIMEOUTS = "first_byte_timeout and idle_timeout of the pool bound how long a stream may be silent."
_RESTS = "a key rests as long as its provider says, at once; breaker: of the pool bounds a provider's own faults."
_RETRIES = "max_attempts of the pool bounds all retries, and outcomes: says what an answer means."
_LOGS = "the log is one line a request, and /metrics has the rest."
_REMEDIES = {
    "allowed_fails": _RESTS,
    "allowed_fails_policy": _RESTS,
    "disable_cooldowns": _RESTS,
    "retry_policy": _RETRIES,
    "max_retries": _RETRIES,
    "retry_after": "backoff and Retry-After are found by themselves.",
    "enable_pre_call_checks": "fallback_on: [context_too_long] of a route sends what a model refuses to the next.",
    "drop_params": "remove: [NAME] of a route's target takes away what its provider refuses.",
    "stream_timeout": _TIMEOUTS,
    "max_parallel_requests": "concurrency: of the pool bounds the requests in flight of each account.",
    "global_max_parallel_requests": "concurrency: of a client or a pool bounds requests in flight.",
    "default_max_parallel_requests": "concurrency: of the pool bounds the requests in flight of each account.",
    "database_url": _CLIENTS,
    "max_budget": _CLIENTS,
    "default_key_generate_params": _CLIENTS,
    "api_version": "Azure's v1 API, which is asked here, needs none.",
    "callbacks": _LOGS,
    "success_callback": _LOGS,
    "failure_callback": _LOGS,
    "set_verbose": _LOGS,
    "json_logs": _LOGS,
    "ssl_verify": "ca_bundle: of the pool names the certificates to trust.",
    "mock_response": "`sidecar demo` runs against a simulated provider.",
    "completion_model": "a route called * takes every name.",
    "allowed_routes": "models: of a client bounds what it may ask for.",
}


def remedies(fields: Iterable[str]) -> Iterator[str]:
    """A note for each of these settings that something stands for."""
    return (f"instead of {name}: {_REMEDIES[name]}" for name in fields if name in _REMEDIES)
