"""Whether a call does more than answer: acts at somebody's server, or adds to what its provider keeps.

Fields of OpenAI's responses and completions and of Anthropic's messages (their API references); Google's tools leave
nothing behind.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sidecar.providers.dialect import Body

# Tools with which the provider does something that lasts or costs like an image: elsewhere, or in a container.
_ACTING = ("mcp", "code_interpreter", "code_execution", "shell", "image_generation")


class _Says(msgspec.Struct):
    store: Any = None
    background: Any = None
    conversation: Any = None
    previous_response_id: Any = None
    container: Any = None
    mcp_servers: Any = None
    tools: Any = None


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
    return msgspec.json.decode(body, type=_Says)


def _acts(said: _Says) -> bool:
    tools = said.tools if isinstance(said.tools, list) else ()
    deeds = (said.background, said.conversation, said.container, said.mcp_servers)
    return any(deeds) or any(isinstance(tool, dict) and str(tool.get("type")).startswith(_ACTING) for tool in tools)
