"""What one provider alone says, or few users have met, blames whom its own codes and words blame."""

from __future__ import annotations

import pytest

from tests.unit.providers.told import anthropic, classified, google, openai, short

BUSY = "We're experiencing high traffic right now! Please try again soon."


@pytest.mark.parametrize(
    ("provider", "status", "body", "expected"),
    [
        (
            "cerebras",
            429,
            {"message": BUSY, "type": "too_many_requests_error", "param": "queue", "code": "queue_exceeded"},
            "overloaded provider other",
        ),
        ("cerebras", 429, {"message": BUSY}, "overloaded provider other"),
        ("cerebras", 429, {"message": "?", "code": "queue_exceeded"}, "overloaded provider other"),
        ("groq", 498, {"error": {"code": "capacity_exceeded"}}, "overloaded provider other"),
        ("cohere", 498, {"message": "the request contained a deny-listed token"}, "bad_request request no other"),
        ("cohere", 498, {"message": "?", "code": "content_filter"}, "blocked request no other"),
        ("openai", 404, openai("?", code="model_not_found"), "permission key+model other"),
        ("groq", 404, openai("?", code="model_not_found"), "bad_request request no other"),
        (
            "nvidia",
            403,
            {"status": 403, "title": "Forbidden", "detail": "Authorization failed"},
            "invalid_key key other",
        ),
        ("nvidia", 404, {"detail": "Function 'x': Not found for account 'y'"}, "permission key+model other"),
        (
            "together",
            429,
            openai("Credit limit exceeded, please navigate to https://x.y/settings/billing", "credit_limit"),
            "quota_exhausted_billing key other",
        ),
        ("together", 429, openai("?", "credit_limit"), "quota_exhausted_billing key other"),
        (
            "groq",
            403,
            openai("Access denied. Please check your network settings."),
            "permission provider no other",
        ),
    ],
)
def test_codes_and_words_of_one_provider(provider: str, status: int, body: object, expected: str) -> None:
    """Mean there what they mean to its customers, whatever their status means elsewhere."""
    assert short(classified(provider, status, body)) == expected


VERIFY = "Your organization must be verified to stream this model. Please go to: https://x.y and click on Verify."
RETIRED = "This model models/m is no longer available to new users. Please update your code to use a newer model."
UNKNOWN = "model 'm' not found, make sure the correct model ID was used and that you have access to the model."
PRIVATE = "Public access is disabled. Please configure private endpoint."
DENIED = "Your project has been denied access. Please contact support."
UNVERIFIED = "The OAuth2 access token could not be validated."
FILTERED = "Output blocked by content filtering policy"
INSPECTED = "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content."
FLAGGED = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."


@pytest.mark.parametrize(
    ("provider", "status", "body", "expected"),
    [
        ("groq", 400, openai("The model `m` requires terms acceptance."), "permission key+model other"),
        ("groq", 400, openai("?", code="model_terms_required"), "permission key+model other"),
        ("openai", 400, openai(VERIFY, code="unsupported_value"), "permission key+model other"),
        ("openai", 400, openai("?", code="unsupported_value"), "bad_request request no other"),
        ("gemini", 404, google(RETIRED, "NOT_FOUND"), "permission key+model other"),
        ("gemini", 404, google("models/m is no longer available.", "NOT_FOUND"), "bad_request request no other"),
        ("cohere", 404, {"message": UNKNOWN}, "permission key+model other"),
        ("groq", 400, openai("?", code="blocked_api_access"), "quota_exhausted_billing key other"),
        ("openai", 429, openai("?", code="organization_spend_limit_exceeded"), "quota_exhausted_billing key other"),
        ("openai", 429, openai("?", code="project_spend_limit_exceeded"), "quota_exhausted_billing key other"),
        ("gemini", 403, google(DENIED, "PERMISSION_DENIED"), "permission key other"),
        ("gemini", 403, [google(DENIED, "PERMISSION_DENIED")], "permission key other"),
        ("gemini", 403, google("?", "PERMISSION_DENIED"), "permission key+model other"),
        ("xai", 403, {"code": "unauthenticated:bad-credentials", "error": "?"}, "invalid_key key other"),
        ("xai", 403, {"error": {"message": UNVERIFIED}}, "invalid_key key other"),
        ("xai", 403, {"code": "permission-denied:unauthenticated", "error": "?"}, "permission key+model other"),
        ("anthropic", 403, anthropic("permission_error", "OAuth token has been revoked."), "invalid_key key other"),
        ("azure", 403, openai("Access denied due to Virtual Network/Firewall rules."), "permission provider no other"),
        ("azure", 403, openai(PRIVATE), "permission provider no other"),
        ("azure", 403, openai("A Virtual Network is configured for this resource."), "permission provider no other"),
        ("openai", 400, openai(FLAGGED, code="invalid_prompt"), "blocked request no other"),
        ("openai", 400, openai("?", code="invalid_prompt"), "bad_request request no other"),
        ("anthropic", 400, anthropic("invalid_request_error", FILTERED), "blocked request no other"),
        ("deepseek", 400, openai("Content Exists Risk", code="invalid_request_error"), "blocked request no other"),
        ("openai", 400, openai(INSPECTED), "blocked request no other"),
        ("openai", 400, openai("?", code="data_inspection_failed"), "blocked request no other"),
    ],
)
def test_what_users_met(provider: str, status: int, body: object, expected: str) -> None:
    """Whom an answer blames that no document describes whole: the account, the key, the place it was called from."""
    assert short(classified(provider, status, body)) == expected
