"""A request of the data plane, read once: which dialect it speaks, what it asks for, what of it goes upstream."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import msgspec
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.model.configured import Config, Parameters, Target
from sidecar.model.headers import CREDENTIALS, HOP_BY_HOP, OURS
from sidecar.model.words import Estimate
from sidecar.providers import deeds, estimates, jsonhead, multipart, parameters, urls
from sidecar.providers.catalogue import DIALECTS, judge
from sidecar.providers.dialect import BadCall, Body, Dialect, Pieces, Reading
from sidecar.providers.gemini import COLLECTION
from sidecar.proxy import bodies
from sidecar.proxy.clients import without_credentials
from sidecar.proxy.errors import Refused, bad_request
from sidecar.proxy.route import bare

# These would bill another account than the granted key's, or fail for it.
ACCOUNT_SELECTING = frozenset(
    {
        "openai-organization",
        "openai-project",
        "x-goog-user-project",
        "x-goog-iam-authorization-token",
        "x-goog-iam-authority-selector",
        "anthropic-organization-id",
        "anthropic-workspace-id",
    }
)
_DROPPED = HOP_BY_HOP.union(OURS, ACCOUNT_SELECTING, CREDENTIALS)
_NEVER = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")  # the weight of a coding that is not accepted
DECODABLE = ("gzip", "deflate")  # what an answer may be compressed with: its first events and its usage must be read

_OPENAI_PATHS = (
    "chat",
    "completions",
    "responses",
    "embeddings",
    "models",
    "moderations",
    "images",
    "audio",
    "files",
    "uploads",
    "batches",
    "fine_tuning",
    "vector_stores",
)
_GEMINI_V1 = re.compile(r"(/v1/)(?:models|tunedModels)/[^:]+:[A-Za-z]+$")
# What google-genai (`_gaos` too) asks for below /v1/, its default, beside `models/{m}:{verb}`.
_GOOGLES_V1 = re.compile(
    r"/v1/(?:models|tunedModels|files|cachedContents|batches|operations|corpora|fileSearchStores|authTokens|auth_tokens"
    r"|interactions|agents|environments|triggers|credentials|voices|webhooks|decisions)(?:[/:]|$)"
)
_GOOGLES_OPENAI = "/v1beta/openai/"
# Path -> dialect, and the prefix of its operation: the first that fits. Group 1 is what the operation does without.
_PLACES = (
    (re.compile(r"(/v1/)messages(?:/|$)"), "anthropic", "/v1/"),
    (re.compile(rf"({_GOOGLES_OPENAI})"), "openai", "/v1/"),
    (re.compile(r"(/v1beta/)"), "gemini", "/v1beta/"),
    (re.compile(r"(/upload/v1beta/)"), "gemini", "/upload/v1beta/"),
    (re.compile(r"(/upload/v1/)"), "gemini", "/upload/v1/"),
    (re.compile(r"(/download/v1beta/)"), "gemini", "/download/v1beta/"),
    (re.compile(r"(/download/v1/)"), "gemini", "/download/v1/"),
    (_GEMINI_V1, "gemini", "/v1/"),
    (re.compile(r"(/v1/)"), "openai", "/v1/"),
    (re.compile(rf"(/)(?:{'|'.join(_OPENAI_PATHS)})(?:/|$)"), "openai", "/"),
)
# What runs no model, or others than a `model` beside it says: those of a file, of what was made before, of whoever gets
# the token (the resources of openai 3.54, anthropic 2.12 and google-genai 3.4).
_NAMELESS = re.compile(
    r"(?:^|/)(?:files|uploads|batches|vector_stores|fileSearchStores|corpora|containers|evals|conversations|skills"
    r"|sessions|environments|deployments|triggers|client_secrets|auth_?tokens)(?:[/:]|$)"
    r"|(?:^|/)(?:completions|responses|jobs|videos|interactions)/(?!(?:compact|input_tokens)/?$)[^/]",
    re.IGNORECASE,
)
UNCHANGED = Parameters()
_LISTS = frozenset({"/v1/models", "/models", "/v1beta/models"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: a dialect, the text before the operation, the operation; a pool where the path names it."""

    dialect: Dialect  # of the call
    judge: Dialect  # that reads the answers and writes the sidecar's errors: where a pool is named, as the path tells
    prefix: str
    operation: str
    pool: str | None = None
    lists: bool = False  # asks what can be asked for
    googles: bool = False  # Google's own, whichever the dialect: `models/` may stand before any model


