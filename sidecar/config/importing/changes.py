"""What LiteLLM's deployments say of the calls that they serve: parameters, and headers beside the key.

Read after docs.litellm.ai: proxy/configs ("Model-specific params"), completion/input, and its router.py, which puts a
deployment's parameters below those of the request: they are what a call has that does not say them itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.config.importing.gathered import Data, Gathered, as_variable
from sidecar.config.problems import shown
from sidecar.config.targets import SECRETIVE, is_header_of_callers, is_parameter

# Of a request, by the names of OpenAI's API and of those who extend it; what is LiteLLM's own is none.
_PARAMETERS = frozenset({
    "temperature", "top_p", "top_k", "n", "stop", "max_tokens", "max_completion_tokens", "presence_penalty",
    "frequency_penalty", "logit_bias", "user", "response_format", "seed", "tools", "tool_choice", "logprobs",
    "top_logprobs", "parallel_tool_calls", "reasoning_effort", "verbosity", "modalities", "prediction", "thinking",
    "service_tier", "web_search_options", "dimensions", "encoding_format", "voice", "size", "quality", "style",
})  # fmt: skip
READ = frozenset({*_PARAMETERS, "extra_body", "extra_headers", "headers", "organization"})


def changes(params: Mapping[str, Any], place: str, gathered: Gathered) -> Data:
    """The fields of a target that do the same; what cannot be said there is told."""
    made = {
        "default": {name: _text(value, gathered) for name, value in params.items() if _is_said(name, value)},
        "set": dict(_body(params, place, gathered)),
        "headers": dict(_headers(params, place, gathered)),
    }
    for name in made["set"]:
        made["default"].pop(name, None)
    return {field: said for field, said in made.items() if said}


def _is_said(name: str, value: Any) -> bool:
    return name in _PARAMETERS and value is not None and not (name.startswith("max_") and not _is_count(value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _text(value: Any, gathered: Gathered) -> Any:
    return gathered.text(value) if isinstance(value, str) else value


def _body(params: Mapping[str, Any], place: str, gathered: Gathered) -> Iterator[tuple[str, Any]]:
    """OpenAI's client writes `extra_body` over all else that it sends."""
    said = params.get("extra_body")
    for name, value in said.items() if isinstance(said, dict) else ():
        if is_parameter(str(name)):
            yield str(name), _text(value, gathered)
        else:
            gathered.note(f"{place}: {shown(str(name))} of extra_body is not set by a target, so it is left out.")


def _headers(params: Mapping[str, Any], place: str, gathered: Gathered) -> Iterator[tuple[str, str]]:
    organization = params.get("organization")
    if isinstance(organization, str):
        yield "OpenAI-Organization", gathered.text(organization)
    elif organization:
        gathered.note(f"{place}: of several an organization is a target's. Write a route's target for each.")
    for field in ("headers", "extra_headers"):
        said = params.get(field)
        for name, value in said.items() if isinstance(said, dict) else ():
            text = _header(str(name), str(value), place, gathered)
            if text is not None:
                yield str(name), text


def _header(name: str, value: str, place: str, gathered: Gathered) -> str | None:
    """Its value; of one that may be a secret the variable that holds it, behind the scheme."""
    if not is_header_of_callers(name) or re.search(r"[^\t\x20-\x7e]", value):
        gathered.note(f"{place}: the header {shown(name)} is not a target's to set, so it is left out.")
        return None
    if not SECRETIVE.search(name.lower()):
        return gathered.text(value)
    scheme, space, word = value.rpartition(" ")
    secret = gathered.secret(word, as_variable(name), f"{place}, header {shown(name)}")
    return None if secret is None else f"{scheme}{space}{secret}"
