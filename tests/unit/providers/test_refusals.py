"""Answers that no file records, of the families that are recorded, blame whom their codes and words blame."""

from __future__ import annotations

import pytest

from tests.unit.providers.told import HTML, anthropic, classified, detail, google, info, openai, quota, retry, short


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, "ok request no other"),
        (400, "bad_request request no other"),
        (401, "invalid_key key other"),
        (402, "quota_exhausted_billing key other"),
        (403, "permission key+model other"),
        (404, "bad_request request no other"),
        (405, "bad_request request no other"),
        (408, "timeout provider other"),
        (409, "bad_request request no other"),
        (413, "bad_request request no other"),
        (415, "bad_request request no other"),
        (422, "bad_request request no other"),
        (425, "server_error provider other"),
        (429, "rate_limit_minute key+model other"),
        (451, "permission provider no other"),
        (498, "bad_request request no other"),
        (499, "server_error provider other"),
        (500, "server_error provider other"),
        (502, "server_error provider other"),
        (503, "overloaded provider other"),
        (504, "timeout provider other"),
        (520, "server_error provider other"),
        (524, "timeout provider other"),
        (529, "overloaded provider other"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\x00", b"{", b"[]", b"null", b'"?"', b"{}", b"no JSON", b'{"x":[1,{"y":2}]}']
)
def test_what_is_unknown_falls_to_its_status(status: int, expected: str, body: bytes) -> None:
    """Whatever the body is."""
    assert short(classified("openai", status, body)) == expected


@pytest.mark.parametrize(
    ("provider", "status", "body", "expected"),
    [
        # keys
        (
            "gemini",
            403,
            google("Your API key was reported as leaked. Use another.", "PERMISSION_DENIED"),
            "invalid_key key",
        ),
        (
            "gemini",
            403,
            google("Permission denied: Consumer 'api_key:A' has been suspended.", "PERMISSION_DENIED"),
            "invalid_key key",
        ),
        ("gemini", 403, google("?", "PERMISSION_DENIED", info("CONSUMER_SUSPENDED")), "invalid_key key"),
        ("gemini", 400, google("API key expired. Please renew the API key.", "INVALID_ARGUMENT"), "invalid_key key"),
        ("gemini", 400, google("?", "INVALID_ARGUMENT", detail("Help"), info("API_KEY_INVALID")), "invalid_key key"),
        ("openai", 401, openai("Incorrect API key provided: sk-x.", code="invalid_api_key"), "invalid_key key"),
        (
            "anthropic",
            400,
            anthropic("invalid_request_error", "This organization has been disabled."),
            "invalid_key key",
        ),
        ("groq", 400, openai("Organization has been restricted.", code="organization_restricted"), "invalid_key key"),
        ("mistral", 401, {"message": "Unauthorized", "request_id": "x"}, "invalid_key key"),
        (
            "azure",
            401,
            openai("Access denied due to invalid subscription key or wrong API endpoint."),
            "invalid_key key",
        ),
        ("perplexity", 401, HTML.format("401 Authorization Required"), "invalid_key key"),
        # permission
        ("gemini", 403, google("?", "PERMISSION_DENIED", info("API_KEY_SERVICE_BLOCKED")), "permission key"),
        ("gemini", 403, google("?", "PERMISSION_DENIED", info("API_KEY_IP_ADDRESS_BLOCKED")), "permission key"),
        (
            "gemini",
            403,
            google("The provided API key has an IP address restriction.", "PERMISSION_DENIED"),
            "permission key",
        ),
        ("gemini", 403, google("Requests to this API x method y are blocked.", "PERMISSION_DENIED"), "permission key"),
        (
            "openai",
            401,
            openai("You have insufficient permissions. Missing scopes: model.request."),
            "permission key+model",
        ),
        (
            "openai",
            403,
            openai("Project `p` does not have access to model `m`", code="model_not_found"),
            "permission key+model",
        ),
        (
            "vertex",
            404,
            google("Model `m` was not found or your project does not have access to it.", "NOT_FOUND"),
            "permission key+model",
        ),
        (
            "openai",
            429,
            openai("Rate limit reached for m in organization o on tokens per min (TPM): Limit 0, Used 0, Requested 9."),
            "permission key+model",
        ),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", "This would exceed the rate limit of 0 input tokens per minute."),
            "permission key+model",
        ),
        (
            "gemini",
            429,
            google("?", "RESOURCE_EXHAUSTED", retry("9s"), quota("RequestsPerMinutePerProjectPerModel", "0")),
            "permission key+model",
        ),
        # billing
        (
            "openai",
            429,
            openai("You exceeded your current quota, please check your plan and billing details."),
            "quota_exhausted_billing key",
        ),
        (
            "openai",
            400,
            openai("Billing hard limit has been reached", code="billing_hard_limit_reached"),
            "quota_exhausted_billing key",
        ),
        ("openai", 429, openai("?", "billing_not_active"), "quota_exhausted_billing key"),
        ("anthropic", 402, anthropic("billing_error", "?"), "quota_exhausted_billing key"),
        (
            "gemini",
            403,
            google("This API method requires billing to be enabled.", "PERMISSION_DENIED", info("BILLING_DISABLED")),
            "quota_exhausted_billing key",
        ),
        (
            "gemini",
            400,
            google(
                "Gemini API free tier is not available in your country. Please enable billing.", "FAILED_PRECONDITION"
            ),
            "quota_exhausted_billing key",
        ),
        (
            "openrouter",
            402,
            {"error": {"message": "Insufficient credits.", "code": 402}},
            "quota_exhausted_billing key",
        ),
        (
            "openrouter",
            403,
            {"error": {"message": "Key limit exceeded (total limit).", "code": 403}},
            "quota_exhausted_billing key",
        ),
        (
            "nvidia",
            402,
            {"status": 402, "title": "Payment Required", "detail": "Cloud credits expired"},
            "quota_exhausted_billing key",
        ),
        # rate limits
        (
            "cohere",
            429,
            {"message": "You are using a Trial key, which is limited to 10 API calls / minute."},
            "rate_limit_minute key",
        ),
        (
            "openrouter",
            429,
            {"error": {"message": "Rate limit exceeded: free-models-per-min. ", "code": 429}},
            "rate_limit_minute key",
        ),
        (
            "cerebras",
            429,
            {"message": "Requests per day limit exceeded.", "code": "request_quota_exceeded"},
            "rate_limit_day key",
        ),
        ("ollama", 429, {"error": "you have reached your weekly usage limit"}, "rate_limit_day key"),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", "Number of request tokens has exceeded your daily rate limit"),
            "rate_limit_day key+model",
        ),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit"),
            "rate_limit_tokens key+model",
        ),
        (
            "anthropic",
            429,
            anthropic(
                "rate_limit_error",
                "This would exceed the rate limit of 5 requests per minute. Please reduce the maximum tokens requested",
            ),
            "rate_limit_minute key+model",
        ),
        (
            "xai",
            429,
            {"code": "Some resource has been exhausted", "error": "Too many requests for team t and model m."},
            "rate_limit_minute key+model",
        ),
        ("nvidia", 429, HTML.format("429 Too Many Requests"), "rate_limit_minute key"),
    ],
)
def test_another_key_may_do_better(provider: str, status: int, body: object, expected: str) -> None:
    """And this one rests, or its account."""
    assert short(classified(provider, status, body)) == f"{expected} other"


