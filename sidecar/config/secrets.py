"""Where keys come from: the environment, a list, files; each text is cleaned, and refused if no header could carry it.

The same secret is told once here within a pool; what it means over several pools is for `accounts.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from sidecar.config.environment import Environment
from sidecar.config.files import Files
from sidecar.config.problems import Path, Problems, Substituted, shown
from sidecar.config.read import VARIABLE_NAME
from sidecar.config.schema import KeyEntry, KeySources, PoolEntry
from sidecar.model.configured import Client, Config, Secret
from sidecar.model.tokens import SHAPE

ID = re.compile(r"[A-Za-z0-9._@:-]{1,128}\Z")
ID_RULE = "1 to 128 letters, digits and . _ @ : -"
_MAX_CHARACTERS = 8192  # of a secret: what servers take as a header
_LEAST_TOLD = 12  # characters of a secret that no name may hold: shorter ones are words for servers that want no key
_MAX_KEYS = 99_999  # a member's order has five digits


@dataclass(frozen=True, slots=True)
class Found:
    """A credential as it was found. `entry` is what a list of the file says of it beside its secret."""

    id: str
    secret: Secret
    origin: str
    path: Path
    entry: KeyEntry | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where keys may be read from; relative paths are below `folder`, the config file's. `running`: see `in_use`."""

    environment: Environment
    folder: FilePath
    problems: Problems
    files: Files
    running: frozenset[str] = frozenset()

    def path(self, text: str) -> FilePath:
        return self.environment.path(text, self.folder)


def fingerprint(secret: str, namespace: str) -> str:
    """What Redis calls a secret: 20 hex digits of a hash keyed with the namespace, so that two namespaces do not tell
    whether they share a key."""
    key = b"sidecar:" + namespace.encode()
    if len(key) > hashlib.blake2b.MAX_KEY_SIZE:
        key = hashlib.blake2b(key).digest()
    return hashlib.blake2b(secret.encode(), key=key, digest_size=10).hexdigest()


def in_use(config: Config) -> frozenset[str]:
    """What a reload must not find empty: each key as `pool/id`, and where it stands, since the ids of variables go by
    position."""
    return frozenset(
        text for pool in config.pools.values() for key in pool.keys for text in (_label(pool.name, key.id), key.origin)
    )


def _label(pool: str, key: str) -> str:
    return f"{pool}/{key}"


def gather(pool: str, entry: PoolEntry, sources: Sources, *, needed: bool) -> list[Found]:
    """A pool's keys in config order, with unique ids, duplicates still among them.

    `needed` False (`auth: none`): a key may go without a secret, and without any key one is made up, since a rotation
    has to turn over something.
    """
    path: Path = ("pools", pool, "keys")
    found: list[Found] = []
    if isinstance(entry.keys, list):
        found += _listed(pool, entry.keys, path, sources, needed=needed)
    elif isinstance(entry.keys, KeySources):
        found += _from_sources(pool, entry.keys, path, sources)
    if entry.from_dir is not None:
        found += _from_dir(pool, entry.from_dir, ("pools", pool, "from_dir"), sources)
    if not found and not needed and entry.keys is None:
        found = [Found(f"{pool}-1", _stand_in(pool, f"{pool}-1"), sources.problems.place(path[:2], " "), path)]
    _check_ids(found, sources.problems)
    return found


def unique(pool: str, found: Iterable[Found], problems: Problems) -> list[Found]:
    """The keys without those whose secret an earlier one has, which are told."""
    first: dict[Secret, Found] = {}
    for key in found:
        kept = first.setdefault(key.secret, key)
        if kept is not key:
            same = f"{shown(key.id)} ({key.origin}) has the same secret as {shown(kept.id)} ({kept.origin})"
            problems.warn(("pools", pool), f"key {same}. They are one key, {shown(kept.id)}.")
    return list(first.values())


