"""What only the account can use that made it, by the ids that calls name and answers show.

No list of operations says what makes what: whatever an account's answer shows under a name for ids (`id`, `file_id`,
`name`, `uri`, ...) is that account's, and a call needs the account of whatever it names, in its path, its query or as a
whole string of its body. An id in the middle of a text is none, nor is one in data of the app's (`mentions`). That a
file is uploaded says nothing of its content, but a batch goes where the things are that its lines name.

Ids are as the providers' references and SDKs show them: OpenAI, Azure, Groq, xAI, Together (`file-`, `batch_`, `resp_`,
...), Anthropic (`file_`, `msgbatch_`, `container_`, `skill_`) and Google (`files/abc`, `cachedContents/abc`, ...).
Where a call or an answer is about a resource, and not a prompt, whatever looks minted is one too: a word with a random
part behind it (`agent_011CZkYpogX7uDKUyvBTophP`), or a UUID, as Mistral has them. What an encrypted item says of itself
is its beginning: behind a version and a time stand random bytes. What a list gives for its next page is an id as well:
only the account that was listed knows where that begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

import msgspec

from sidecar.providers import mentions, multipart
from sidecar.providers.dialect import Body, Reader
from sidecar.providers.jsonhead import looks_like_json

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
MOST = 256  # ids of one call that are looked up
MOST_SEEN = 50_000  # strings like ids, or lines that have one, in one body: more are no conversation and no batch
MOST_SHOWN = 1024  # ids of one answer that are kept: of a long list the first

# How long the provider keeps a thing; where it keeps it until somebody deletes it, since its last use (RENEWED).
# ai.google.dev/gemini-api/docs: files (48 hours), caching (an hour unless said), interactions (55 days);
# developers.openai.com/api/docs/guides: conversation-state (30 days), tools-code-interpreter (20 minutes since its last
# use), audio ("expires_at", an hour), docs/api-reference/uploads (an hour). What an answer says of itself goes before.
_LIVES = (
    (re.compile(r"files/"), 2 * DAY_S, False),
    (re.compile(r"cachedContents/"), HOUR_S, False),
    (re.compile(r"v1_"), 55 * DAY_S, False),
    (re.compile(r"upload_id="), 2 * DAY_S, False),
    (re.compile(r"upload_"), HOUR_S, False),
    (re.compile(r"page="), DAY_S, False),
    (re.compile(r"credit="), 5 * MINUTE_S, False),
    (re.compile(r"resp_|chatcmpl-"), 30 * DAY_S, False),
    (re.compile(r"audio_"), HOUR_S, False),
    (re.compile(r"cntr_|cfile_"), 20 * MINUTE_S, True),
    (re.compile(r"~|(?:rs|msg|fc|ws|fs|ci|ig|cu|ctc|lsh|sh|ap|cmp|mcp[lr]?)_"), 7 * DAY_S, True),
    (re.compile(r""), 30 * DAY_S, True),
)
# What ends when it says so. A batch tells until when it may run, and is there for longer.
_ENDING = re.compile(r"files/|cachedContents/|upload_|file[-_]|container_|audio_")

_PREFIXES = (
    rb"file[-_]|batch_|resp_|conv_|asst_|thread_|run_|step_|vs_|vsfb_|cntr_|cfile_|container_|ftjob-|ft-|ftckpt_|upload_"
    rb"|eval_|evalrun_|video_|audio_|chatcmpl-|msgbatch_|skill_|ag_|v1_|rtc_|pmpt_|voice_|uprof_"
    rb"|rs_|msg_|fc_|ws_|fs_|ci_|ig_|cu_|ctc_|lsh_|sh_|ap_|cmp_|mcp[lr]?_"
)
# A digit or a capital tells an id from a name: tools are called `run_in_terminal`.
_PLAIN = rb"(?:" + _PREFIXES + rb")(?=[a-z_-]{0,160}+[0-9A-Z])[A-Za-z0-9_-]{8,160}+|ft:[^\"\\\s]{3,160}+"
_UUID = rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Of requests and of who made them, or of a step in the client's own conversation: no call is for these.
_NO_THING = rb"(?:\w{0,12}tool\w{0,12}|call|req|batch_req|user|org|proj|wrkspc)_"
_RANDOM = rb"(?=[A-Za-z]{0,160}+[0-9])(?=[0-9]{0,160}+[A-Za-z])[A-Za-z0-9]{12,160}"  # digits alone are a number
_MINTED = rb"(?!" + _NO_THING + rb")(?:[a-z]{2,20}_){1,2}" + _RANDOM
_COLLECTIONS = rb"files|cachedContents|batches|tunedModels|corpora|fileSearchStores|operations"
_RESOURCE = rb"(?:" + _COLLECTIONS + rb")\\?/[A-Za-z0-9_.-]{1,120}+(?=[\":/?\\])"  # some writers escape the slash
# Also below what it belongs to, as `models/veo/operations/abc`, and in a URL: the first one there. No segment is read
# twice, so that no body takes long.
_BELOW = rb"(?:(?:models|tunedModels|corpora|fileSearchStores)\\?/[^\"/\\\s]{1,100}+\\?/)?"
_BEFORE = rb"(?=[^\"\s]{1,640}+\")(?:https?:(?:(?!" + _RESOURCE + rb")[^\"\s/]{0,200}+/){1,16}+)?" + _BELOW
_NAMED = _BEFORE + rb"(?P<named>" + _RESOURCE + rb")[^\"\s]*+"
_PRINTED = rb"[!#-\[\]-~]"
_WRITTEN = rb"(?:" + _PRINTED + rb"|\\(?:u[0-9a-fA-F]{4}|[^u\s]))"  # some writers escape `/`, `+` and `=`
# Mistral's `FileChunk`: another UUID in a prompt is nobody's.
_FILE = rb"file_id\"\s*:\s*\"(?P<file>" + _UUID + rb")(?=\")"
_OPAQUE = _PRINTED + rb"{256}|" + _WRITTEN + rb"{256}|" + _WRITTEN + rb"{16,255}(?=\")"
_SEALED = rb"encrypted_content\"\s*:\s*\"(?P<sealed>" + _OPAQUE + rb")"
# Of Anthropic's refusals (`BetaRefusalStopDetails`, and how it is redeemed: `BetaFallbackCreditTokenParam`).
_CREDIT = rb"fallback_credit_token\"\s*:\s*(?:\{[^{}]{0,80}?\"token\"\s*:\s*)?\"(?P<credit>" + _OPAQUE + rb")"
_MAY_BE = rb"(?=[A-Za-z0-9]{2,17}+\\?[-_/:])"  # or it is none: most strings are put aside at this
# Google's, Anthropic's and OpenAI's lists (the pagers of their SDKs) and what their next call gives it as. A number, or
# a URL, tells nobody's page.
_PAGE = rb"(?:next(?:_page)?|next_?[pP]age_?[tT]oken)\"\s*:\s*\"(?P<page>(?!https?:)(?:[^\"\\\s]|\\.){16,900})\""
_PAGES = frozenset({"pageToken", "page_token", "page", "after"})
_LASTS = rb"(?:expires_at|expireTime|expirationTime)\"\s*:\s*(?:(?P<at>\d{10})\b|\"(?P<on>\d{4}-[^\"]{6,40})\")"


def _things(plain: bytes, *more: bytes, named: bytes = _SEALED + rb"|" + _CREDIT) -> re.Pattern[bytes]:
    """A string of JSON that is an id, and no name of a field; or, behind the name of its own, one of those `named`."""
    value = rb"(?:(?P<plain>" + plain + rb")|" + _NAMED + rb")\"(?!\s*+:)"
    return re.compile(rb"\"(?:" + b"|".join((*more, _MAY_BE + rb"(?:" + named + rb"|" + value + rb")")) + rb")")


_MADE = _PLAIN + rb"|" + _UUID + rb"|" + _MINTED
_IN_TEXT, _IN_RESOURCE = _things(_PLAIN, named=_FILE + rb"|" + _SEALED + rb"|" + _CREDIT), _things(_MADE)
_SHOWN, _SHOWN_MADE = _things(_PLAIN + rb"|" + _UUID, _LASTS), _things(_MADE, _LASTS, _PAGE)
_SHOWN_SEALED, _SHOWN_CREDIT = re.compile(rb"\"" + _SEALED), re.compile(rb"\"" + _CREDIT)
_REFUNDS = "fallback-credit"  # the beta whose answers tell one
# What stands before an id that is told as one: else it may be the client's own words.
_TOLD = re.compile(
    rb"\"(?:(?P<own>id|name)|(?:\w{1,40}_)?(?:id|ids|file|files|model)|name|fileName|\w{0,20}[uU]ri|responsesFile|tunedModel|container)\""
    rb"\s*:\s*\[?\s*$"
)
# Bytes of what a pattern finds, and of the name before it, so that both are found although an answer was cut in them.
_LONGEST, _LONGEST_NAME = 1024, 80

_SEGMENT, _SEGMENT_MADE = re.compile(_PLAIN + rb"|" + _UUID), re.compile(_MINTED)
_COLLECTION = re.compile(_COLLECTIONS)
_WHERE = re.compile(_COLLECTIONS + rb"|" + _PLAIN)

# Paths, also below another API's own. What answers with a text or with vectors makes nothing.
_MAKES_NOTHING = re.compile(
    r"(?:^|/)(?:completions|embeddings|moderations|rerank|models|count_tokens|input_tokens|images/\w+|audio/(?:speech|transcriptions|translations))/?$"
    r"|/content/?$|/results/?$|:download$"
    r"|:(?:g|streamG)enerateContent$|:(?:count|compute)Tokens$|:(?:embedContent|batchEmbedContents|predict)$"
)
# Where things are made that later calls name together, as two files in one prompt, or a file and where it is put.
_GATHERS = re.compile(
    r"(?:^|/)(?:files|uploads|vector_stores|containers|conversations|assistants|threads|skills|evals|agents|environments"
    r"|vaults|memory_stores|libraries|cachedContents|fileSearchStores|corpora)/?$"
)
_RESPONSES = re.compile(r"(?:^|/)responses/?$")
_MESSAGES = re.compile(r"(?:^|/)messages/?$")
_CHAT = re.compile(r"(?:^|/)chat/completions/?$")
_UNSTORED = re.compile(rb'"store"\s*:\s*false')
# By which a request tells that its answer may be asked for again, or refers to a sound, a container or a conversation
# (Anthropic's `BetaMessageThreadParam`): xAI's deferred answers, and Perplexity's, which have paths of their own.
_KEEPS = (
    (re.compile(r"(?:^|/)async/"), (b"",)),
    (_CHAT, (b'"store"', b'"audio"', b'"deferred"')),
    (_MESSAGES, (b'"code_execution', b'"container"', b'"thread"')),
)


@lru_cache(maxsize=1024)
def generates(operation: str) -> bool:
    """Whether the call is for a model's words or numbers: its body is a prompt, in which a UUID is nobody's."""
    return any(kind.search(operation) for kind in (_RESPONSES, _MESSAGES, _CHAT, _MAKES_NOTHING))


def gathers(method: str, operation: str) -> bool:
    """Whether the call makes what others may name together with more of its account."""
    return method == "POST" and _GATHERS.search(operation) is not None


def named(operation: str, query: str, body: Body, content_type: str = "") -> dict[str, None]:
    """The ids of things that a call names, each once, at most MOST: its URL's, and the newest of a conversation."""
    found = dict.fromkeys(named_in_path(operation))
    for name, value in parse_qsl(query) if query else ():
        text = value.encode("utf-8", "surrogateescape")
        if _WHERE.match(text) and (_PLAIN_ONLY.fullmatch(text) or b"/" in text):
            found[value] = None
            continue
        if name in _PAGES and len(text) >= 16:
            found[_page(text)] = None
        if _SEGMENT_MADE.fullmatch(text):
            found[value] = None
    uploading = dict.fromkeys(uploads(query))  # where that is, whatever is in the file
    found |= uploading
    around = len(found)
    form = multipart.is_form(content_type)
    if len(body) and not uploading and (form or looks_like_json(body)):
        pattern = _IN_TEXT if generates(operation) else _IN_RESOURCE
        found |= dict.fromkeys(_in_form(pattern, content_type, body) if form else _in_body(pattern, body))
    if len(found) <= MOST:
        return found
    ids = list(found)
    return dict.fromkeys((*ids[:around][:MOST], *ids[max(around, len(ids) - MOST + around) :]))


