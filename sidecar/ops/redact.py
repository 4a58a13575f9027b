"""Secrets are revealed here to be found in a text, so that their ids stand there instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from sidecar.model.words import Config

Redact = Callable[[str], str]


def redactor(config: Config) -> Redact:
    """A function that replaces every key's secret, client's token and password of the config by its id.

    A secret is also found as a URL's query would hold it. Where one begins another, the longer one is meant.
    """
    ids: dict[str, str] = {}
    for secret, name in _secrets(config):
        for form in (secret, quote(secret, safe="")):
            ids.setdefault(form, name)
    ids.pop("", None)
    if not ids:
        return lambda text: text
    found = re.compile("|".join(re.escape(secret) for secret in sorted(ids, key=len, reverse=True)))
    return lambda text: found.sub(lambda match: ids[match[0]], text)


def _secrets(config: Config) -> Iterator[tuple[str, str]]:
    for pool in config.pools.values():
        for key in pool.keys:
            yield key.secret.reveal(), key.id
    for client in config.clients:
        yield client.token.reveal(), client.id
    if config.admin_token is not None:
        yield config.admin_token.reveal(), "admin_token"
    url = urlsplit(config.redis)
    passwords = [url.password or "", *(value for name, value in parse_qsl(url.query) if name == "password")]
    for password in passwords:
        yield password, "redis-password"
        yield unquote(password), "redis-password"