def from_env(pool: str, bases: Iterable[str], path: Path, sources: Sources) -> list[Found]:
    """The keys in the variables of these base names, called `<pool>-1`, `<pool>-2`, ... by position.

    A base name comes first, then `_0`, `_1`, `_2`, ... as far as there are any, with gaps, in numeric order.
    """
    found: list[Found] = []
    for name in (name for base in bases for name in variables(base, sources.environment)):
        origin = sources.environment.origin(name)
        texts = [text for text in sources.environment[name].split(",") if clean(text)] or [""]
        for text in texts:
            usable = _usable(text, origin, path, sources, _Holder(origin, "the variable"))
            if usable is not None:
                found.append(Found(f"{pool}-{len(found) + 1}", Secret(usable), origin, path))
    return found


def variables(base: str, environment: Iterable[str]) -> list[str]:
    """The names that belong to a base name and are there: itself, then the numbered ones in numeric order."""
    number = re.compile(re.escape(base) + r"(?:_(\d{1,9}))?\Z", re.ASCII)
    matches = [match for match in map(number.match, environment) if match]
    return [match[0] for match in sorted(matches, key=lambda match: (int(match[1] or -1), match[0]))]


def clean(text: str) -> str:
    """The text without what surrounds a pasted secret: spaces, line ends, a byte order mark, quotes."""
    return text.strip("\ufeff \t\r\n\"'")


def flaw(text: str) -> str | None:
    """Why no header can carry this text as a credential, or None."""
    if len(text) > _MAX_CHARACTERS:
        return f"is longer than {_MAX_CHARACTERS} characters"
    if any(character.isspace() for character in text):
        return "holds a space or a line break"
    if not text.isascii() or not text.isprintable():
        return "holds a character that no header can carry"
    return None


@dataclass(frozen=True, slots=True)
class _Holder:
    """What holds a secret: its name in Sources.running, and what it is, which to remove removes the key."""

    name: str
    what: str


def _usable(text: str, origin: str, path: Path, sources: Sources, holder: _Holder) -> str | None:
    """The cleaned secret; None after a warning where there is none, after an error where it cannot be one.

    None where a running key had one is an error too: a file that is cut off must not take keys away.
    """
    cleaned = clean(text)
    lacks = "is empty" if not cleaned else "is a placeholder, no key" if is_placeholder(cleaned) else ""
    if lacks and holder.name in sources.running:
        remedy = f"Give it one; to remove the key, remove {holder.what}."
        sources.problems.error(path, f"{origin} {lacks}, and a running key had its secret there. {remedy}")
        return None
    if lacks:
        sources.problems.warn(path, f"{origin} {lacks}, so it is left out.")
        return None
    wrong = flaw(cleaned)
    if wrong:
        sources.problems.error(path, f"{origin} {wrong}, so it is no key.")
        return None
    return cleaned


def _from_sources(pool: str, keys: KeySources, path: Path, sources: Sources) -> list[Found]:
    found: list[Found] = []
    if keys.from_env is None and keys.from_dir is None and not sources.problems.under(path):
        sources.problems.error(path, "says no source.", known=("from_env", "from_dir"))
    if keys.from_env is not None:
        bases = keys.from_env if isinstance(keys.from_env, list) else [keys.from_env]
        found += from_env(pool, _existing(bases, (*path, "from_env"), sources), (*path, "from_env"), sources)
    if keys.from_dir is not None:
        found += _from_dir(pool, keys.from_dir, (*path, "from_dir"), sources)
    return found


def _existing(bases: list[str], path: Path, sources: Sources) -> Iterator[str]:
    """The base names that have a variable; the others are told with the variables like them."""
    for base in bases:
        if not VARIABLE_NAME.match(base):
            sources.problems.error(path, f"{shown(base)} is no variable's name.")
        elif variables(base, sources.environment):
            yield base
        else:
            written = base.written if isinstance(base, Substituted) else base
            text = f"neither {shown(base)} nor a numbered one such as {shown(written + '_1')} is set."
            sources.problems.error(path, text, base, sources.environment.alike(base))