def _in_body(pattern: re.Pattern[bytes], body: Body) -> Iterable[str]:
    """What it sees in a body and is no data there: JSON is read for that only if anything is seen."""
    text = _plain(body)
    if pattern.search(text) is None:
        return ()
    seen = {_begin(found): _id(found) for found in islice(pattern.finditer(text), MOST_SEEN)}
    strings = mentions.strings(body)
    if strings is None:
        return seen.values()
    return [seen[text[:_BEGIN]] for text in strings if text[:_BEGIN] in seen]


def _in_form(pattern: re.Pattern[bytes], content_type: str, body: Body) -> Iterator[str]:
    is_batch, files = False, list[multipart.Part]()
    for part in multipart.parts(content_type, body):
        if part.is_file:
            files.append(part)
        elif part.is_short:
            name, value = part.name.decode("utf-8", "replace"), bytes(body[part.start : part.stop])
            is_batch |= name == "purpose" and value.startswith(b"batch")
            if mentions.may_name(name):
                yield from _in_body(pattern, value if looks_like_json(value) else b'"%b"' % value)
    for file in files if is_batch else ():
        yield from _in_lines(body, file.start, file.stop)


def _in_lines(body: Body, start: int, stop: int) -> Iterator[str]:
    """Each a call of its own, with a prompt in it."""
    left = mentions.MOST_VALUES
    for _ in range(MOST_SEEN):
        found = _IN_TEXT.search(body, start, stop)
        if found is None:
            return
        before, rest = _LINES.match(body, start, found.start()), _REST.match(body, found.end(), stop)
        begin, start = before.end() if before else start, rest.end() if rest else stop
        if (left := left - mentions.values(body[begin:start])) < 0:
            yield _id(found)
        else:
            yield from _in_body(_IN_TEXT, body[begin:start])


