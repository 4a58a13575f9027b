"""What a call does besides answering, by its body alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.providers import deeds


def said(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi"} | fields).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"background": True},
        {"deferred": True},
        {"conversation": "conv_1"},
        {"thread": {"type": "create"}},
        {"container": {"id": "container_1"}},
        {"mcp_servers": [{"type": "url", "url": "https://mail.example"}]},
        {"tools": [{"type": "function"}, {"type": "mcp", "server_label": "mail"}]},
        {"tools": [{"type": "image_generation"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        {"tools": [{"mcpServers": [{"name": "mail"}]}]},
        {"tools": [{"functionDeclarations": []}, {"mcp_servers": [{"name": "mail"}]}]},
        {"prompt": {"id": "pmpt_1"}},
        {"modalities": ["text", "audio"]},
        {"modalities": ["image", "text"]},
        {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}},
        {"generation_config": {"response_modalities": ["AUDIO"]}},
    ],
)
def test_what_lasts_or_costs_twice_acts(fields: dict[str, Any]) -> None:
    assert deeds.acts(said(**fields))
    assert not deeds.answers_alone(said(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [{"type": "function"}, 1, None]},
        {"tools": "none"},
        {"tools": [{"codeExecution": {}}, {"googleSearch": {}}]},
        {"background": False, "container": None},
        {"prompt": "Once upon a time"},
        {"modalities": ["text", 1]},
        {"generationConfig": {"responseModalities": ["TEXT"], "temperature": 1}},
        {"generationConfig": None, "modalities": "image"},
    ],
)
def test_what_only_answers_does_not(fields: dict[str, Any]) -> None:
    assert not deeds.acts(said(**fields))
    assert deeds.answers_alone(said(**fields))


@pytest.mark.parametrize("fields", [{"store": True}, {"previous_response_id": "resp_1"}])
def test_what_is_kept_or_goes_on_may_be_done_again_but_is_no_other_requests_answer(fields: dict[str, Any]) -> None:
    assert not deeds.acts(said(**fields))
    assert not deeds.answers_alone(said(**fields))