def _listed(pool: str, entries: list[KeyEntry], path: Path, sources: Sources, *, needed: bool) -> list[Found]:
    found = []
    for index, entry in enumerate(entries):
        here: Path = (*path, index)
        key = _one(pool, entry, here, sources, needed=needed)
        if key is not None:
            found.append(replace(key, entry=entry))
    return found


def _one(pool: str, entry: KeyEntry, path: Path, sources: Sources, *, needed: bool) -> Found | None:
    origin = sources.problems.place(path, " ")
    holder = _Holder(_label(pool, entry.id), "the entry")
    if entry.secret is not None and entry.secret_file is not None:
        sources.problems.error(path, "has both secret and secret_file. Leave one out.")
        return None
    if entry.secret is not None:
        text = _usable(entry.secret, "the secret", (*path, "secret"), sources, holder)
    elif entry.secret_file is not None:
        file = sources.path(entry.secret_file)
        sources.files.note(file)
        text = _read_file(file, f"file {shown(entry.secret_file)}", (*path, "secret_file"), sources, holder)
        origin = f"file {shown(entry.secret_file)}"
    elif not needed:
        return Found(entry.id, _stand_in(pool, entry.id), origin, path)
    elif sources.problems.under((*path, "secret")) or sources.problems.under((*path, "secret_file")):
        return None
    else:
        sources.problems.error(path, 'has no secret. Give it as secret: "${NAME}" or secret_file: PATH.')
        return None
    return Found(entry.id, Secret(text), origin, path) if text is not None else None


def _from_dir(pool: str, name: str, path: Path, sources: Sources) -> list[Found]:
    """A key from each file of a folder, sorted by name, called like the file; what begins with a dot is not one:
    Kubernetes keeps `..data` and the folders behind it beside the files."""
    folder = sources.path(name)
    sources.files.note(folder)
    try:
        entries = sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))  # noqa: PTH208
        files = [entry for entry in entries if not (folder / entry).is_dir()]
    except (OSError, ValueError) as error:
        sources.problems.error(path, f"{shown(name)} cannot be read: {_reason(error)}.")
        return []
    found = []
    for file in files:
        holder = _Holder(_label(pool, file), "the file")
        text = _read_file(folder / file, f"file {shown(file)}", path, sources, holder)
        if text is not None:
            found.append(Found(file, Secret(text), f"file {shown(os.fspath(FilePath(name) / file))}", path))
    return found


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is no path"