def _page(token: bytes) -> str:
    """What stands for a page: its token may be as long as a name in Redis must not be."""
    return f"page={hashlib.blake2b(token, digest_size=16).hexdigest()}"


def is_made(model: str) -> bool:
    """Whether a model is a thing of the account that tuned it."""
    return model.startswith(("ft:", "tunedModels/"))


_PLAIN_ONLY = re.compile(_PLAIN)
_LINES, _REST = re.compile(rb".*\n", re.DOTALL), re.compile(rb"[^\n]*+")
_KINDS = {"sealed": "~", "credit": "credit="}  # what its id begins with, where it is the beginning of an opaque text
_BEGIN = 256  # characters of a string by which it is known
# What an id consists of, where JSON writes it by its number: who reads it as JSON finds the id.
_NUMBERED = re.compile(rb"\\u00(2[dDeEfF]|3[0-9aA]|[46][1-9a-fA-F]|5[0-9aAfF]|7[0-9aA])")


def _plain(body: Body) -> Body:
    if _NUMBERED.search(body) is None:
        return body
    return _NUMBERED.sub(lambda found: bytes.fromhex(found[1].decode()), body)


def uploads(query: str) -> Iterator[str]:
    """What stands for a resumable upload of Google's, whose URL names it."""
    return (f"upload_id={value}" for name, value in parse_qsl(query) if name == "upload_id") if query else iter(())


