"""Clients made, given another virtual key, and revoked: in the config file, of which a virtual key is never part.

Each edit says what would be there afterwards, read whole; only `save` writes. Every other byte of the file stays.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from sidecar.config import yaml_edit
from sidecar.config.clients import HASH, moment_s, written
from sidecar.config.edit import Place
from sidecar.config.importing.gathered import Line, rendered
from sidecar.config.load import FILE, Opened, parsed, text_of
from sidecar.config.problems import ConfigError, Path, nearest, shown
from sidecar.config.read import duration_us
from sidecar.config.replacing import replace as replace_files
from sidecar.config.schema import KeySources
from sidecar.config.secrets import ID, ID_RULE
from sidecar.config.yaml_edit import Value
from sidecar.model.configured import SECOND_US, Client, Config, Secret
from sidecar.model.tokens import PREFIX, digest

_CLIENTS = "clients"
_NEVER = "never"
_LOOPBACK = "127.0.0.1:0"
_LAST_S = 253_402_300_799  # the end of the year 9999
_HEAD = """\
# Written by `sidecar clients init`, of what it found in the environment: these pools are all there are from now on.
"""

Fields = Mapping[str, Value]  # of an entry, as the file says them


@dataclass(frozen=True, slots=True)
class Edit:
    """The file with its new text, and what it says then."""

    file: FilePath  # as its user calls it
    path: FilePath
    text: str = field(repr=False)
    client: Client | None  # None: revoked
    token: Secret | None = None  # that was made: nobody is told again


def made() -> Secret:
    """A new virtual key: 256 random bits."""
    return Secret(f"{PREFIX}{secrets.token_urlsafe(32)}")


def init(client: str, place: Place) -> Edit:
    """The first client of all. Where there is no file, one with the pools that are found without: nothing else changes.

    Raises ConfigError, as every edit, where the config cannot be used as it stands or would not be afterwards. That it
    listens to other machines and has no client is no hindrance: this is the remedy.
    """
    edit = _init(client, replace(place, environ={**place.environ, "SIDECAR_LISTEN": _LOOPBACK}))
    replace(place, path=edit.file).opened({edit.path: edit.text})
    return edit


def _init(client: str, place: Place) -> Edit:
    before = place.opened()
    if before.file is not None:
        if before.config.clients:
            ids = ", ".join(one.id for one in before.config.clients)
            raise ConfigError([f"there are clients already: {ids}. `sidecar clients create ID` makes one more."])
        return create(client, "", {}, place)
    _check_settable(before)
    _check_id(client, before)
    token = made()
    text = _HEAD + rendered(_pools(before) | {_CLIENTS: [*_discovered(before), Line(id=client, **_token(token, ""))]})
    return _tried(Edit(FilePath(FILE), place.cwd / FILE, text, None, token), client, before, place)


def create(client: str, expires: str, fields: Fields, place: Place) -> Edit:
    """One more client, with these fields beside its virtual key, which `expires` then, or "". Raises ConfigError."""
    before, file = _opened(place)
    _check_id(client, before)
    token = made()
    entry = {"id": client, **_token(token, expires), **fields}
    text, entries = text_of(file, place.cwd), _entries(before)
    new = yaml_edit.with_item(text, (_CLIENTS,), entry) if entries else yaml_edit.with_list(text, _CLIENTS, entry)
    return _checked(new, [*entries, entry], client, before, place, token)


def rotate(client: str, overlap_s: int, expires: str, now_s: int, place: Place) -> Edit:
    """Another virtual key for a client; those that it has are good for `overlap_s` more at most.

    `expires` is the new one's, "" where it has no end; those that have expired are dropped. Raises ConfigError, also
    where the latest one has an end and nothing is said of the new one's.
    """
    before, file = _opened(place)
    at = _index(client, before)
    old = before.config.clients[at].tokens
    if not expires and old[-1].expires_s is not None:
        raise ConfigError(
            [f"the token of {shown(client)} expires. Say when its new one does: --expires DAY, or never."]
        )
    entry, until, token = _entries(before)[at], now_s + overlap_s, made()
    kept = {
        index: one if held.expired(until) else one | {"expires": written(until)}
        for index, (one, held) in enumerate(zip(_said(entry), old, strict=True))
        if overlap_s and not held.expired(now_s)
    }
    new = _token(token, expires)
    text = _renewed(text_of(file, place.cwd), (_CLIENTS, at), entry, kept, new)
    renewed = {name: value for name, value in entry.items() if name not in _OF_TOKEN}
    renewed["tokens"] = [*kept.values(), new]
    entries = [*_entries(before)[:at], renewed, *_entries(before)[at + 1 :]]
    return _checked(text, entries, client, before, place, token)


def revoke(client: str, place: Place) -> Edit:
    """The file without a client. Raises ConfigError, also where it is the only one: then anybody could call."""
    before, file = _opened(place)
    at, entries = _index(client, before), _entries(before)
    if len(entries) == 1:
        raise ConfigError(
            [
                f"{shown(client)} is the only client, and without any the sidecar asks nobody for a virtual key. Create"
                f" another first, or give it a new one: `sidecar clients rotate {client} --overlap 0s`."
            ]
        )
    text = yaml_edit.without(text_of(file, place.cwd), (_CLIENTS, at))
    return _checked(text, [*entries[:at], *entries[at + 1 :]], client, before, place)


def save(edit: Edit) -> None:
    """Writes the file whole, or not at all. Raises ConfigError."""
    try:
        replace_files({edit.path: edit.text}, FilePath())
    except OSError as error:
        raise ConfigError([f"{edit.file}: cannot be written: {error.strerror}. Nothing was changed."]) from None


def moment(text: str, now_s: int) -> str:
    """When something expires, as the file says it: a day, a moment, or `720h` from now; `never`. Raises ConfigError."""
    if text in {"", _NEVER}:
        return text
    length_us, at_s = duration_us(text), moment_s(text)
    if length_us is not None:
        at_s = now_s + length_us // SECOND_US
    if at_s is None or at_s > _LAST_S:
        raise ConfigError(
            [f"{shown(text)} is no moment. It is a day such as 2027-01-31, 2027-01-31T18:00:00Z, or 720h."]
        )
    if at_s <= now_s:
        raise ConfigError([f"{shown(text)} has passed."])
    return written(at_s)


# --- what there is ------------------------------------------------------------------------------------


def _opened(place: Place) -> tuple[Opened, FilePath]:
    """What runs as it stands, and its file."""
    before = place.opened()
    _check_settable(before)
    if before.file is None:
        raise ConfigError([f"there is no config file to keep clients in. `sidecar clients init` writes {FILE}."])
    return before, before.file


def _check_settable(before: Opened) -> None:
    if f"SIDECAR_{_CLIENTS.upper()}" in before.environment:
        raise ConfigError(["the clients stand in a variable, SIDECAR_CLIENTS, which no command can change."])


def _check_id(client: str, before: Opened) -> None:
    if not ID.match(client):
        raise ConfigError([f"{shown(client)} is no client id. It is {ID_RULE}."])
    if client in [one.id for one in before.config.clients]:
        raise ConfigError(
            [f"there is a client {shown(client)} already. `sidecar clients rotate` gives it a new token."]
        )


def _entries(before: Opened) -> list[Any]:
    """The clients as the file says them."""
    found = before.written.get(_CLIENTS)
    return found if isinstance(found, list) else []


def _index(client: str, before: Opened) -> int:
    ids = [one.id for one in before.config.clients]
    if client not in ids:
        near = nearest(client, ids)
        known = f"\n  Known: {', '.join(ids)}." if ids else " There is none yet."
        raise ConfigError(
            [f"{shown(client)} is no client." + (f" Did you mean {shown(near)}?" if near else "") + known]
        )
    return ids.index(client)


def _discovered(before: Opened) -> list[Line]:
    """The clients that there are without a file: with one, a variable opens no door unless the file names it."""
    return [Line(id=one.id, token="${PROXY_API_KEY}") for one in before.config.clients]  # noqa: S106 - a variable's name


def _pools(before: Opened) -> dict[str, Any]:
    """The pools that were discovered, as a file says them."""
    found: dict[str, Any] = {}
    for name, entry in before.pools.items():
        bases = entry.keys.from_env if isinstance(entry.keys, KeySources) else None
        only = bases[0] if isinstance(bases, list) and len(bases) == 1 else bases
        found[name] = {"provider": entry.provider, "keys": Line(from_env=only)}
    return {} if "SIDECAR_POOLS" in before.environment else {"pools": found}


# --- what it shall be ---------------------------------------------------------------------------------


def _token(token: Secret, expires: str) -> dict[str, str]:
    end = {} if expires in {"", _NEVER} else {"expires": expires}
    return {"token_hash": f"{HASH}{digest(token.reveal())}", **end}


def _said(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The virtual keys of an entry."""
    own = {name: value for name, value in entry.items() if name in _OF_TOKEN and value is not None}
    return list(entry["tokens"]) if entry.get("tokens") is not None else [own]


