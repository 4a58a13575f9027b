"""By which codes and words providers tell what is wrong, as data: rules in refusals.py, sources in tests/wire/cases.

Everything is in lower case, as faults.py hands it over. Codes are what a program was meant to read; words are
what is left where a provider sends no code, or one that says nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Sign(NamedTuple):
    """Either is enough."""

    codes: frozenset[str]
    words: re.Pattern[str]


def _sign(codes: str, *words: str) -> Sign:
    return Sign(frozenset(codes.split()), _words(*words))


def _words(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words))


# The place that the sidecar calls from is refused: by country, or by the firewall of an Azure resource (reported at
# Azure-Samples/azure-sql-db-chatbot, continuedev/continue, Azure-Samples/azure-search-openai-demo).
REGION = _sign(
    "unsupported_country_region_territory unsupported_country unsupported_location",
    r"country, region,? or territory not supported",
    r"location is not supported|check your network settings",
    r"not (?:available|supported) in your (?:country|region|location)|^request not allowed$",
    r"virtual network/firewall rules|virtual network is configured for this resource",
    r"public access is disabled\. please configure",
)
# A page in front of the API takes the sidecar for a robot.
EGRESS = _words(
    r"automated queries|unusual traffic|attention required|you have been blocked|just a moment|error 10(?!15)\d\d",
)
# Or has had too many requests from our address (developers.cloudflare.com/support/troubleshooting/http-status-codes/
# cloudflare-1xxx-errors/error-1015): a text or a page, with a `retry-after` of its own.
ADDRESS = _words(r"error(?: code)?:? 1015\b|you are being rate limited")

# The account has no money, or may spend no more (caps: console.groq.com/docs/spend-limits, which names the code alone;
# developers.openai.com/api/docs/guides/spend-limits).
CREDIT = _sign(
    "insufficient_quota billing_hard_limit_reached billing_not_active billing_error billing_disabled payment_required "
    "insufficient_balance insufficient_credits insufficient_funds insufficient_user_quota credits_exhausted "
    "out_of_credits exceeded_current_quota_error credit_limit blocked_api_access organization_spend_limit_exceeded "
    "project_spend_limit_exceeded",
    r"credit balance is too low",
    r"insufficient[ _](?:account )?(?:balance|credits?|funds|quota)",
    r"not enough (?:credits?|balance|funds)|(?:n't|not) have (?:any |enough |sufficient )?(?:credits?|balance|funds)",
    r"credits? (?:is |are |have been |has been )?(?:depleted|exhausted|used up)",
    r"(?:used|exhausted|spent|consumed) all (?:of )?(?:your |its |the )?(?:available |monthly |included |free )*credit",
    r"(?:out of|no|more) (?:available |remaining )?credits\b",
    r"balance is (?:too low|insufficient|not enough|negative|exhausted)",
    r"purchase (?:more |additional )?credits|credit limit exceeded",
    r"spend(?:ing)? (?:limit|cap)|billing (?:hard )?limit|hard limit has been reached|key limit exceeded",
    r"exceeded your (?:monthly )?budget|specified api usage limits|payment required|check your billing|in arrears",
    r"billing (?:is |has )?(?:not|to be) (?:been )?enabled|requires billing|free tier is not available",
)
OUR_QUOTA = _words(r"exceeded your current quota")  # OpenAI's billing, and how Google begins every 429
MONTH_SPENT = _words(r"\bmonthly\b|this month's|per month")
CREDITS = _words(r"\bcredits?\b")

# A valid key whose project or restrictions keep it from this API altogether (google.api.ErrorReason; a denied project,
# which carries no reason, was reported at poenl/gemini-api).
KEY_BOUND = _sign(
    "service_disabled api_key_service_blocked api_key_http_referrer_blocked api_key_ip_address_blocked "
    "api_key_android_app_blocked api_key_ios_app_blocked ip_not_authorized accessnotconfigured "
    "user_project_denied resource_project_invalid security_policy_violated location_policy_violated",
    r"has not been used in project .* or it is disabled",
    r"(?:account|organi[sz]ation|project|team|user) (?:has been|is|was) denied access",
    r"requests (?:from|to) (?:this|referer) .{0,300}?(?:is|are) blocked",
    r"ip address restriction|\bip (?:address )?(?:is )?not (?:authorized|allowed)",
)
# The key itself is dead or unknown; a key may be an OAuth token (xAI's was reported at FerroxLabs/wayland).
KEY = _sign(
    "api_key_invalid invalid_api_key incorrect_api_key api_key_expired api_key_not_found api_key_disabled "
    "organization_restricted account_deactivated account_suspended account_disabled deactivated_workspace "
    "authentication_error invalid_authentication invalid_authentication_error consumer_suspended consumer_invalid "
    "credentials_missing access_token_type_unsupported access_token_expired token_expired unauthenticated",
    r"(?:invalid|incorrect|expired|revoked|unknown|malformed|missing|wrong) (?:x-)?api[ _-]?key",
    r"api[ _-]?key(?:\b[^.\n]{0,60})? (?:not valid|invalid|not found)\b",
    r"api[ _-]?key(?:\b[^.\n]{0,60})? (?:expired|leaked|revoked|disabled|blocked|deactivated|suspended|deleted)\b",
    r"(?:access|oauth2?|bearer) token [^.\n]{0,40}(?:expired|revoked|not valid|invalid|not be validated)\b",
    r"reported as leaked|consumer .{0,120}has been suspended|unregistered callers",
    r"(?:account|organi[sz]ation|project|team|user) [^.\n]{0,80}(?:deactivated|suspended|terminated|banned)",
    r"(?:account|organi[sz]ation|project|team|user) [^.\n]{0,40}(?:is|been|was) (?:disabled|restricted|blocked)",
    r"missing (?:or invalid )?auth(?:orization|entication)|invalid (?:authentication|credentials|bearer)",
    r"^authori[sz]ation failed|\bauthentication failed",
)
SCOPES = _words(r"insufficient permissions|missing scopes|does not have (?:the )?(?:permission|access)")

# A file or a stored answer of another account, or what it encrypted (the other words: anomalyco/opencode#48773).
_THING = (
    r"(?:file|(?:previous )?response|cached ?content|container|batch|vector store|conversation|thread|assistant"
    r"|item|upload|fine-tuning job|run|skill)s?"
)
ELSEWHERE = _sign(
    "previous_response_not_found file_not_found container_not_found conversation_not_found vector_store_not_found "
    "batch_not_found response_not_found thread_not_found invalid_encrypted_content",
    r"permission to access the file|requested entity was not found",
    r"encrypted[ _]content\b.{0,200}(?:could not be verified|not issued to this caller)",
    rf"\b(?:no such|unknown) {_THING}\b",
    rf"\b{_THING}(?:/\S+)?(?: object)?(?: with)?(?: id)?:?(?: ['\"`]?[\w./:-]+['\"`]?)? "
    r"(?:was |were |is |could )?(?:not (?:be )?found|does not exist|may not exist)",
)
# A quota of a gateway, which refuses what exceeds it with 403 (Azure API Management, policy `quota`).
VOLUME = _words(r"out of (?:call volume|bandwidth) quota|quota will be replenished")
# More than the model can read at once, with what it is to write (reported of llama.cpp, LM Studio, Mistral, xAI,
# Moonshot, Groq, GitHub Models, DashScope, vLLM and TGI in the tests and error tables of agents that compact on it).
CONTEXT = _sign(
    "context_length_exceeded context_length_error exceed_context_size_error model_context_window_exceeded "
    "model_max_prompt_tokens_exceeded tokens_limit_reached",
    r"\bcontext (?:length|window|limit|size)\b|maximum prompt length|exceeded model token limit",
    r"longer than the maximum model length",
    r"\b(?:prompt|input|messages) (?:is |are )?too long\b|exceeds the maximum number of tokens",
    r"\btoo many tokens\b|input tokens exceed|prompt token count of \d+ exceeds|range of input length should be",
    r"reduce the length of the (?:messages|prompt|input)|`inputs` (?:tokens|must have less than \d+ tokens)",
)
# What no wait makes fit.
TOO_LARGE = _words(r"request (?:is |was )?too large|request exceeds the maximum size")
ASKED = re.compile(r"limit:? ([\d,]+)\b.{0,60}?requested:? ([\d,]+)")
# What the account's plan does not cover.
PLAN = _words(r"extra usage is required|required for long context|long context beta is not yet available")
# What the provider will not hear, or say (words reported of Anthropic at anthropics/claude-code#58367, of DeepSeek at
# 666ghj/BettaFish#108, of DashScope, with the code or without, at camel-ai/owl#432 and QwenLM/qwen-code#3145).
FLAGGED = _sign(
    "content_filter content_policy_violation responsibleaipolicyviolation moderation_blocked content_policy "
    "sensitive_content data_inspection_failed",
    r"your (?:input|prompt) was flagged|violates .{0,30}usage guidelines",
    r"blocked by content filtering policy|content exists risk|data may contain inappropriate content",
)

# Everybody waits.
CAPACITY = _sign(
    "engine_overloaded_error engine_overloaded overloaded_error overloaded model_overloaded capacity_exceeded "
    "service_tier_capacity_exceeded server_overloaded no_capacity slow_down queue_exceeded",
    r"capacity exceeded|\boverloaded\b|(?:over|at|no|insufficient) capacity|high (?:demand|traffic)",
    r"(?:server|service|model|system) is (?:currently )?(?:too )?busy",
    r"rate-limited upstream|temporarily limiting requests",
)

# A model that this account may not use, or not yet: Groq's terms to accept first, OpenAI's verification to stream
# (both reported: the latter at just-every/code and lobehub/lobehub).
MODEL = _sign(
    "deploymentnotfound model_permission_blocked_project model_permission_blocked_org model_terms_required",
    r"api deployment for this resource does not exist|requires terms acceptance",
    r"(?:account|organi[sz]ation|project|team|user) must be verified",
)
# Or may not see, so that it looks not found; Google keeps a model for those who used it (Pickle-Pixel/ApplyPilot).
NO_ACCESS = _sign(
    "model_not_found",
    r"(?:do|does|may|might) not have access|not have (?:permission|access)|no access to|unable to access model",
    r"not found for account|no longer available to new users",
    r"(?:that|whether|if) (?:you have|your [a-z]+ has) access",
)