@pytest.mark.parametrize(
    ("provider", "status", "body", "expected"),
    [
        (
            "openai",
            429,
            openai("The engine is currently overloaded, please try again later"),
            "overloaded provider other",
        ),
        ("mistral", 429, {"message": "?", "type": "service_tier_capacity_exceeded"}, "overloaded provider other"),
        ("groq", 498, openai("Flex tier capacity exceeded", code="capacity_exceeded"), "overloaded provider other"),
        ("openai", 500, openai("That model is currently overloaded with other requests."), "overloaded provider other"),
        (
            "gemini",
            400,
            google("User location is not supported for the API use.", "FAILED_PRECONDITION"),
            "permission provider no other",
        ),
        ("anthropic", 403, anthropic("forbidden", "Request not allowed"), "permission provider no other"),
        ("openai", 403, HTML.format("Attention Required! | Cloudflare"), "permission provider no other"),
        ("openai", 404, openai("No such File object: file-abc"), "bad_request request other"),
        (
            "gemini",
            403,
            google("CachedContent not found (or permission denied)", "PERMISSION_DENIED"),
            "bad_request request other",
        ),
        ("openai", 404, openai("Container with id 'cntr_1' not found."), "bad_request request other"),
        ("openai", 400, openai("Item with id 'rs_1' not found."), "bad_request request other"),
        (
            "openai",
            429,
            openai(
                "Rate limit reached for m in organization o on tokens per min: Limit 6,000, Used 0, Requested 6,042."
            ),
            "bad_request request other",
        ),
        (
            "anthropic",
            429,
            anthropic("rate_limit_error", "Extra usage is required for long context requests."),
            "permission request other",
        ),
        (
            "vllm",
            404,
            {"object": "error", "message": "The model `x` does not exist.", "code": 404},
            "bad_request request no other",
        ),
        ("ollama", 404, {"error": "model 'x' not found, try pulling it first"}, "bad_request request no other"),
        ("anthropic", 404, anthropic("not_found_error", "model: claude-x"), "bad_request request no other"),
        (
            "openrouter",
            403,
            {"error": {"code": 403, "message": 'Your input was flagged for "z".'}},
            "blocked request no other",
        ),
        (
            "azure",
            400,
            {"error": {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            "blocked request no other",
        ),
        (
            "openai",
            400,
            openai("Invalid value: the model is invalid. See https://x.y/api-keys.", "invalid_request_error"),
            "bad_request request no other",
        ),
        (
            "vllm",
            422,
            {"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]},
            "bad_request request no other",
        ),
    ],
)
def test_no_key_rests(provider: str, status: int, body: object, expected: str) -> None:
    """For what is the provider's fault or the request's."""
    assert short(classified(provider, status, body)) == expected


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Your input exceeds the context window of this model. Please adjust your input and try again."),
        (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300012 tokens."),
        (400, "input length and `max_tokens` exceed context limit: 178902 + 32000 > 200000, decrease input length"),
        (400, "The input token count exceeds the maximum number of tokens allowed (1048576)."),
        (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
        (400, "Prompt contains 300000 tokens, too large for model with 131072 maximum context length"),
        (400, "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)"),
        (400, "Please reduce the length of the messages or completion."),
        (400, "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it"),
        (400, "Input is too long for requested model."),
        (400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
        (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that"),
        (413, "Request body too large: the prompt is too long."),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 and 512"),
    ],
)
def test_more_than_a_model_can_read_is_told_from_what_is_wrong(status: int, message: str) -> None:
    assert short(classified("openai", status, openai(message))) == "context_too_long request no other"


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (413, "Request too large on tokens per minute (TPM): Limit 6000, Requested 7000", "bad_request"),
        (429, "Tokens per minute limit exceeded - too many tokens processed.", "rate_limit_tokens"),
        (400, "Invalid value for max_tokens: must be positive.", "bad_request"),
    ],
)
def test_what_is_too_much_for_a_quota_is_no_matter_of_the_model(status: int, message: str, expected: str) -> None:
    assert short(classified("openai", status, openai(message))).startswith(expected)
