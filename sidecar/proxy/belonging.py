"""Sends a call that names a thing to the account that made it, and remembers what an account's answers show of things,
before any client can name them. What is named by nobody's answer goes to any key, as if nothing were remembered.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

from aiohttp import web
from multidict import CIMultiDict

from sidecar.model.configured import Client, Config, Key, Route, Target
from sidecar.model.rotations import may_serve
from sidecar.pool.pool import Pools
from sidecar.pool.search import Search
from sidecar.providers import belonging
from sidecar.proxy.attempt import Answer, Attempts
from sidecar.proxy.call import Call
from sidecar.proxy.clients import tokens, without_credentials
from sidecar.proxy.errors import Refused, bad_request
from sidecar.proxy.upstream import Reply
from sidecar.store.connect import StoreAway, StoreUnable
from sidecar.store.made import Made, Maker

UPLOAD_URLS = ("x-goog-upload-url", "x-goog-upload-control-url")  # of Google's resumable protocol
PROFILE = "anthropic-user-profile-id"  # on whose behalf a message of Anthropic's is; no other header names a thing

LONG_S = 300.0  # an account without room for so long is preferred by nobody until then; minutes' budgets come back

_UPLOADS = re.compile(r"(?:/pools/[^/]+)?/upload/v1\w*/")
_CACHES = re.compile(r"(?:^|/)cachedContents/?$")  # ai.google.dev/api/caching, `CachedContent.model`: of no other
_OF_KEYS = frozenset({"rate_limit_exceeded", "no_usable_key"})  # what is refused for lack of a key

log = logging.getLogger(__name__)


class Accounts:
    """Which keys of one config belong to which account."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._keys: defaultdict[str, list[tuple[str, Key]]] = defaultdict(list)  # by account: with their pools
        for pool in config.pools.values():
            for key in pool.keys:
                self._keys[key.account].append((pool.name, key))
        self._spent: dict[str, float] = {}  # until when, on the loop's clock
        self._named = {key.fingerprint: key.account for keys in self._keys.values() for _, key in keys}

        self.several = len(self._keys) > 1
        # Whether it matters at all who made what. Google's caches are of one model too.
        self.matters = self.several or any(map(self._parts, config.routes.values()))

    def of(self, maker: Maker) -> str:
        """The account by its name of now; "": no key of it is left. Its provider will say so of what it made."""
        return maker.account if maker.account in self._keys else self._named.get(maker.key, "")

    def told(self, account: str) -> str:
        """Its keys, for people."""
        return ", ".join(f"{pool}/{key.id}" for pool, key in self._keys[account])

    def why(self, thing: str, account: str) -> str:
        """Why no other account is asked, for people."""
        return f"{_shown(thing)} was made with {self.told(account)}, and no other account can use it."

    def may_be_meant(self, search: Search, account: str, anywhere: str) -> bool:
        """Whether the account is at the provider of a target, or of a pool that speaks the dialect `anywhere`: what it
        made elsewhere is but the client's own word to this provider."""
        pools = self._config.pools
        doors = {pools[target.pool].provider.door for target in search.targets}
        if anywhere:
            doors |= {pool.provider.door for pool in pools.values() if anywhere in pool.provider.dialects}
        return any(pools[name].provider.door in doors for name, _ in self._keys[account])

    def targets(self, search: Search, account: str, anywhere: str) -> tuple[Target, ...]:
        """Those of the search that have a key of the account which may serve; else, for a call that names neither model
        nor pool, any pool that speaks its dialect, `anywhere`."""
        pools = {pool for pool, _ in self._keys[account]}
        able = tuple(replace(one, account=account) for one in search.targets if self._serves(one, account))
        if able or not anywhere:
            return able
        speaking = (name for name in pools if anywhere in self._config.pools[name].provider.dialects)
        others = (Target(name, "", account=account) for name in sorted(speaking))
        return tuple(one for one in others if self._serves(one, account))[:1]

    def makers(self, target: Target, makers: Mapping[str, Maker]) -> Target:
        """The target with the keys of the account that made its model, where that is known: its caller may have called
        it by a route's name, and other targets may be anybody's."""
        maker = makers.get(target.model or "")
        account = self.of(maker) if maker else ""
        return replace(target, account=account) if account and self._serves(target, account) else target

    def gathering(self, target: Target, client: str) -> Target:
        """The target, which prefers one account for all that this client makes: things apart cannot be used together.

        The highest hash wins, so that all replicas choose alike, and an account that goes moves no other's things. None
        is chosen before whom the pool's strategy would ask first, nor while its things are known to wait for long.
        """
        pool, now = self._config.pools[target.pool], monotonic()
        able = [key for key in pool.keys if may_serve(key, target.model or "")]
        keys = [key for key in able if self._spent.get(key.account, 0.0) <= now] or able
        if pool.strategy == "priority":
            first = min(key.priority for key in keys)
            keys = [key for key in keys if key.priority == first]
        elif pool.strategy == "fill_first":
            keys = keys[:1]
        weighs = pool.strategy == "weighted"
        chosen = max(keys, key=lambda key: _rank(client, key.account, key.weight if weighs else 1))
        return replace(target, prefers=chosen.account)

    def is_spent(self, account: str, wait_s: float) -> None:
        """It has no room for what is to be done with its things, until then: more of them would wait as well."""
        if wait_s >= LONG_S:
            self._spent[account] = monotonic() + wait_s

    def _parts(self, route: Route) -> bool:
        """Whether its calls may come to different models of Google's."""
        pools = self._config.pools
        return len({one.model for one in route.targets if "gemini" in pools[one.pool].provider.dialects}) > 1

    def _serves(self, target: Target, account: str) -> bool:
        return any(pool == target.pool and may_serve(key, target.model or "") for pool, key in self._keys[account])


