"""Texts into data: units, YAML without its surprises, `${NAME}`."""

from __future__ import annotations

import pytest

from sidecar.config.problems import ConfigError
from sidecar.config.read import duration_us, parse, size_bytes

from .conftest import Desk

POOL = "pools: {p: {provider: openai, keys: [{id: a, secret: k1}]%s}}"


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("500ms", 500_000),
        ("30s", 30_000_000),
        ("5m", 300_000_000),
        ("24h", 86_400_000_000),
        ("1.5s", 1_500_000),
        ("1h30m", 5_400_000_000),
        ("0s", 0),
        (0, 0),
    ],
)
def test_duration(text: str | int, us: int) -> None:
    assert duration_us(text) == us


@pytest.mark.parametrize("text", ["", "s", "10", 10, "-5s", "5 m", "1e3s", "5M", "3d", "minute", "٣s"])
def test_no_duration(text: str | int) -> None:
    assert duration_us(text) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100MiB", 104_857_600),
        ("64KiB", 65_536),
        ("1GiB", 2**30),
        ("1.5KiB", 1536),
        ("10MB", 10_000_000),
        ("5k", 5000),
        ("7B", 7),
        (42, 42),
    ],
)
def test_size(text: str | int, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1TiB", "1 2", "big"])
def test_no_size(text: str) -> None:
    assert size_bytes(text) is None


def test_words_of_old_yaml_stay_texts() -> None:
    """Model names and ids are not turned into times, dates, octal numbers or booleans."""
    text = "[on, no, 1:30, 2025-01-01, 010, 1_000, 1e3, .5]"
    assert parse(text, "x") == ["on", "no", "1:30", "2025-01-01", "010", "1_000", "1e3", ".5"]
    assert parse("[true, 5, -7, 1.5, ~, null, ]", "x") == [True, 5, -7, 1.5, None, None]


def test_json_is_read_as_json() -> None:
    assert parse('{\n\t"a": "\\ud83d\\ude00\\/"}', "x") == {"a": "😀/"}


def test_merged_mapping_may_override_a_name() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}"
    assert parse(text, "x") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 3, "y": 4}}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: {b: 1\nc: [}", "x: line 2, column "),
        ("a: b: c", "x: line 1, column "),
        ("a: *missing-secret", "x: line 1, column "),
        ("a: !secret-tag b", "x: line 1, column "),
        ("a: 1\n---\nb: 2", "x: line 2, column "),
        ("a: \x00", "x: has a character"),
        ("{[a]: 1, [a]: 2}", "x: line 1, column "),
    ],
)
def test_broken_yaml_gives_the_place_and_none_of_the_text(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, "x")
    assert str(raised.value).startswith(where)
    assert "secret" not in str(raised.value)


def test_aliases_that_swell_are_refused(desk: Desk) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    assert "comes to too much by its aliases" in desk.refused("\n".join(rows))
    assert "nested too deeply" in desk.refused("a: &a [*a]")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "- " * 100_000, "[" * 31 + "]" * 31])
def test_text_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="x: is nested too deeply"):
        parse(text, "x")


def test_variables_fill_texts_and_numbers(desk: Desk) -> None:
    text = POOL % ", max_attempts: '${N}', retry_unsafe: '${YES}', max_wait: '${N}s'"
    pool = desk.load(text, {"N": "7", "YES": "true"}).pools["p"]
    assert (pool.max_attempts, pool.retry_unsafe, pool.max_wait_us) == (7, True, 7_000_000)


def test_value_of_a_variable_is_shown_by_its_name(desk: Desk) -> None:
    assert 'per: "${WINDOW}" is no window.' in desk.refused(
        POOL % ", limits: [{requests: 1, per: '${WINDOW}'}]", {"WINDOW": "hunter2"}
    )


def test_env_file_serves_variables_below_the_real_environment(desk: Desk) -> None:
    desk.write(".env", "export A='one' # comment\nB=two\n")
    text = "pools: {p: {provider: openai, keys: [{id: a, secret: '${A}'}, {id: b, secret: '${B}'}]}}"
    keys = desk.load(text, {"B": "real"}).pools["p"].keys
    assert [key.secret.reveal() for key in keys] == ["one", "real"]


MEND = "Mend it (is a quote never closed?), or begin it with #."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"A=1\n\n= what\nB='2\n", f".env: line 3 is no NAME=value. {MEND}\n.env: line 4 is no NAME=value. {MEND}"),
        (b"A=1\n# caf\xe9\n", ".env: line 2 is not UTF-8. Save the file as UTF-8."),
        (
            b"#" * 1024 * 1024 + b"\nA=1\n",
            ".env: is larger than 1048576 bytes. Move it away, or leave NAME=value in it.",
        ),
        (None, ".env: cannot be read: Is a directory. Mend it, or move it away."),
    ],
    ids=["lines", "Latin-1", "large", "folder"],
)
def test_env_file_that_cannot_be_read_to_its_end_is_an_error(desk: Desk, content: bytes | None, told: str) -> None:
    """What was meant to stand there may be keys."""
    file = desk.folder / ".env"
    file.mkdir() if content is None else file.write_bytes(content)
    assert desk.refused(POOL % "", {"A": "1"}) == told
