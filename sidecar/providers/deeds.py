"""Whether a call does more than answer: acts elsewhere, makes what costs, or adds to what its provider keeps.

Fields of OpenAI's responses and completions, of Anthropic's messages and of Gemini's generate (their API references;
google-genai 3.4, `types.Tool.mcp_servers`, which it writes `mcpServers`; xAI's `deferred`, whose answer is given once;
Anthropic's `thread` of the beta message-threads-2026-08-12). Google's own tools leave nothing behind.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.providers.dialect import Body
from sidecar.providers.jsonhead import without_bom

# Tools with which the provider does something that lasts or costs like an image: elsewhere, or in a container.
_ACTING = ("mcp", "code_interpreter", "code_execution", "shell", "image_generation")
_ACTING_FIELDS = frozenset({"mcpServers", "mcp_servers"})  # of a tool without a type
_COSTLY = frozenset({"image", "audio", "video"})  # what is asked for beside text


class _Says(msgspec.Struct):
    store: Any = None
    background: Any = None
    deferred: Any = None
    conversation: Any = None
    thread: Any = None
    previous_response_id: Any = None
    container: Any = None
    mcp_servers: Any = None
    tools: Any = None
    prompt: Any = None
    modalities: Any = None
    generationConfig: Any = None  # noqa: N815 - the wire's name
    generation_config: Any = None


def acts(body: Body) -> bool:
    """Whether executing it twice may do harm: it acts, is a job of its own, or goes on in a conversation that is kept.

    Raises msgspec.DecodeError for what is no JSON object.
    """
    return _acts(_read(body))


def answers_alone(body: Body) -> bool:
    """Whether its answer is all that comes of it, and comes of nothing but it. Raises msgspec.DecodeError as `acts`."""
    said = _read(body)
    return not (_acts(said) or said.store is True or said.previous_response_id)


def _read(body: Body) -> _Says:
    return msgspec.json.decode(without_bom(body), type=_Says)


def _acts(said: _Says) -> bool:
    """What a prompt that is kept at the provider (`prompt.id`) does, nobody here knows."""
    kept = said.conversation or said.thread or said.container or isinstance(said.prompt, dict)
    return (
        bool(kept or said.background or said.deferred or said.mcp_servers)
        or any(map(_is_deed, _list(said.tools)))
        or any(map(_costs, _asked_for(said)))
    )


def _is_deed(tool: object) -> bool:
    return isinstance(tool, dict) and (str(tool.get("type")).startswith(_ACTING) or not _ACTING_FIELDS.isdisjoint(tool))


def _asked_for(said: _Says) -> list[Any]:
    """The kinds of output, as OpenAI's completions and Gemini name them."""
    found = _list(said.modalities)
    for config in (said.generationConfig, said.generation_config):
        if isinstance(config, dict):
            found = found + _list(config.get("responseModalities")) + _list(config.get("response_modalities"))
    return found


def _costs(kind: object) -> bool:
    return isinstance(kind, str) and kind.lower() in _COSTLY


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