def _rank(client: str, account: str, weight: int) -> float:
    """By which an account wins as many clients as its weight says (weighted rendezvous hashing)."""
    digest = hashlib.blake2b(f"{client}|{account}".encode(), digest_size=6).digest()
    return weight / -math.log((int.from_bytes(digest) + 1) / (256**6 + 1))


@dataclass(slots=True)
class Belongs:
    """What is known of the things that one call names, and what its answer shows."""

    call: Call
    made: Made
    accounts: Accounts
    client: str  # the id
    named: Mapping[str, None]
    makers: Mapping[str, Maker] = field(default_factory=dict)
    account: str = ""  # which alone may serve; "": any
    why: str = ""

    def told(self, refused: Refused) -> Refused:
        """The same refusal, which says why no other account was asked."""
        if not self.why or refused.code not in _OF_KEYS:
            return refused
        self.accounts.is_spent(self.account, float(refused.headers.get("Retry-After", 0)))
        return Refused(refused.status, refused.code, f"{self.why} {refused.message}", refused.headers)

    async def keep(self, answer: Answer, attempts: Attempts) -> None:
        """Remembers what the answer has shown by now, and before each of its further bytes what they show."""
        reply, key = answer.reply, answer.held.key
        if not 200 <= reply.status < 300:
            return
        maker = Maker(key.fingerprint, key.account)
        try:
            if uploads := _uploads(reply):
                await self._add(maker._replace(client=self.client), uploads)
            if self.accounts.matters:
                gone = self.call.method == "DELETE"
                await self._add(maker, self._deleted() if gone else self._learnt(attempts) | _located(reply))
            if self.accounts.matters and reply.shown is not None:
                if _CACHES.search(self.call.place.operation):
                    maker = maker._replace(model=answer.model)
                reply.before_write = partial(self._add_shown, maker, reply.shown)
                await reply.before_write()
        except BaseException:
            reply.incoming.close()
            raise

    def _deleted(self) -> dict[str, int]:
        """Where a path names two things, it is not the inner one that is no more: it is taken out of the other.

        Nor is a thing no more because something of it is, such as a version.
        """
        operation = self.call.place.operation
        named = belonging.named_in_path(operation)
        return {named[0]: 0} if len(named) == 1 and unquote(operation).rstrip("/").endswith(named[0]) else {}

    def _learnt(self, attempts: Attempts) -> dict[str, int]:
        """What the call names and nobody had told of: that account has it whose answer is good, if it was asked for
        alone, or another account's was not."""
        path = belonging.named_in_path(self.call.place.operation)
        sure = self.named if attempts.progress.second_opinion else path
        return {thing: belonging.life_s(thing) for thing in sure if thing not in self.makers}

    async def _add_shown(self, maker: Maker, shown: belonging.Shown) -> None:
        if not shown.new:
            return
        known = {thing for thing, one in self.makers.items() if one[:2] == maker[:2]}
        new = shown.take().items()
        await self._add(maker, {it: life for it, life in new if it not in known or life != belonging.life_s(it)})

    async def _add(self, maker: Maker, things: Mapping[str, int]) -> None:
        if not things:
            return
        try:
            others = await self.made.add(maker, things)
            # An answer may repeat a client's own words (`metadata`): it takes nothing from whom the config still has.
            if left := {thing: things[thing] for thing, other in others.items() if not self.accounts.of(other)}:
                await self.made.add(maker, left, takes=True)
        except (StoreAway, StoreUnable) as error:
            log.warning("not remembered which account made %s: %s", ", ".join(map(_shown, things)), error)


