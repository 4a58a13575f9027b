"""Where a URL names a thing: as somebody finds it who takes the URL apart."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers.belonging import named

COLLECTIONS = ("files", "cachedContents", "batches", "tunedModels", "corpora", "fileSearchStores", "operations")
OWNERS = ("models", "tunedModels", "corpora", "fileSearchStores")
ODD = ("", "v1beta", "a", "a.b-c", "a:download?alt=media", "a!", "a b", "x" * 100, "x" * 101, "x" * 121, "x" * 201)


def first(text: str) -> list[str]:
    """The first resource of a URL, or of a name that stands alone; and of two the one below the other."""
    begin = re.match(r"https?:", text)
    segments = text[begin.end() if begin else 0 :].split("/")

    def resource(at: int) -> str:
        found = re.match(r"[A-Za-z0-9_.-]{1,120}(?=[:/?]|$)", (*segments, "", "")[at + 1])
        return f"{segments[at]}/{found[0]}" if segments[at : at + 1] and segments[at] in COLLECTIONS and found else ""

    at = 0
    while begin and at < min(16, len(segments) - 1) and not resource(at) and len(segments[at]) <= 200:
        at += 1
    if len(text) > 640 or " " in text or (begin and not at):
        return []
    below = segments[at] in OWNERS and 0 < len((*segments, "")[at + 1]) <= 100 and at + 2 < len(segments)
    return [found for found in [(below and resource(at + 2)) or resource(at)] if found]


@given(
    st.sampled_from(["", "https://", "http:/", "https:", "https://host/v1beta/"]),
    st.lists(st.sampled_from([*COLLECTIONS, *OWNERS, *OWNERS, *ODD, *ODD]), max_size=20),
)
def test_a_resource_is_found_as_a_slow_reader_finds_it(begin: str, segments: list[str]) -> None:
    text = begin + "/".join(segments)
    assert list(named("models/g:generateContent", "", json.dumps({"uri": text}).encode())) == first(text)
