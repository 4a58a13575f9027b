"""A target's parameters as edits of a body: which of them concern a call, and what each is called there.

| known | chat, completions | responses | messages | generateContent |
| --- | --- | --- | --- | --- |
| max_tokens | max_tokens, max_completion_tokens | max_output_tokens | max_tokens | generationConfig.maxOutputTokens |
| temperature | temperature | temperature | temperature | generationConfig.temperature |
| top_p | top_p | top_p | top_p | generationConfig.topP |
| top_k | top_k | | top_k | generationConfig.topK |

A known one goes by any of these names, and concerns only calls that have it: so a route may say `max_tokens` once for
callers of three dialects, and embeddings that it serves too are left alone. Where `fallbacks` of messages say it anew,
it concerns them too. (Field names: the API references of OpenAI,
Anthropic and Google; Google's JSON is read in snake case as well.) Any other name is a field of every JSON body, a
dot leading into an object, but one in `generationConfig` of Google's bodies alone. Bodies of another form stay as
they are, and so do counts of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from sidecar.model.configured import Parameters
from sidecar.providers.edits import ANY, Added, Change, Edits, Path

_CHAT = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
}
_RESPONSES = {"max_tokens": ("max_output_tokens",), "temperature": ("temperature",), "top_p": ("top_p",)}
_MESSAGES = _CHAT | {"max_tokens": ("max_tokens",)}
_GENERATE = {
    "max_tokens": ("maxOutputTokens", "max_output_tokens"),
    "temperature": ("temperature",),
    "top_p": ("topP", "top_p"),
    "top_k": ("topK", "top_k"),
}
_FALLBACKS = ("fallbacks", ANY)  # Anthropic's: other models, each with a `max_tokens` of its own (BetaFallbackParam)
_CONFIG = ("generationConfig", "generation_config")
_SHAPES: tuple[tuple[re.Pattern[str], Mapping[str, tuple[str, ...]]], ...] = (
    (re.compile(r"(?:chat/)?completions/?"), _CHAT),
    (re.compile(r"responses/?"), _RESPONSES),
    (re.compile(r"messages/?"), _MESSAGES),
    (re.compile(r".*(?::|%3[Aa])(?:streamG|g)enerateContent"), _GENERATE),
)
_KNOWN = {name: known for _, shape in _SHAPES for known, names in shape.items() for name in names}
_COUNTS = re.compile(r"(?:^|/)(?:count_tokens|input_tokens)/?$|(?::|%3[Aa])(?:count|compute)\w*Tokens$")
_NUMBER = re.compile(rb'"?(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"?')


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a parameter stands in a body: at any of these paths; where it is not, it is put at the first."""

    paths: tuple[Path, ...]
    unless: frozenset[str]  # the keys that stand for it, too


def edits(parameters: Parameters, dialect: str, operation: str) -> Edits:
    """What the parameters change of a call's JSON body."""
    changes: dict[Path, Change] = {}
    added: dict[Path, Added] = {}

    def change(name: str, made: Change, value: bytes | None = None) -> None:
        """What is said becomes `made`; what is not, `value`."""
        for place in _places(name, dialect, operation):
            changes.update(dict.fromkeys(place.paths, made))
            if value is not None:
                added[place.paths[0]] = Added(value, place.unless)

    if _COUNTS.search(operation):
        return Edits()
    caps = {known(name) or name: most for name, most in parameters.most}
    for name, most in parameters.most:
        change(name, _bounded(most, known(name), keeps_null=True))
    for name, value in parameters.default:
        change(name, _bounded(caps.get(known(name) or name), known(name), keeps_null=False), value)
    for name, value in parameters.fixed:
        change(name, _always(value), value)
    for name in parameters.removed:
        change(name, lambda _: None)
    return Edits(changes, added)


def amount(parameters: Parameters, name: str, said: int) -> int:
    """What a whole number comes to that the caller said to be so much; 0: nothing is said.

    `name`: `max_tokens`, whichever of its names is used, or how a dialect calls a field (`n`, `candidateCount`).
    """
    for given, value in parameters.fixed:
        if _means(given, name):
            return _whole(value)
    if any(_means(given, name) for given in parameters.removed):
        return 0
    defaults = [_whole(value) for given, value in parameters.default if _means(given, name)]
    caps = [int(most) for given, most in parameters.most if _means(given, name)]
    return min([said or max(defaults, default=0), *caps]) if said or defaults else 0


def known(name: str) -> str:
    """What a parameter is called here, whichever of its names a target uses; "": it is known by its own alone."""
    return _KNOWN.get(name.removeprefix(f"{_CONFIG[0]}."), "")


def _means(given: str, name: str) -> bool:
    before, _, last = given.rpartition(".")
    return known(given) == name or (last == name and before in {"", *_CONFIG})


def _places(name: str, dialect: str, operation: str) -> Iterator[_Place]:
    """None where the parameter does not concern the call."""
    here, path = known(name), tuple(name.split("."))
    if not here:
        if path[0] not in _CONFIG or dialect == "gemini":
            yield _Place((path,), frozenset())
        return
    for pattern, shape in _SHAPES:
        if pattern.fullmatch(operation) and here in shape:
            place = _nested(shape[here]) if shape is _GENERATE else _flat(path[-1], shape[here])
            also = tuple((*_FALLBACKS, name) for name in shape[here]) if shape is _MESSAGES else ()
            yield _Place((*place.paths, *also), place.unless)
            return


def _nested(names: tuple[str, ...]) -> _Place:
    """Google's. Two objects of one meaning would be refused: beside the one in snake case no other is made."""
    return _Place(tuple((config, name) for config in _CONFIG for name in names), frozenset({*names, _CONFIG[1]}))


def _flat(name: str, names: tuple[str, ...]) -> _Place:
    """First as the target calls it, where the call knows that name: of OpenAI's two, each is refused by some model."""
    ordered = sorted(names, key=lambda other: other != name)
    return _Place(tuple((other,) for other in ordered), frozenset(names))


def _always(value: bytes) -> Change:
    return lambda old: None if old == b"null" else value


def _bounded(most: float | None, known_as: str, *, keeps_null: bool) -> Change:
    """What is said, at most so much. A number in quotes is one: Google reads it so. Of tokens one below zero is more
    than any: llama.cpp and Ollama take it for no bound."""
    least = 0.0 if known_as == "max_tokens" else float("-inf")

    def bounded(old: bytes) -> bytes | None:
        if old == b"null":
            return old if keeps_null else None
        found = _NUMBER.fullmatch(old)
        return old if most is None or not found or least <= float(found[1]) <= most else msgspec.json.encode(most)

    return bounded


def _whole(text: bytes) -> int:
    return int(text) if text.isdigit() else 0
