"""Clients of the file: the virtual keys that they present, what they may use and how much of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from sidecar.config.limits import check_model, concurrency, limits
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.schema import ClientEntry, TokenEntry
from sidecar.config.secrets import ID, ID_RULE, clean, flaw, is_placeholder
from sidecar.model.configured import Client, Limit, Secret, Token
from sidecar.model.tokens import digest

HASH = "sha256:"
_HASHED = re.compile(rf"{HASH}([0-9a-fA-F]{{64}})\Z")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)([Zz]|[-+]\d\d:\d\d))?\Z", re.ASCII)


def clients(entries: list[ClientEntry], problems: Problems) -> tuple[Client, ...]:
    """All of them; each id and each virtual key is one client's alone."""
    ids: dict[str, int] = {}
    found = []
    holders: dict[str, tuple[Path, int]] = {}  # of a digest: where it stands, in which entry
    for index, entry in enumerate(entries):
        path: Path = ("clients", index)
        if not ID.match(entry.id):
            problems.error((*path, "id"), f"{shown(entry.id)} is no client id. It is {ID_RULE}.")
        if ids.setdefault(entry.id, index) != index:
            problems.error((*path, "id"), f"{shown(entry.id)} is the id of clients[{ids[entry.id]}] too.")
        tokens = _tokens(entry, path, problems)
        for where, token in tokens.items():
            first, holder = holders.setdefault(token.digest, (where, index))
            if first != where and not problems.under(where):
                whose = "another token of this client" if holder == index else f"the token of clients[{holder}]"
                problems.error(where, f"is {whose} too.")
        found.append(_client(entry, tuple(tokens.values()), path, problems))
    return tuple(found)


def _client(entry: ClientEntry, tokens: tuple[Token, ...], path: Path, problems: Problems) -> Client:
    counted = _counted(entry, limits(entry.limits, "UTC", (*path, "limits"), problems), path, problems)
    at_once = concurrency(entry.concurrency, (*path, "concurrency"), problems)
    return Client(
        str(entry.id), tokens, _models(entry, path, problems), counted + at_once, _batch(entry, path, problems)
    )


def _models(entry: ClientEntry, path: Path, problems: Problems) -> tuple[str, ...]:
    here: Path = (*path, "models")
    if entry.models is not None and not entry.models:
        problems.error(here, "is empty, so the client could use nothing. Leave it out for every model.")
    for index, model in enumerate(entry.models or ()):
        check_model(model, (*here, index), problems)
    return tuple(dict.fromkeys(str(model) for model in entry.models or ()))


def _counted(entry: ClientEntry, found: tuple[Limit, ...], path: Path, problems: Problems) -> tuple[Limit, ...]:
    """The limits, which refuse nothing where overage is allowed. What is in flight at once is no overage."""
    here: Path = (*path, "overage")
    if entry.overage not in {None, "allow", "refuse"}:
        problems.error(here, f"{shown(entry.overage)} is no overage.", str(entry.overage), ("allow", "refuse"))
    if entry.overage is not None and not entry.limits and not problems.under((*path, "limits")):
        problems.error(here, "is of limits, and there are none. Leave it out.")
    return tuple(replace(limit, enforce=False) for limit in found) if entry.overage == "allow" else found


def _batch(entry: ClientEntry, path: Path, problems: Problems) -> bool:
    known = ("interactive", "batch")
    if entry.priority not in {None, *known}:
        problems.error((*path, "priority"), f"{shown(entry.priority)} is no priority.", str(entry.priority), known)
    return entry.priority == "batch"


# --- virtual keys -------------------------------------------------------------------------------------


def _tokens(entry: ClientEntry, path: Path, problems: Problems) -> dict[Path, Token]:
    """The virtual keys of an entry that can be read, by where each stands."""
    listed: Path = (*path, "tokens")
    own = TokenEntry(token=entry.token, token_hash=entry.token_hash, expires=entry.expires)
    if entry.tokens is None:
        found = {path: own}
    elif own != TokenEntry():
        problems.error(listed, "stand beside token, token_hash or expires, which belong into them.")
        found = {}
    else:
        found = {(*listed, index): one for index, one in enumerate(entry.tokens)}
        if not found and not problems.under(listed):
            problems.error(listed, f"are none. {_REMEDY}")
    made = (_token(one, where, problems) for where, one in found.items())
    return {where: token for one in made if one is not None for where, token in [one]}


_REMEDY = "Give it a token_hash, which `sidecar clients create` makes, or a token."


def _token(entry: TokenEntry, path: Path, problems: Problems) -> tuple[Path, Token] | None:
    """The virtual key, and the field that says it."""
    expires_s = _expires_s(entry.expires, (*path, "expires"), problems)
    if entry.token is not None and entry.token_hash is not None:
        problems.error(path, "has both token and token_hash. Leave one out.")
    elif entry.token is not None:
        secret = token(entry.token, (*path, "token"), problems)
        return (*path, "token"), Token(digest(secret.reveal()), expires_s, secret)
    elif entry.token_hash is not None:
        where: Path = (*path, "token_hash")
        hashed = _HASHED.match(entry.token_hash.strip())
        if hashed is None:
            problems.error(where, f"is no hash of a token: {HASH} and 64 hex digits, of what the client presents.")
        return (where, Token(hashed[1].lower(), expires_s)) if hashed else None
    elif not any(problems.under((*path, field)) for field in ("token", "token_hash", "tokens")):
        problems.error(path, f"has no token. {_REMEDY}")
    return None


def token(text: str, path: Path, problems: Problems) -> Secret:
    """A token that we give out. A placeholder is one too, though everybody knows it."""
    cleaned = clean(text)
    wrong = flaw(cleaned) if cleaned else "is empty"
    if wrong:
        problems.error(path, f"the token {wrong}.")
    elif is_placeholder(cleaned):
        problems.warn(path, "the token is a placeholder, which anybody could guess. Choose one.")
    return Secret(cleaned)


def _expires_s(text: str | None, path: Path, problems: Problems) -> int | None:
    if text is None:
        return None
    found = moment_s(text)
    if found is None:
        problems.error(
            path,
            f"{shown(text)} is no moment. It is a day such as 2027-01-31, which begins at midnight UTC, or"
            " 2027-01-31T18:00:00Z.",
        )
    return found


def moment_s(text: str) -> int | None:
    """Seconds since 1970 of an RFC 3339 moment, or of a day's first one in UTC; None: it is neither."""
    found = _MOMENT.match(text.strip())
    if found is None:
        return None
    try:
        day, time, zone = found[1], found[2] or "00:00", (found[3] or "Z").upper()
        return int(datetime.fromisoformat(f"{day}T{time}{zone}").astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return None


def written(moment_s: int) -> str:
    """A moment as the file says it: a day's first one as the day."""
    text = datetime.fromtimestamp(moment_s, UTC).isoformat().replace("+00:00", "Z")
    return text.removesuffix("T00:00:00Z")
