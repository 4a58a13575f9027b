"""Finds the tokens that an answer cost, in every shape in which providers tell them, and keeps the latest of a stream.

| where | names | source |
| --- | --- | --- |
| `usage` | prompt_tokens, completion_tokens | OpenAI: chat, embeddings |
| `usage`, also in `message` and `response` | input_tokens, output_tokens | OpenAI: responses, audio; Anthropic |
| beside them | cache_read_input_tokens, cache_creation_input_tokens | Anthropic: *not* part of its input_tokens |
| `usageMetadata` | promptTokenCount (with what was cached), candidatesTokenCount (without thoughts) | Gemini |
| beside them | toolUsePromptTokenCount, thoughtsTokenCount: not part of them, but of the total | Gemini |
| `x_groq.usage`, `delta.usage.tokens`, `meta.tokens` | as OpenAI's | recorded Groq and Cohere streams |
| `meta.billed_units`, without `tokens` | input_tokens, or `search_units`, which are none | Cohere: embed, rerank |
| top level | prompt_eval_count, eval_count | Ollama |

Cached input is part of the input everywhere ("this is still the total effective prompt size", Google of its
promptTokenCount) but at Anthropic, where the whole is "the summation of `input_tokens`, `cache_creation_input_tokens`,
and `cache_read_input_tokens`" (its SDK, types/message.py): there it is added. Gateways that translate Anthropic's
answers into OpenAI's give its names beside `prompt_tokens`, which has them already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.model.words import Usage

_HOLDERS = frozenset({"message", "response", "delta", "x_groq", "interaction"})
_INPUT = ("prompt_tokens", "input_tokens", "promptTokenCount", "prompt_eval_count", "total_input_tokens")
_WITH_CACHED = "prompt_tokens"
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens", "toolUsePromptTokenCount")
_OUTPUT = ("completion_tokens", "output_tokens", "candidatesTokenCount", "eval_count", "total_output_tokens")
_TOTAL = ("total_tokens", "totalTokenCount")
_CACHED = ("cached_tokens", "cache_read_input_tokens", "cachedContentTokenCount", "prompt_cache_hit_tokens")
_REASONING = ("reasoning_tokens", "thoughtsTokenCount")
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")


@dataclass(slots=True)
class Tally:
    """What was told so far. Counts are cumulative everywhere: the last word on each number holds, none is summed."""

    input: int | None = None
    beside: dict[str, int] = field(default_factory=dict)  # input that its provider counts apart, by what it calls it
    output: int | None = None
    total: int | None = None
    cached: int | None = None
    reasoning: int | None = None

    def see(self, value: Mapping[str, Any]) -> None:
        """Takes what this JSON object says, if it says anything."""
        told = _told(value)
        if told is None:
            return
        self.input = _first(told, _INPUT, self.input)
        if _WITH_CACHED not in told:
            self.beside |= {name: count for name in _BESIDE if (count := _count(told.get(name))) is not None}
        self.output = _first(told, _OUTPUT, self.output)
        self.total = _first(told, _TOTAL, self.total)
        self.cached = _nested(told, _CACHED, _INPUT_DETAILS, self.cached)
        self.reasoning = _nested(told, _REASONING, _OUTPUT_DETAILS, self.reasoning)

    @property
    def usage(self) -> Usage | None:
        """None where nothing was told. The total is the provider's own where it names one, else of both parts."""
        if (self.input, self.output, self.total) == (None, None, None):
            return None
        read = None if self.input is None else self.input + sum(self.beside.values())
        total = self.total
        if total is None and read is not None and self.output is not None:
            total = read + self.output
        return Usage(read, self.output, total, self.cached, self.reasoning)


def _told(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object that holds the counts."""
    for name in ("usage", "usageMetadata", "meta"):
        held = value.get(name)
        if isinstance(held, dict):
            tokens = held.get("tokens") or held.get("billed_units")
            return held | tokens if isinstance(tokens, dict) else held
    for name in _HOLDERS & value.keys():
        inner = value[name]
        if isinstance(inner, dict) and isinstance(inner.get("usage"), dict):
            return _told(inner)
    return value if "eval_count" in value or "prompt_eval_count" in value else None


def _first(told: Mapping[str, Any], names: tuple[str, ...], before: int | None) -> int | None:
    for name in names:
        value = told.get(name)
        if value is not None and (count := _count(value)) is not None:
            return count
    return before


def _nested(
    told: Mapping[str, Any], names: tuple[str, ...], details: tuple[str, ...], before: int | None
) -> int | None:
    for name in details:
        inner = told.get(name)
        if isinstance(inner, dict):
            before = _first(inner, names, before)
    return _first(told, names, before)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return int(value)