def _read_file(file: FilePath, origin: str, path: Path, sources: Sources, holder: _Holder) -> str | None:
    """The one secret of a file. A pipe or a device is refused unopened: it could block the start."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            sources.problems.error(path, f"{origin} is no regular file.")
            return None
        with file.open("rb") as opened:
            text = opened.read(4 * _MAX_CHARACTERS).decode()
    except UnicodeDecodeError:
        sources.problems.error(path, f"{origin} is not UTF-8, so it is no key.")
        return None
    except (OSError, ValueError) as error:
        sources.problems.error(path, f"{origin} cannot be read: {_reason(error)}.")
        return None
    return _usable(text, origin, path, sources, holder)


def _check_ids(found: list[Found], problems: Problems) -> None:
    seen: dict[str, Found] = {}
    for key in found:
        where: Path = (*key.path, "id") if key.entry else key.path
        if not ID.match(key.id):
            problems.error(where, f"{shown(key.id)} is no key id. It is {ID_RULE}.")
        elif seen.setdefault(key.id, key) is not key:
            first = seen[key.id]
            problems.error(where, f"{shown(key.id)} ({key.origin}) is the id of another key ({first.origin}).")
    if len(found) > _MAX_KEYS:
        problems.error(found[0].path[:2], f"has {len(found)} keys. A pool holds at most {_MAX_KEYS}.")


def check_names(keys: Iterable[Found], clients: Iterable[Client], tokens: Iterable[Secret], problems: Problems) -> None:
    """Tells ids and accounts that are, or hold, a secret of the config, which they would show to everybody."""
    keys, clients = list(keys), list(clients)
    secrets = {*(key.secret for key in keys), *(secret for client in clients for secret in client.secrets), *tokens}
    named: list[tuple[Path, str]] = [((*key.path, "id") if key.entry else key.path, key.id) for key in keys]
    named += [((*key.path, "account"), str(key.entry.account)) for key in keys if key.entry and key.entry.account]
    named += [(("clients", index, "id"), client.id) for index, client in enumerate(clients)]
    tells = telling(secrets)
    for path, name in named:
        if tells(name):
            text = "holds a secret, and names stand in logs, metrics and Redis. Choose another."
            problems.error(path, f"the name of the key's file {text}" if path[-1] == "from_dir" else text)


def telling(secrets: Iterable[Secret]) -> Callable[[str], bool]:
    """Whether a name is, or holds, one of these secrets, or what could be a virtual key: what it costs grows with the
    name, not with the secrets."""
    known = {text for text in (secret.reveal() for secret in secrets) if len(text) >= _LEAST_TOLD}
    lengths = {len(text) for text in known}
    return lambda name: (
        SHAPE.search(name) is not None
        or any(name[at : at + length] in known for length in lengths for at in range(len(name) - length + 1))
    )


def _stand_in(pool: str, key: str) -> Secret:
    """Stands where an API wants no key. It is never sent, and not empty: what hides secrets replaces their text."""
    return Secret(f"no-secret:{pool}/{key}")


# --- placeholders -----------------------------------------------------------------------------------

_BRACKETED = re.compile(r"<.*>|\[.*\]|\{.*\}|\$\{.*|\$\(.*|\$[A-Z_][A-Z0-9_]*|%[A-Z0-9_]+%", re.DOTALL)
_FILLED = re.compile(r"[xX*•._-]{3,}|.*(?:x{6}|X{6}|\*{3}|•{3}|\.{3}|…).*", re.DOTALL)
_GLUED = re.compile(r"\AAIza(?:Sy)?")  # Google's prefix: nothing divides it from what follows
_SEPARATORS = re.compile(r"[\W_]+")
_ORDINARY = re.compile(r"([^\W\d_]{1,16})\d{0,4}|\d+")  # longer ones are no word of a language
_NAME = re.compile(r"(?:my_?(?:[a-z]+_)?)?api_?key|null|undefined")
_PHRASE = re.compile(
    r"(?:^|_)(?:your[a-z]*|change_?(?:me|this|it)|replace(?:_?me|_?this|_?it)?|fill_?(?:me|in|this)|insert|paste|todo|tbd"
    r"|fixme|placeholder|redacted|x{3,}|(?:enter|put|add|set)_(?:api_?)?(?:key|token|secret)"
    r"|(?:key|token|secret|goes)_?here)(?:_|$)"
)


def is_placeholder(text: str) -> bool:
    """Whether a template left this where a key belongs: `your_key_here`, `sk-or-v1-changeme`, `<api key>`, `xxxx`.

    A real key has a part that is neither a number nor a word with at most a short number behind it (`api03`), so
    phrases count only where every part is one. `test`, `dummy` and `none` are keys: local servers are given them.
    """
    if _BRACKETED.fullmatch(text) or _FILLED.fullmatch(text):
        return True
    parts = [part.lower() for part in _SEPARATORS.split(_GLUED.sub("", text)) if part]
    matches = [_ORDINARY.fullmatch(part) for part in parts]
    words = [match[1] for match in matches if match and match[1]]
    return all(matches) and bool(_NAME.fullmatch("_".join(parts)) or _PHRASE.search("_".join(words)))
