"""What an answer says at its ends where it is too long to be kept: an image stands in the middle."""

from __future__ import annotations

import json
import re
from contextlib import suppress

HEAD_BYTES = 1024  # of an event: its name, or the type with which its object begins
TAIL_BYTES = 16 * 1024  # of an event or a body: its finish reason and its usage

_NAMED = re.compile(rb'^(?:event: ?([\w.]+)$|data: ?\{\s*"(?:event_)?type"\s*:\s*"([\w.]+)")', re.MULTILINE)
_FINISHED = re.compile(rb'"finishReason"\s*:\s*"(\w+)"')
_USAGE = re.compile(rb'"(usage|usageMetadata|meta)"\s*:\s*(\{)')
_decoder = json.JSONDecoder()


def usage(tail: bytes) -> bytes:
    """The last object called usage as a member of JSON; b"" for none. In a string its quotes would be escaped."""
    for found in reversed(list(_USAGE.finditer(tail))):
        text = tail[found.start(2) :].decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            return b'"%s":%s' % (found[1], text[: _decoder.raw_decode(text)[1]].encode())
    return b""


def event(head: bytes, tail: bytes) -> bytes:
    """An event of what both ends of one tell: its name and type, Gemini's finish reason, its usage; b"" for nothing."""
    named, finished = _NAMED.search(head), _FINISHED.findall(tail)
    name = (named[1] or named[2]) if named else b""
    members = [
        b'"type":"%s"' % name if name else b"",
        b'"candidates":[{"finishReason":"%s"}]' % finished[-1] if finished else b"",
        usage(tail),
    ]
    told = b",".join(filter(None, members))
    return (b"event: %s\n" % name if name else b"") + b"data: {%s}" % told if told else b""