@dataclass(frozen=True, slots=True)
class Call:
    """A request as the attempts need it."""

    request_id: str
    method: str
    place: Place
    query: str  # raw, without credentials
    headers: CIMultiDict[str]  # what goes upstream, but for the credential
    content_type: str
    body: Body
    reading: Reading
    max_wait_s: float | None
    keepalive: bool | None = None  # whether it wants signs of life while it waits; None: what the config says
    batch: bool = False  # its priority: it leaves a share of each budget to the others
    collected: bool = False  # it says `models/` before its model, as Google does, and is to say the model alone
    rewritten: dict[Target, tuple[str, Pieces]] = field(default_factory=dict)  # operation and body by where they go
    estimated: list[Estimate] = field(default_factory=list)  # what `estimate` found, once it was asked

    def repeatable(self) -> bool:
        """Whether executing it twice does no harm. It reads all of the body: to be asked when an attempt has failed."""
        if not self.reading.retry_safe or not jsonhead.looks_like_json(self.body):
            return self.reading.retry_safe
        try:
            return not deeds.acts(self.body)
        except (msgspec.DecodeError, RecursionError):  # nobody knows
            return False

    def estimate(self, targets: Sequence[Target]) -> Estimate:
        """What it may cost in tokens, at whichever of its targets: found when a pool that limits them first asks."""
        if not self.estimated:
            changes = {target.parameters for target in targets}
            operation, kind = self.place.operation, self.content_type
            self.estimated.append(estimates.estimate(self.method, operation, kind, self.body, changes))
        return self.estimated[0]

    def names(self) -> Iterator[str]:
        """What any reader of it may take for the name of a model to run, of duplicates all; "" where it has none, or
        where whatever it is called for has nothing to do with one that it names.

        Raises BadCall for a body that is no JSON although it begins like it.
        """
        yield self.reading.model or ""
        if _NAMELESS.search(self.place.operation):
            yield ""
        if multipart.is_form(self.content_type):
            yield from multipart.models(self.content_type, self.body)
        if jsonhead.looks_like_json(self.body):
            googles = self.collected or self.place.googles
            yield from (name.removeprefix(COLLECTION) if googles else name for name in jsonhead.models(self.body))

    def asking_usage(self, target: Target) -> Pieces | None:
        """As `to`, so that its stream tells what it cost; None where it does so without being asked."""
        operation, body = self.to(target)
        return self.place.judge.ask_usage(operation, body[0] if len(body) == 1 else b"".join(body))

    def sign(self) -> bytes:
        """What tells its client that it lives; b"" where its stream has no place for that."""
        return self.place.judge.write_sign(self.place.operation, self.query)

    def to(self, target: Target) -> tuple[str, Pieces]:
        """The operation and the body for a target: found once, however many of its keys are tried.

        Parameters are changed where the call asks for a model, and in JSON: a form stays as it is.
        """
        model, asked = target.model or "", self.reading.model
        if asked is None or (model == asked and not self.collected and target.parameters == UNCHANGED):
            return self.place.operation, [self.body]
        if target not in self.rewritten:
            operation, kind, dialect = self.place.operation, self.content_type, self.place.dialect
            also = parameters.edits(target.parameters, dialect.name, operation)
            self.rewritten[target] = dialect.rewrite(operation, kind, self.body, model, also)
        return self.rewritten[target]


def place(config: Config, method: str, path: str, headers: CIMultiDictProxy[str], query: str) -> Place | Refused:
    """Where a raw path leads, or what one that leads nowhere is answered."""
    if path.startswith("/pools/"):
        name, _, rest = path[len("/pools/") :].partition("/")
        pool = config.pools.get(name)
        if pool is None:
            return Refused(404, "not_found", f'There is no pool "{name[:100]}". Pools: {", ".join(config.pools)}.')
        return Place(DIALECTS["plain"], judge(pool.provider, rest), "/", rest, pool=name)
    path = urls.canonical(path)
    if method in {"GET", "HEAD"} and path in _LISTS:
        lister = _lister(path, headers, query)
        return Place(lister, lister, "/v1/", "models", lists=True)
    if path.startswith("/v1/") and (told := _told(path, headers, query)):
        return _at(told, "/v1/", path[len("/v1/") :], told == "gemini")
    for pattern, dialect, prefix in _PLACES:
        found = pattern.match(path)
        if found is not None and (pattern is not _GEMINI_V1 or method == "POST"):
            googles = dialect == "gemini" or found[1] == _GOOGLES_OPENAI
            return _at(dialect, prefix, path[found.end(1) :], googles)
    return _nowhere(path)


def _at(dialect: str, prefix: str, operation: str, googles: bool) -> Place | Refused:
    """Nowhere, where an escape hides which operation it is: many a server reads `chat%2Fcompletions` as its own."""
    if "%" in operation.partition("/")[0]:
        return _nowhere(prefix + operation)
    return Place(DIALECTS[dialect], DIALECTS[dialect], prefix, operation, googles=googles)


