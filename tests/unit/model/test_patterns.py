"""Names with `*` match whole names, and the nearest pattern wins."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.patterns import matches, nearest, overlap


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("gpt-4", "gpt-4", True),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4*", "gpt-4", True),
        ("gpt-4*", "gpt-4o-mini", True),
        ("*", "", True),
        ("*", "any/thing", True),
        ("*-pro", "gemini-2.5-pro", True),
        ("*-pro", "gemini-2.5-pro-latest", False),
        ("gemini-*-pro*", "gemini-2.5-pro-latest", True),
        ("gemini-2.5*", "gemini-2x5", False),  # a dot is a dot
        ("a[bc]?", "ab1", False),  # no other character is special
        ("a[bc]?", "a[bc]?", True),
        ("GPT*", "gpt-4", False),
        ("a*b", "a\nb", True),
        ("", "", True),
        ("", "x", False),
    ],
)
def test_pattern_matches_the_whole_name(pattern: str, name: str, fits: bool) -> None:
    assert matches(pattern, name) is fits


@given(st.text(alphabet="ab*.[", max_size=8), st.text(alphabet="ab.[", max_size=8))
def test_matching_is_what_trying_every_cut_finds(pattern: str, name: str) -> None:
    def by_hand(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(by_hand(pattern[1:], name[i:]) for i in range(len(name) + 1))
        return bool(name) and name[0] == pattern[0] and by_hand(pattern[1:], name[1:])

    assert matches(pattern, name) == by_hand(pattern, name)


@pytest.mark.parametrize(
    ("patterns", "name", "found"),
    [
        (("*", "claude-*", "claude-3*"), "claude-3-opus", "claude-3*"),
        (("*", "claude-*"), "gpt-4", "*"),
        (("gpt-4*", "gpt-4"), "gpt-4", "gpt-4"),
        (("gpt-4-long-*", "gpt-4"), "gpt-4", "gpt-4"),
        (("*-x", "a-*"), "a-x", "*-x"),
        (("claude-*",), "gpt-4", None),
        ((), "gpt-4", None),
    ],
)
def test_nearest_is_the_name_itself_else_the_longest_else_the_first(
    patterns: tuple[str, ...], name: str, found: str | None
) -> None:
    assert nearest(patterns, name) == found


NAMES = ["".join(name) for length in range(7) for name in product("ab", repeat=length)]


@given(st.text(alphabet="ab*", max_size=3), st.text(alphabet="ab*", max_size=3))
def test_patterns_overlap_where_a_name_fits_both(one: str, other: str) -> None:
    """The shortest such name has no letter that is in neither."""
    assert overlap(one, other) == any(matches(one, name) and matches(other, name) for name in NAMES)


def test_patterns_overlap_as_models_are_called() -> None:
    assert overlap("gpt-*", "gpt-4o*")
    assert overlap("*-pro", "gemini-*")
    assert not overlap("claude-*", "gpt-4o*")
    assert not overlap("*-pro", "gemini-*-flash")
