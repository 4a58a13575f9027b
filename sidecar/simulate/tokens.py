"""What a call says and costs at the strict provider: a tokenizer of its own, which no estimate shares.

A token is a sign, or up to eight letters or digits of a word; an image or a sound is IMAGE_TOKENS, and a call costs at
least INPUT_TOKENS, its template. An answer is one token a word, up to the limit that the call sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.simulate.asks import form
from sidecar.simulate.calls import GEMINI, Call, Data

INPUT_TOKENS = 12
IMAGE_TOKENS = 258
CREATED = 1_750_000_000  # when all that is answered was made, in seconds since 1970
WORDS = ("Hello", " from", " the", " simulated", " provider", ".")

_TOKEN = re.compile(r"\w{1,8}|[^\w\s]")
_PROMPT = frozenset({
    "messages", "prompt", "input", "instructions", "system", "tools", "contents", "systemInstruction",
    "system_instruction", "requests", "content",
})  # fmt: skip
_WRITES = frozenset({
    "chat/completions", "completions", "responses", "messages", "generateContent", "streamGenerateContent",
})  # fmt: skip
_READS = frozenset({"embeddings", "embedContent", "batchEmbedContents"})
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens")


class Cost(NamedTuple):
    """Tokens. `cached` are part of the input, `reasoning` of the output."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Said:
    """What is answered to a call, and what it costs."""

    words: Sequence[str]
    function: str  # whose arguments the words are the JSON of; "": they are text
    cut: bool  # by the call's own limit
    prompt: int  # tokens, of a call that costs nothing too: for those who ask how many they are
    cost: Cost


def say(call: Call, words: Sequence[str] = WORDS, ordered: Mapping[str, int] | None = None) -> Said:
    """All words that the call has room for, or of the form that it asks for; `ordered` replaces parts of the cost.

    Embeddings cost their input, and what neither reads nor writes for a model costs nothing.
    """
    data = call.data or {}
    asked = form(call)
    kept = asked.pieces() if asked else words[: _limit(data)]
    found = GEMINI.fullmatch(call.operation) if call.dialect == "gemini" else None
    kind = found["verb"] if found else call.operation
    prompt = max(INPUT_TOKENS, sum(_weight(value) for name, value in data.items() if name in _PROMPT))
    cost = Cost(prompt if kind in _WRITES | _READS else 0, len(kept) if kind in _WRITES else 0)
    cut = not asked and len(kept) < len(words)
    return Said(kept, asked.function if asked else "", cut, prompt, cost._replace(**ordered or {}))


def _limit(data: Data) -> int | None:
    config = data.get("generationConfig") or data.get("generation_config")
    holders = (data, config if isinstance(config, dict) else {})
    found = [holder[name] for holder in holders for name in _LIMITS if isinstance(holder.get(name), int)]
    return max(0, *found) if found else None


def _weight(value: object) -> int:
    if isinstance(value, str):
        return IMAGE_TOKENS if value.startswith("data:") else len(_TOKEN.findall(value))
    if isinstance(value, dict):
        return sum(IMAGE_TOKENS if name == "data" else _weight(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_weight, value))
    return 1 if isinstance(value, int) else 0