def _located(reply: Reply) -> dict[str, int]:
    """What an answer made by its `Location`, as of a realtime call, whose body is another protocol's."""
    location = reply.response.headers.get("Location")
    named = belonging.named_in_path(urlsplit(location).path) if location else ()
    return {thing: belonging.life_s(thing) for thing in named}


def _uploads(reply: Reply) -> dict[str, int]:
    """The resumable upload that an answer begins."""
    url = reply.response.headers.get(UPLOAD_URLS[0])
    return dict.fromkeys(belonging.uploads(urlsplit(url).query), belonging.life_s("upload_id=")) if url else {}


class Belonging:
    """Of one replica."""

    def __init__(self) -> None:
        self._accounts: WeakKeyDictionary[Pools, Accounts] = WeakKeyDictionary()

    async def of(self, call: Call, pools: Pools, search: Search, client: str) -> Belongs:
        """Looks up what the call names, and leaves only those targets that can use it, with the keys of one account.

        Raises Refused (400) where none can, and StoreAway where Redis cannot tell in time.
        """
        accounts = self._accounts.get(pools)
        if accounts is None:
            accounts = self._accounts[pools] = Accounts(pools.config)
        named: Mapping[str, None] = {}
        if accounts.matters:
            named = belonging.named(call.place.operation, call.query, call.body, call.content_type)
            if profile := call.headers.get(PROFILE):
                named = {**named, **dict.fromkeys(belonging.named_in_path(profile))}
        found = Belongs(call, pools.store.made, accounts, client, named)
        models = {one.model: None for one in search.targets if one.model and belonging.is_made(one.model)}
        if named or (models and accounts.matters):
            found.makers = await pools.makers(search, {it: belonging.renewed_s(it) for it in {**models, **named}})
            search.targets = tuple(accounts.makers(one, found.makers) for one in search.targets)
            first = search.targets[0]
            if {one.account for one in search.targets} == {first.account} != {""}:
                found.account, found.why = first.account, accounts.why(first.model or "", first.account)
            self._pin(found, search)
        if accounts.several and not found.account:
            search.unsure = bool(belonging.named_in_path(call.place.operation))
            if belonging.gathers(call.method, call.place.operation):
                search.targets = tuple(accounts.gathering(one, client) for one in search.targets)
        return found

    def _pin(self, found: Belongs, search: Search) -> None:
        accounts, place = found.accounts, found.call.place
        free = place.dialect.name if place.pool is None and found.call.reading.model is None else ""
        makers = {thing: maker for thing, maker in found.makers.items() if thing in found.named}
        things = {account: thing for thing, maker in makers.items() if (account := accounts.of(maker))}
        things = {one: thing for one, thing in things.items() if accounts.may_be_meant(search, one, free)}
        if not things:
            return
        if len(things) > 1:
            told = "; ".join(f"{_shown(thing)} with {accounts.told(account)}" for account, thing in things.items())
            raise bad_request(f"This names what different accounts made: {told}. No account can use another's.")
        ((account, thing),) = things.items()
        found.account, found.why = account, accounts.why(thing, account)
        targets = accounts.targets(search, account, free)
        if not targets:
            where = ", ".join(f"{one.pool}/{one.model}" if one.model else one.pool for one in search.targets)
            raise Refused(400, "wrong_account", f"{found.why} This call goes to {where}, where no such key may serve.")
        models = {maker.model for maker in makers.values() if maker.model and accounts.of(maker) == account}
        of_model = tuple(one for one in targets if one.model in models)
        if 0 < len(of_model) < len(targets):
            found.why += f" What it has cached is for {', '.join(sorted(models))} alone."
        search.targets = of_model or targets