@lru_cache(maxsize=1024)
def named_in_path(operation: str) -> tuple[str, ...]:
    """The ids in a raw path: `files/file-abc/content`, `cachedContents/abc`, `tunedModels/abc:generateContent`."""
    found, before = [], ""
    for segment in operation.split("/"):
        text = unquote(segment, errors="surrogateescape")
        raw = text.encode("utf-8", "surrogateescape")
        is_model = before == "models" or (before == "deployments" and generates(operation))  # Azure's
        if _SEGMENT.fullmatch(raw):
            found.append(text)
        elif not is_model and _SEGMENT_MADE.fullmatch(raw.partition(b":")[0]):
            found.append(text.partition(":")[0])  # without a verb
        elif text and _COLLECTION.fullmatch(before.encode("utf-8", "surrogateescape")):
            found.append(f"{before}/{text.partition(':')[0]}")
        before = text
    return tuple(found)


def _id(found: re.Match[bytes]) -> str:
    return _KINDS.get(found.lastgroup or "", "") + _unescaped(found[found.lastgroup or ""])


def _begin(found: re.Match[bytes]) -> str:
    """The string in which it stands, as far as that is known."""
    return _unescaped(found[0][1:-1] if found.lastgroup == "named" else found[found.lastgroup or ""])[:_BEGIN]


