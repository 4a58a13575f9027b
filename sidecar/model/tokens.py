"""Virtual keys: known by a digest, and found in texts by their shape where no other trace of them is kept."""

from __future__ import annotations

import hashlib
import re

PREFIX = "sk-sidecar-"
LENGTH = len(PREFIX) + 43  # characters: 32 random bytes in the alphabet of URLs
# Of one that was cut off too, as long as what is left of it could be a help.
SHAPE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{8,43}}")


def digest(token: str) -> str:
    """64 hex digits by which a virtual key is known, one that was made here or one that somebody chose.

    A plain SHA-256: of 256 random bits nothing is found by trying, however cheap a try is, and a hash that is slow for
    the sake of passwords would cost each request what it costs a thief.
    """
    return hashlib.sha256(token.encode()).hexdigest()