_OF_TOKEN = ("token", "token_hash", "expires")


def _renewed(
    text: str, path: Path, entry: Mapping[str, Any], kept: Mapping[int, dict[str, Any]], new: dict[str, str]
) -> str | None:
    """The text with the new virtual key behind those of the entry that are kept, by their places."""
    if entry.get("tokens") is None:
        former = next(name for name in _OF_TOKEN if entry.get(name) is not None)
        edited = yaml_edit.with_field(text, path, "tokens", [*kept.values(), new], former)
        return yaml_edit.without(edited, (*path, "expires")) if edited and "expires" in entry else edited
    edited = yaml_edit.with_item(text, (*path, "tokens"), new)
    for index, one in reversed(list(enumerate(_said(entry)))):
        here: Path = (*path, "tokens", index)
        if edited and index not in kept:
            edited = yaml_edit.without(edited, here)
        elif edited and kept[index] != one:
            edited = yaml_edit.with_field(edited, here, "expires", kept[index]["expires"])
    return edited


# --- what it comes to ---------------------------------------------------------------------------------


def _checked(
    text: str | None, entries: Sequence[Any], client: str, before: Opened, place: Place, token: Secret | None = None
) -> Edit:
    """The edit, once its text says just these clients and is a config. Raises ConfigError."""
    assert before.file is not None
    expected = json.loads(json.dumps(before.written, default=str)) | {_CLIENTS: entries}
    if text is None or parsed(text, before.file) != expected:
        raise ConfigError(
            [f"{before.file}: its clients are written such that no command can change them. Nothing was changed."]
        )
    return _tried(Edit(before.file, place.cwd / before.file, text, None, token), client, before, place)


def _tried(edit: Edit, client: str, before: Opened, place: Place) -> Edit:
    """The edit, once the config is read with it: this client is another, and nothing else is. Raises ConfigError."""
    after = replace(place, path=edit.file).opened({edit.path: edit.text}).config
    if _without_client(after, client) != _without_client(before.config, client):
        raise ConfigError([f"{edit.file}: more than client {shown(client)} would change. Nothing was changed."])
    found = next((one for one in after.clients if one.id == client), None)
    return replace(edit, client=found)


def _without_client(config: Config, client: str) -> Config:
    return replace(config, clients=tuple(one for one in config.clients if one.id != client), warnings=())