def _unescaped(text: bytes) -> str:
    """The string that stands so in JSON: some writers escape `=` and `/`."""
    if b"\\" not in text:
        return text.decode("latin-1")
    try:
        return msgspec.json.decode(b'"' + text + b'"', type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text.decode("latin-1")


def life_s(thing: str) -> int:
    """How many seconds it is kept, in so far as nothing says otherwise."""
    return next(life for kind, life, _ in _LIVES if kind.match(thing))


def renewed_s(thing: str) -> int:
    """For how many seconds it is kept from a call on that names it; 0: as long as it was to be."""
    return next(life if renewed else 0 for kind, life, renewed in _LIVES if kind.match(thing))


class Shown:
    """What a 2xx answer shows of things, fed with decompressed bytes cut anywhere.

    `new` is what was not taken yet: ids, and for how many seconds each is kept.
    """

    def __init__(self, pattern: re.Pattern[bytes], now_s: float) -> None:
        """`now_s`: seconds since 1970."""
        self.new: dict[str, int] = {}
        self._pattern, self._now_s = pattern, now_s
        self._seen: dict[str, int] = {}
        self._own = ""  # the object whose members follow, as long as it is one that tells its end
        self._held = b""

    def feed(self, data: bytes) -> None:
        """Ids and ends that are complete with these bytes."""
        text = self._held + data
        for found in self._pattern.finditer(text):
            if found.lastgroup in {"at", "on"}:
                self._ends(found)
            elif found.lastgroup in _KINDS:
                self._begins(_id(found))
            elif found.lastgroup == "page":
                self._turns(_page(_unescaped(found["page"]).encode()))
            elif told := _TOLD.search(text, max(0, found.start() - _LONGEST_NAME), found.start()):
                self._begins(_id(found))
                if told["own"]:
                    self._own = _id(found) if _ENDING.match(_id(found)) else ""
        self._held = text[max(text.rfind(b"\n\n"), len(text) - _LONGEST, 0) :]

    def _turns(self, page: str) -> None:
        """The next page stands behind all that is on this one, however much."""
        if page not in self._seen:
            self._keep(page, life_s(page))

    def _begins(self, thing: str) -> None:
        if thing not in self._seen and len(self._seen) < MOST_SHOWN:
            self._keep(thing, life_s(thing))

    def _ends(self, found: re.Match[bytes]) -> None:
        """An object's end comes behind its id."""
        left_s = _until(found[found.lastgroup or ""]) - self._now_s
        if self._own and left_s >= 1:
            self._keep(self._own, round(left_s))

    def _keep(self, thing: str, seconds: int) -> None:
        if self._seen.get(thing) != seconds:
            self.new[thing] = self._seen[thing] = seconds

    def take(self) -> dict[str, int]:
        """What is new, once."""
        new, self.new = self.new, {}
        return new


def _until(told: bytes) -> float:
    """Seconds since 1970 of a number or a date; 0 for what is neither."""
    try:
        return float(told) if told.isdigit() else datetime.fromisoformat(told.decode("latin-1")).timestamp()
    except ValueError:
        return 0.0


def shown(method: str, operation: str, body: Body, now_s: float, beta: str = "") -> Shown | None:
    """What reads the answer of a call; None where it can show nothing that anybody may ask for later.

    `now_s`: seconds since 1970; `beta`: the call's header `anthropic-beta`.
    """
    pattern = _shown(method, operation, body)
    if pattern is None and _REFUNDS in beta and _MESSAGES.search(operation):
        pattern = _SHOWN_CREDIT
    return None if pattern is None else Shown(pattern, now_s)


def _shown(method: str, operation: str, body: Body) -> re.Pattern[bytes] | None:
    if method == "DELETE" or (method != "POST" and _MAKES_NOTHING.search(operation) and not _CHAT.search(operation)):
        return None  # but a list of what was stored, or deferred
    if method != "POST":
        return _SHOWN if named_in_path(operation) else _SHOWN_MADE  # what a thing consists of is named below it
    if _RESPONSES.search(operation):
        return _SHOWN_SEALED if _UNSTORED.search(body) else _SHOWN
    for kind, words in _KEEPS:
        if kind.search(operation):
            return _SHOWN if any(_holds(body, word) for word in words) else None
    return None if _MAKES_NOTHING.search(operation) else _SHOWN_MADE


def _holds(body: Body, word: bytes) -> bool:
    return word in body if isinstance(body, bytes) else re.search(re.escape(word), body) is not None


class _Watched:
    """A Reader that shows every byte to another as well."""

    def __init__(self, reader: Reader, shown: Shown) -> None:
        self._reader, self._shown = reader, shown

    def feed(self, data: bytes) -> None:
        self._shown.feed(data)
        self._reader.feed(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def watched(reader: Reader, shown: Shown) -> Reader:
    """The reader of an answer, which shows it to both."""
    return cast(Reader, _Watched(reader, shown))