def _nowhere(path: str) -> Refused:
    return Refused(
        404,
        "not_found",
        f"Nothing is served at {path[:200]}. Served: /v1/... (OpenAI, also without /v1), /v1/messages (Anthropic), "
        "/v1beta/... (Gemini), /pools/<pool>/..., /health, /metrics.",
    )


def _lister(path: str, headers: CIMultiDictProxy[str], query: str) -> Dialect:
    if path == "/v1beta/models" or _is_googles(headers, query):
        return DIALECTS["gemini"]
    if "x-api-key" in headers or "anthropic-version" in headers:
        return DIALECTS["anthropic"]
    return DIALECTS["openai"]


def _told(path: str, headers: CIMultiDictProxy[str], query: str) -> str:
    """The dialect of who shows by a header that it is no OpenAI SDK: the files of all lie at `/v1/files`."""
    if "anthropic-version" in headers:
        return "anthropic"
    return "gemini" if _GOOGLES_V1.match(path) and _is_googles(headers, query) else ""


def _is_googles(headers: CIMultiDictProxy[str], query: str) -> bool:
    return "x-goog-api-key" in headers or re.search(r"(?:^|&)key=", query) is not None


async def read(
    request: web.BaseRequest, config: Config, request_id: str, where: Place, query: str, share: bodies.Share
) -> Call:
    """The whole call, its body included and counted in `share`. Raises Refused (400, 413, 415, 503)."""
    body = await bodies.read(request, share)
    content_type = request.headers.get("Content-Type", "")
    try:
        reading = where.dialect.read_call(request.method, where.operation, content_type, body)
    except BadCall as bad:
        raise bad_request(str(bad)) from None
    named = reading.model
    if named and named.startswith(COLLECTION):
        reading = replace(reading, model=_bare(config, where, named))
    _check_model(reading.model)
    headers = _upstream_headers(request.headers)
    if reading.stream or "messages/batches" in where.operation:
        headers["Accept-Encoding"] = "identity"  # events are small, and nothing can be changed in what is packed
    return Call(
        request_id=request_id,
        method=request.method,
        place=where,
        query=without_credentials(query),
        headers=headers,
        content_type=content_type,
        body=body,
        reading=reading,
        max_wait_s=_max_wait_s(request.headers.get("x-sidecar-max-wait")),
        keepalive=_keepalive(request.headers.get("x-sidecar-keepalive")),
        batch=_is_batch(request.headers.get("x-sidecar-priority")),
        collected=reading.model != named and where.pool is None,
    )


def _bare(config: Config, where: Place, model: str) -> str:
    return model.removeprefix(COLLECTION) if where.googles else bare(config, where.dialect.name, where.pool, model)


def _check_model(model: str | None) -> None:
    if model is not None and (not model or len(model.encode()) > 256 or not model.isprintable()):
        raise bad_request("The model's name must be 1 to 256 bytes of printable text.")


def _max_wait_s(text: str | None) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
        raise bad_request(f'x-sidecar-max-wait: "{text[:40]}" is no number of seconds such as 0, 2.5 or 30.')
    return float(text)


def _keepalive(text: str | None) -> bool | None:
    if text is None or text.strip().lower() in {"true", "false"}:
        return None if text is None else text.strip().lower() == "true"
    raise bad_request(f'x-sidecar-keepalive: "{text[:40]}" is neither true nor false.')


def _is_batch(text: str | None) -> bool:
    if text is None or text.strip().lower() in {"interactive", "batch"}:
        return text is not None and text.strip().lower() == "batch"
    raise bad_request(f'x-sidecar-priority: "{text[:40]}" is no priority. It is interactive (the default) or batch.')


def connection_named(headers: CIMultiDictProxy[str]) -> set[str]:
    """The header names that `Connection` makes hop-by-hop."""
    return {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}


def _upstream_headers(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """What of the client's headers crosses: not its credential, its account, its connection or its words to us."""
    named = connection_named(headers)
    kept = CIMultiDict(
        [
            (name, value)
            for name, value in headers.items()
            if (lower := name.lower()) not in _DROPPED and lower not in named and not lower.startswith("x-sidecar-")
        ]
    )
    kept["Accept-Encoding"] = _readable(",".join(headers.getall("Accept-Encoding", ())))
    return kept


@lru_cache(maxsize=64)
def _readable(accepted: str) -> str:
    """The codings that both the client and the sidecar can read, as an `Accept-Encoding`."""
    parts = (part.partition(";") for part in accepted.lower().split(","))
    wanted = {coding.strip() for coding, _, weight in parts if not _NEVER.fullmatch(weight)}
    return ", ".join(coding for coding in DECODABLE if coding in wanted) or "identity"
