"""The certificate of `listen`, replaced as a whole: a new handshake gets the latest, open connections keep theirs.

A context that is told to load another pair could be left with half of it where the files change meanwhile, so each pair
has a context of its own, and the one that listens hands handshakes on to the latest.
"""

from __future__ import annotations

import ssl

from sidecar.model.configured import Tls


class Certificates:
    """What `listen` presents."""

    def __init__(self, tls: Tls) -> None:
        """Raises OSError where a file cannot be read or used."""
        self._told, self._latest = tls, _context(tls)
        self.listening = self._latest
        self.listening.sni_callback = self._hand_on

    def follow(self, tls: Tls) -> None:
        """Presents another pair from here on. Raises OSError where it cannot; then it presents the former."""
        if tls != self._told:
            self._latest, self._told = _context(tls), tls

    def _hand_on(self, handshake: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _at: ssl.SSLContext) -> None:
        handshake.context = self._latest


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(tls.cert, tls.key)
    return context
