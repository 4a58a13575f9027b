"""Scripts are put together from their parts, and their errors are traced back to where they were written."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from sidecar.store import scripts
from sidecar.store.scripts import ScriptError, join


def lua(folder: Path, **files: str) -> Path:
    """A folder of Lua files; `parts_x` is `parts/x.lua`."""
    (folder / "parts").mkdir()
    for name, text in files.items():
        (folder / f"{name.replace('parts_', 'parts/')}.lua").write_text(text)
    return folder


def test_parts_come_first_in_the_order_of_their_use(tmp_path: Path) -> None:
    folder = lua(tmp_path, cmd="-- head\n--@ use b a\nreturn a + b\n", parts_a="local a = 1\n", parts_b="local b = 2\n")
    script = join("cmd", folder)
    assert script.text == "local b = 2\nlocal a = 1\nreturn a + b\n"
    assert script.sha == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()


def test_script_without_parts_is_itself(tmp_path: Path) -> None:
    assert join("cmd", lua(tmp_path, cmd="return 1\n")).text == "return 1\n"


def test_missing_part_is_told_with_who_uses_it(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"lua/cmd\.lua uses parts/gone\.lua, which does not exist"):
        join("cmd", lua(tmp_path, cmd="--@ use gone\n"))


def test_part_named_twice_is_told_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"lua/cmd\.lua:2: uses a twice"):
        join("cmd", lua(tmp_path, cmd="-- head\n--@ use a b a\n", parts_a="", parts_b=""))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("user_script:3: no", "lua/cmd.lua:4: no"),
        (
            "user_script:1: no script: 5a, on @user_script:1.",
            "lua/parts/a.lua:2: no script: 5a, on @lua/parts/a.lua:2.",
        ),
        ("... (call to f_5a): @user_script: 2: no", "... (call to f_5a): @lua/parts/a.lua:4: no"),
        ('[string "<python>"]:1: no\nstack traceback:\n more', "lua/parts/a.lua:2: no"),
        ("user_script:99: no", "lua/cmd:0: no"),
        ("WRONGTYPE no place", "WRONGTYPE no place"),
    ],
    ids=["redis 7", "redis 7, twice", "redis 6", "fakeredis", "beyond the end", "without a line"],
)
def test_error_is_traced_to_file_and_line(tmp_path: Path, message: str, told: str) -> None:
    """Comments and blank lines are not sent, and still the lines are those of the file."""
    folder = lua(tmp_path, cmd="-- head\n--@ use a\n\nreturn a\n", parts_a="-- why\nlocal a = 1\n\na = a + 1\n")
    assert join("cmd", folder).locate(message) == told


@pytest.mark.parametrize("name", scripts.NAMES)
def test_every_script_has_a_header(name: str) -> None:
    """What it does, KEYS, ARGV, what it returns and what it costs."""
    text = (scripts.folder() / f"{name}.lua").read_text()
    assert re.match(rf"-- {name}: .+\n--\n-- KEYS  .+", text)
    for word in ("ARGV", "returns", "cost"):
        assert f"\n-- {word}  " in text


def test_every_lua_file_is_a_script_or_a_part_that_one_uses() -> None:
    folder = scripts.folder()
    assert sorted(file.stem for file in folder.glob("*.lua")) == sorted(scripts.NAMES)
    used = {part for name in scripts.NAMES for part in scripts._parts(folder / f"{name}.lua")}
    assert {file.stem for file in (folder / "parts").glob("*.lua")} == used


@pytest.mark.parametrize("name", scripts.NAMES)
def test_scripts_use_only_what_fakeredis_has_too(name: str) -> None:
    """string, table, math and cjson; Redis's other libraries are not everywhere."""
    text = scripts.load(name).text
    assert not set(re.findall(r"\b([a-z]+)\.\w+", text)) & {"cmsgpack", "struct", "bit", "os", "io"}
    assert set(re.findall(r"\bredis\.(\w+)", text)) <= {"call", "pcall"}


def test_readme_names_every_script_and_part() -> None:
    text = (scripts.folder() / "README.md").read_text()
    for file in scripts.folder().rglob("*.lua"):
        assert f"`{file.relative_to(scripts.folder()).as_posix()}`" in text