async def uploader(request: web.BaseRequest, config: Config, made: Made) -> Client | None:
    """The client whose resumable upload a request goes on with.

    Google's SDK presents no key then: the URL that it was given is its right to write there, and to nothing else.
    """
    path, _, query = request.raw_path.partition("?")
    uploads = dict.fromkeys(belonging.uploads(query), 0)
    begins = "start" in ",".join(request.headers.getall("X-Goog-Upload-Command", ["start"])).lower()
    if not uploads or begins or not _UPLOADS.match(path) or tokens(request.headers, query):
        return None
    try:
        makers = await made.makers(uploads)
    except (StoreAway, StoreUnable):
        return None
    ids, now_s = {maker.client for maker in makers.values()}, time.time()
    known = (client for client in config.clients if not all(token.expired(now_s) for token in client.tokens))
    return next((client for client in known if {client.id} == ids), None)


def here(headers: CIMultiDict[str], request: web.BaseRequest) -> None:
    """Lets a resumable upload go on where it began: at this sidecar, without the key that the provider was shown."""
    for name in UPLOAD_URLS:
        if url := headers.get(name):
            path, query = request.raw_path.partition("?")[0], without_credentials(urlsplit(url).query)
            headers[name] = f"{request.scheme}://{request.host}{path}?{query}"


_RESULTS = re.compile(rb'("results_url"\s*:\s*")https?:[^"]*?(/messages/batches/[^"]*")')
_BEGUN = re.compile(rb'"(?:r[a-z_]*|results_url"\s*(?::\s*(?:"[^"]*)?)?)?\Z')
_LONGEST_URL = 1024  # bytes, its name included


class Results:
    """Lets the results of batches of messages be fetched here too, in a body cut anywhere.

    Anthropic's SDK calls the URL that it finds there, with the key that its client has for the sidecar.
    """

    def __init__(self, before: str) -> None:
        self._before, self._held = before.encode(), b""

    def feed(self, data: bytes) -> bytes:
        """The same JSON, but for these URLs; one that is not all there yet waits for the rest."""
        text = self._held + data
        begun = _BEGUN.search(text, max(0, len(text) - _LONGEST_URL))
        end = begun.start() if begun else len(text)
        self._held = text[end:]
        return _RESULTS.sub(lambda found: found[1] + self._before + found[2], text[:end])


def results(request: web.BaseRequest) -> Results | None:
    """What the answer to this request passes through; None: it tells of no batches."""
    before, batches, below = request.raw_path.partition("/messages/batches")
    if not batches or "/results" in below:
        return None
    return Results(f"{request.scheme}://{request.host}{before}")


def _shown(thing: str) -> str:
    """An id for people. Who has that of an upload may write to it."""
    if thing.startswith("upload_id="):
        return "this upload"
    if thing.startswith("page="):
        return "the list of which this is a page"
    if thing.startswith("credit="):
        return "this fallback credit"
    return "an encrypted item" if thing.startswith("~") else thing[:100]
