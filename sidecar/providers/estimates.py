"""What a call may cost in tokens, said before it is sent, from its operation and the bytes of its body.

| part | estimate | rests on |
| --- | --- | --- |
| text | bytes of the body / 4, rounded up | OpenAI's and Google's rule: a token is about four characters |
| image, sound, document | PIECE, not its base64; also for an address | Google 258 a tile, OpenAI 85 to 1,445 |
| form, raw file | PIECE | its bytes say nothing |
| output | the most that is allowed, times the answers wanted; else OUTPUT | OpenAI reserves max_tokens too |
| a route's targets | the most that comes of their parameters at any of them | |
| embeddings, moderations, rankings | no output | |
| GET, counts of tokens, files, batches | LEAST_TOKENS, the least of any call | they cost none, or elsewhere |

The JSON around a text counts too, which makes up for code and for scripts of more tokens a byte. An estimate that is
too high keeps others waiting until the answer tells its usage, one that is too low overruns a budget: it leans to the
high side. OUTPUT is what few chat answers exceed, and little enough that a minute's budget holds many.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

from sidecar.model.configured import Parameters
from sidecar.model.words import LEAST_TOKENS, Estimate
from sidecar.providers import jsonhead, parameters
from sidecar.providers.dialect import Body

BYTES_A_TOKEN = 4
PIECE = 1000
OUTPUT = 1024
MOST = 1_000_000_000  # a call that allows more means "no limit", and numbers in the store stay exact

_FREE = re.compile(
    r"(?:^|/)(?:files|uploads|batches|fine_tuning|vector_stores|containers|evals|fileSearchStores)(?:/|$)"
    r"|(?:^|/)(?:count_tokens|input_tokens|tokenize|detokenize|cancel)/?$"
    r"|(?::|%3a)(?:count\w*tokens|computeTokens|batchGenerateContent|asyncBatch\w+|cancel|uploadTo\w+)$",
    re.IGNORECASE,
)
_NO_OUTPUT = re.compile(
    r"(?:^|/)(?:embeddings?|embed|moderations|rerank|classify|cachedContents)/?$|(?::|%3a)(?:batch)?embed\w+$",
    re.IGNORECASE,
)
_TEXT_TYPE = re.compile(r"\s*(?:text/|application/(?:json|[\w.-]+\+json))", re.IGNORECASE)

# One match for each image, sound or document: a data URL, Google's and Anthropic's inline data, an address, a file.
_MARK = re.compile(
    rb'"(?:data:[\w.+-]+/|inline_?data"\s*:\s*\{|input_audio"\s*:\s*\{|media_type"\s*:\s*"(?!text/)'
    rb'|(?:image_url|file_url|url)"\s*:\s*"https?:|file_?uri"\s*:|file_id"\s*:)',
    re.IGNORECASE,
)
_BLOCK = 256  # a run of base64 twice as long is found for sure
_BREAK = re.compile(rb"[^A-Za-z0-9+/=_\\-]")  # a backslash: some writers escape slashes and line ends
_KINDS = (re.compile(rb"[A-Z]"), re.compile(rb"[a-z]"), re.compile(rb"[0-9]"))
_LIMITS = frozenset({
    "max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample",
    "maxOutputTokens", "num_predict",
})  # fmt: skip
_ANSWERS = frozenset({"n", "best_of", "candidateCount", "candidate_count"})
_NUMBER = re.compile(rb"[0-9]{1,18}")


class _Asked(msgspec.Struct):
    """The fields of a body that say how much may be answered. Each is judged apart: junk in one spoils none."""

    max_tokens: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: msgspec.Raw = msgspec.Raw()
    max_output_tokens: msgspec.Raw = msgspec.Raw()
    max_tokens_to_sample: msgspec.Raw = msgspec.Raw()
    n: msgspec.Raw = msgspec.Raw()
    best_of: msgspec.Raw = msgspec.Raw()
    generationConfig: msgspec.Raw = msgspec.Raw()  # noqa: N815 - as Google calls it
    generation_config: msgspec.Raw = msgspec.Raw()
    options: msgspec.Raw = msgspec.Raw()


class _Config(msgspec.Struct):
    """What Google and Ollama nest."""

    maxOutputTokens: msgspec.Raw = msgspec.Raw()  # noqa: N815
    max_output_tokens: msgspec.Raw = msgspec.Raw()
    candidateCount: msgspec.Raw = msgspec.Raw()  # noqa: N815
    candidate_count: msgspec.Raw = msgspec.Raw()
    num_predict: msgspec.Raw = msgspec.Raw()


_asked = msgspec.json.Decoder(_Asked)
_config = msgspec.json.Decoder(_Config)


def estimate(
    method: str, operation: str, content_type: str, body: Body, changes: Collection[Parameters] = (Parameters(),)
) -> Estimate:
    """By the rule above, in any dialect: their fields do not clash. Total: what cannot be read counts as its bytes.

    `changes`: what each target that may serve the call makes of its parameters.
    """
    if method != "POST" or _FREE.search(operation):
        return Estimate(LEAST_TOKENS, 0)
    read = _input(content_type, body)
    written = 0 if _NO_OUTPUT.search(operation) else _output(body, changes)
    return Estimate(max(read, LEAST_TOKENS - written), written)


def _input(content_type: str, body: Body) -> int:
    if not (jsonhead.looks_like_json(body) or _TEXT_TYPE.match(content_type)):
        return PIECE if len(body) else 0
    runs = list(_runs(body))
    marks = sum(1 for _ in _MARK.finditer(body))
    text = len(body) - sum(runs)
    return -(-text // BYTES_A_TOKEN) + PIECE * max(marks, len(runs))


def _runs(body: Body) -> Iterator[int]:
    """The length of each long run of base64. One look a block: text breaks a run within a few bytes."""
    at = 0
    while at + _BLOCK <= len(body):
        if _BREAK.search(body, at, at + _BLOCK) or not _is_data(bytes(body[at : at + _BLOCK])):
            at += _BLOCK
            continue
        found = _BREAK.search(body, at)
        end = found.start() if found else len(body)
        before = bytes(body[max(0, at - _BLOCK) : at])
        yield end - at + len(before) - max((broken.end() for broken in _BREAK.finditer(before)), default=0)
        at = end


def _is_data(block: bytes) -> bool:
    """Whether it looks like base64: not one letter repeated, a word without end, or `\\u4f60` after `\\u597d`."""
    return all(kind.search(block) for kind in _KINDS) and block.count(b"\\u") * 16 < len(block)


def _output(body: Body, changes: Collection[Parameters]) -> int:
    """The largest of the limits that the call names, times the answers it wants."""
    try:
        asked = jsonhead.lenient(_asked.decode, jsonhead.without_bom(body))
        inner = (asked.generationConfig, asked.generation_config, asked.options)
        nested = [_config.decode(raw) for raw in inner if bytes(raw)[:1] == b"{"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return OUTPUT
    told: list[_Asked | _Config] = [asked, *nested]
    longest = _largest(told, _LIMITS)
    answers = {name: _largest(told, frozenset({name})) for name in _ANSWERS}
    return min(max(_allowed(one, longest, answers) for one in changes), MOST)


def _allowed(change: Parameters, longest: int, answers: Mapping[str, int]) -> int:
    """What a target lets the call have that says so much."""
    wanted = max(parameters.amount(change, name, said) for name, said in answers.items())
    return (parameters.amount(change, "max_tokens", longest) or OUTPUT) * (wanted or 1)


def _largest(told: list[_Asked | _Config], names: frozenset[str]) -> int:
    """Of all that is said under these names."""
    found = (_count(getattr(one, name)) for one in told for name in names.intersection(one.__struct_fields__))
    return max(found, default=0)


def _count(raw: msgspec.Raw) -> int:
    """0 for what is no whole number, is not there, or means "no limit"."""
    found = _NUMBER.fullmatch(bytes(raw))
    return min(int(found[0]), MOST) if found else 0
