"""A key is added where its pool's keys come from, and nothing else changes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.config import ConfigError, load
from sidecar.config.edit import Addition, Asked, Place, plan, save, usable
from sidecar.config.yaml_edit import with_item
from sidecar.model.configured import Secret

from .conftest import Desk

NEW = "sk-newQ9zz1"


def add(desk: Desk, pool: str = "", environ: Mapping[str, str] | None = None, **asked: str) -> Addition:
    key = Secret(asked.pop("secret", NEW))
    addition = plan(Asked(key, pool, **asked), Place(None, environ or {}, desk.folder))
    save(addition)
    return addition


def refused(desk: Desk, pool: str = "", environ: Mapping[str, str] | None = None, **asked: str) -> str:
    """Why nothing was added; no file is touched."""
    before = tree(desk.folder)
    with pytest.raises(ConfigError) as raised:
        add(desk, pool, environ, **asked)
    assert tree(desk.folder) == before
    assert NEW not in str(raised.value)
    return str(raised.value)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def keys(desk: Desk, pool: str, environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    found = load(None, environ or {}, desk.folder).pools[pool].keys
    return [(key.id, key.secret.reveal()) for key in found]


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


# --- variables ----------------------------------------------------------------------------------------


def test_the_first_key_of_all_makes_a_pool(desk: Desk) -> None:
    addition = add(desk, "openai")
    assert (addition.pool, addition.id, addition.where) == ("openai", "openai-1", ".env OPENAI_API_KEY")
    assert (desk.folder / ".env").read_text() == f"OPENAI_API_KEY={NEW}\n"
    assert mode(desk.folder / ".env") == 0o600
    assert add(desk, "gemini", secret="AIzaQ9zz1").id == "gemini-1"


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ({"K": "a1"}, "K_1"),
        ({"K": "a1", "K_1": "a2"}, "K_2"),
        ({"K_1": "a1", "K_3": "a2"}, "K_4"),
        ({"K_9": "a1", "K_10": "a2"}, "K_11"),
        ({"K_99": "a1,a2"}, "K_100"),
    ],
)
def test_a_variable_takes_the_number_behind_all(desk: Desk, there: Mapping[str, str], name: str) -> None:
    """A gap stays one: ids go by position, and those that there are must not move."""
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, keys: {from_env: K}}}")
    before = keys(desk, "p", there)
    assert add(desk, "", there).where == f".env {name}"
    assert keys(desk, "p", there) == [*before, (f"p-{len(before) + 1}", NEW)]


def test_of_two_base_names_the_last_one_gets_the_key(desk: Desk) -> None:
    desk.write(".env", "GEMINI_API_KEY=a1\nGOOGLE_API_KEY=a2\n")
    assert add(desk).where == ".env GOOGLE_API_KEY_1"
    assert keys(desk, "gemini") == [("gemini-1", "a1"), ("gemini-2", "a2"), ("gemini-3", NEW)]


@pytest.mark.parametrize("text", ["# mine\nK=a1", "K=a1\n\n# end\n", "K='a1'\r\nX=2\r\n", "\ufeffK=a1\n"])
def test_what_stands_in_the_env_file_stays(desk: Desk, text: str) -> None:
    """Its comments, its line ends and its mode; a last line without an end gets one."""
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, keys: {from_env: K}}}")
    file = desk.folder / ".env"
    file.write_bytes(text.encode())
    file.chmod(0o640)
    add(desk)
    new = file.read_bytes().decode()
    assert new.startswith(text.removeprefix("\ufeff"))
    assert ("\r\n" in text) == new.endswith(f"K_1={NEW}\r\n")
    assert (mode(file), keys(desk, "p")[1:]) == (0o640, [("p-2", NEW)])


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o602, 0o600), (0o640, 0o640), (0o600, 0o600)])
def test_a_file_that_a_secret_goes_to_is_open_to_everyone_no_more(desk: Desk, before: int, after: int) -> None:
    """Also behind a link. A group that has access keeps it: it may be that of the service."""
    target = desk.write("shared/env", "OPENAI_API_KEY=a1\n")
    target.chmod(before)
    (desk.folder / ".env").symlink_to(target)
    addition = plan(Asked(Secret(NEW)), Place(None, {}, desk.folder))
    assert save(addition) == (before != after)
    assert mode(target) == after


def test_a_link_to_the_env_file_stays_a_link(desk: Desk) -> None:
    target = desk.write("shared/env", "OPENAI_API_KEY=a1\n")
    (desk.folder / ".env").symlink_to(target)
    add(desk)
    assert (desk.folder / ".env").is_symlink()
    assert target.read_text().endswith(f"OPENAI_API_KEY_1={NEW}\n")


@pytest.mark.parametrize("secret", ["a'b\\c#d", 'q"1Q9', "x$HOME1Q9", "p=q;r&s1"])
def test_a_secret_of_odd_letters_is_read_as_it_was_given(desk: Desk, secret: str) -> None:
    add(desk, "openai", secret=secret)
    assert keys(desk, "openai") == [("openai-1", secret)]


def test_an_env_file_that_would_swallow_the_line_is_left_alone(desk: Desk) -> None:
    desk.write(".env", "OPENAI_API_KEY=a1\nX='never closed\n")
    assert ".env: line 2 is no NAME=value" in refused(desk, secret='wants"quotes1Q9')


# --- lists of the file --------------------------------------------------------------------------------

LISTS = {
    "a line each": (
        "pools:\n  p:  # mine\n    provider: openai\n    keys:\n"
        "      - {id: a, secret: a1}  # first\n      # the end\n    max_wait: 1s # wait\n",
        '      - {id: a, secret: a1}  # first\n      - {id: p-2, secret: "${P_2_API_KEY}"}\n      # the end\n',
    ),
    "a block each": (
        "pools:\n  p:\n    keys:\n    - id: a\n      secret: a1\n      # of a\n\n    # of p\n    provider: openai\n",
        '    - id: a\n      secret: a1\n      # of a\n    - id: p-2\n      secret: "${P_2_API_KEY}"\n\n    # of p\n',
    ),
    "no end of line": (
        "pools:\n  p:\n    provider: openai\n    keys:\n      - id: a\n        secret: a1",
        '        secret: a1\n      - id: p-2\n        secret: "${P_2_API_KEY}"\n',
    ),
    "a folded secret": (
        "pools:\n  p:\n    provider: openai\n    keys:\n      - id: a\n        secret: >-\n          a1\n\n# end\n",
        '          a1\n      - id: p-2\n        secret: "${P_2_API_KEY}"\n\n# end\n',
    ),
    "brackets": (
        "pools: {p: {provider: openai, keys: [{id: a, secret: a1}]}} # x\n",
        '[{id: a, secret: a1}, {id: p-2, secret: "${P_2_API_KEY}"}]}} # x\n',
    ),
    "brackets over lines": (
        "pools:\n  p:\n    provider: openai\n    keys: [\n      {id: a, secret: a1}  # first\n    ]\n",
        '      {id: a, secret: a1},  # first\n      {id: p-2, secret: "${P_2_API_KEY}"}\n    ]\n',
    ),
    "a comma at the end": (
        "pools:\n  p:\n    provider: openai\n    keys: [\n      {id: a, secret: a1},\n    ]\n",
        '      {id: a, secret: a1},\n      {id: p-2, secret: "${P_2_API_KEY}"},\n    ]\n',
    ),
    "json": (
        '{"pools": {"p": {"provider": "openai", "keys": [\n  {"id": "a", "secret": "a1"}\n]}}}',
        '  {"id": "a", "secret": "a1"},\n  {"id": "p-2", "secret": "${P_2_API_KEY}"}\n]}}}',
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_an_entry_goes_behind_the_last_one_and_all_else_stays(desk: Desk, name: str) -> None:
    text, expected = LISTS[name]
    file = desk.write("sidecar.yaml", text)
    file.chmod(0o644)
    addition = add(desk)
    new = file.read_text()
    assert expected in new
    assert keys(desk, "p") == [("a", "a1"), ("p-2", NEW)]
    assert (addition.id, mode(file), mode(desk.folder / ".env")) == ("p-2", 0o644, 0o600)
    assert NEW not in new


def test_comments_and_line_ends_of_the_file_stay(desk: Desk) -> None:
    text = LISTS["a block each"][0].replace("\n", "\r\n")
    (desk.folder / "sidecar.yaml").write_bytes(text.encode())
    add(desk)
    new = (desk.folder / "sidecar.yaml").read_bytes().decode()
    assert [line for line in new.split("\r\n") if "p-2" not in line and "P_2" not in line] == text.split("\r\n")


def test_a_key_may_be_given_a_name(desk: Desk) -> None:
    desk.write("sidecar.yaml", LISTS["brackets"][0])
    assert add(desk, id="team-c").id == "team-c"
    assert (desk.folder / ".env").read_text() == f"P_TEAM_C_API_KEY={NEW}\n"


def test_the_secrets_variable_is_no_other_pools(desk: Desk) -> None:
    """Neither one that is taken nor one that a base name would read."""
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, keys: [{id: a, secret: a1}]}}")
    add(desk, environ={"P_2_API_KEY": "other"})
    assert (desk.folder / ".env").read_text() == f"P_2_API_KEY_1={NEW}\n"


def test_a_list_that_two_pools_share_is_left_to_its_author(desk: Desk) -> None:
    text = (
        "pools:\n  p: {provider: openai, keys: &k [{id: a, secret: a1}]}\n"
        "  q: {base_url: http://h, dialect: openai, keys: *k}\n"
    )
    desk.write("sidecar.yaml", text)
    told = refused(desk, "p")
    assert "no command can add to it" in told
    assert '{id: p-2, secret: "${P_2_API_KEY}"}' in told


def test_item_of_what_is_no_list_is_none() -> None:
    assert with_item("a: {b: 1}", ("a", "b"), {"id": "x"}) is None
    assert with_item("a: []", ("a",), {"id": "x"}) is None


# --- folders ------------------------------------------------------------------------------------------


def test_a_key_of_a_folder_is_a_file_of_its_own(desk: Desk) -> None:
    desk.write("keys/b", "b1\n")
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, keys: {from_dir: keys}}}")
    addition = add(desk, id="team-c")
    assert addition.where == 'file "keys/team-c"'
    assert (mode(desk.folder / "keys/team-c"), keys(desk, "p")) == (0o600, [("b", "b1"), ("team-c", NEW)])
    assert sorted(tree(desk.folder / "keys")) == [str(desk.folder / "keys" / name) for name in ("b", "team-c")]


def test_a_folder_may_lie_in_the_users_home(desk: Desk) -> None:
    desk.write("home/keys/b", "b1\n")
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, keys: {from_dir: ~/keys}}}")
    environ = {"HOME": str(desk.folder / "home")}
    assert add(desk, "", environ, id="c").where == 'file "~/keys/c"'
    assert keys(desk, "p", environ) == [("b", "b1"), ("c", NEW)]


def test_a_folder_that_kubernetes_mounts_is_left_alone(desk: Desk) -> None:
    desk.write("keys/..2025/b", "b1\n")
    (desk.folder / "keys/..data").symlink_to("..2025")
    (desk.folder / "keys/b").symlink_to("..data/b")
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, from_dir: keys}}")
    assert "is mounted by Kubernetes" in refused(desk)


def test_a_file_that_is_there_is_not_written_over(desk: Desk) -> None:
    """Also one that is no key yet."""
    desk.write("keys/a", "a1")
    desk.write("keys/b", "")
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, from_dir: keys}}")
    assert "cannot be the name of a new file" in refused(desk, id="b")


# --- what is refused ----------------------------------------------------------------------------------


def test_a_key_that_the_pool_has_is_told_by_its_id(desk: Desk) -> None:
    environ = {"OPENAI_API_KEY": "a1", "OPENAI_API_KEY_4": NEW}
    assert refused(desk, "", environ) == 'pool "openai" has this key already: "openai-2" (env OPENAI_API_KEY_4).'


def test_a_key_that_another_pool_has_is_one_account(desk: Desk) -> None:
    text = "pools: {p: {provider: openai, keys: {from_env: K}}, q: {provider: openai, keys: {from_env: Q}}}"
    desk.write("sidecar.yaml", text)
    addition = add(desk, "p", {"K": "a1", "Q": NEW})
    assert addition.also == ("q/q-1",)


@pytest.mark.parametrize(
    ("pool", "asked", "told"),
    [
        ("", {}, "there are several pools. Name one.\n  Known: p, q."),
        ("pp", {}, '"pp" is no pool. Did you mean "p"?'),
        ("p", {"id": "a b"}, '"a b" is no key id.'),
        ("p", {"id": "a"}, '"a" is the id of another key of the pool'),
        ("q", {"id": "x"}, "are called by their position"),
        ("none", {}, "has no keys: its API wants none"),
    ],
)
def test_what_cannot_be_added_says_why(desk: Desk, pool: str, asked: Mapping[str, str], told: str) -> None:
    more = ", none: {base_url: http://h, auth: none}" if pool == "none" else ""
    desk.write(
        "sidecar.yaml",
        f"pools: {{p: {{provider: openai, keys: [{{id: a, secret: a1}}]}},"
        f" q: {{provider: openai, keys: {{from_env: K}}}}{more}}}",
    )
    assert told in refused(desk, pool, {"K": "b1"}, **asked)


def test_without_a_pool_a_provider_must_be_named(desk: Desk) -> None:
    assert refused(desk).startswith("there is no pool yet. Name a provider.\n  Known: gemini, openai,")
    assert '"opnai" is no provider. Did you mean "openai"?' in refused(desk, "opnai")


def test_a_config_that_cannot_be_used_is_not_added_to(desk: Desk) -> None:
    desk.write("sidecar.yaml", "pools: {p: {provider: openai, keys: [{id: a, secret: a1}], max_wiat: 1s}}")
    assert "max_wiat" in refused(desk)


def test_pools_of_a_variable_are_left_alone(desk: Desk) -> None:
    environ = {"SIDECAR_POOLS": "{p: {provider: openai, keys: [{id: a, secret: a1}]}}"}
    desk.write("sidecar.yaml", "namespace: x")
    assert "stand in a variable" in refused(desk, "", environ)


@pytest.mark.parametrize("text", ["", "  \n", "your_key_here", "two words", "one\ntwo\n", "nül"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        usable(text)


def test_a_pasted_key_is_cleaned() -> None:
    assert usable('\ufeff "sk-a1"\r\n') == Secret("sk-a1")


@pytest.mark.parametrize("there", [None, "OTHER='1'\r\n"])
def test_when_one_file_cannot_take_its_name_none_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, there: str | None
) -> None:
    """A config that is mounted as one file can be read and prepared, and never replaced: the secret goes again."""
    file = desk.write("sidecar.yaml", LISTS["brackets"][0])
    if there is not None:
        (desk.folder / ".env").write_bytes(there.encode())
        (desk.folder / ".env").chmod(0o644)
    addition = plan(Asked(Secret(NEW)), Place(None, {}, desk.folder))
    before, names = tree(desk.folder), os.replace

    def busy(source: str, target: Path) -> None:
        if target == file:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        names(source, target)

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(ConfigError, match=r"Device or resource busy\. No key was added"):
        save(addition)
    assert tree(desk.folder) == before
    assert there is None or mode(desk.folder / ".env") == 0o644


def test_when_one_file_cannot_be_written_none_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret's file is prepared first, the config's fails: neither changes and nothing is left beside them."""
    linked = desk.write("conf/linked.yaml", LISTS["brackets"][0])
    (desk.folder / "sidecar.yaml").symlink_to(linked)
    addition = plan(Asked(Secret(NEW)), Place(None, {}, desk.folder))
    linked.unlink()
    linked.parent.rmdir()
    with pytest.raises(ConfigError, match="No key was added"):
        save(addition)
    assert [path.name for path in desk.folder.iterdir()] == ["sidecar.yaml"]
