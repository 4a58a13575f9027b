"""Clients are made, renewed and revoked in the file, and not a byte of it changes beside them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.config import ConfigError, load
from sidecar.config.client_edits import Edit, create, init, made, moment, revoke, rotate, save
from sidecar.config.edit import Place
from sidecar.model.configured import Client, Config, Secret
from sidecar.model.tokens import LENGTH, SHAPE, digest

from .conftest import Desk

ENVIRON = {"OPENAI_API_KEY": "real-1", "WEB": "tok-from-outside"}
POOL = "pools: {chat: {provider: openai, keys: {from_env: OPENAI_API_KEY}}}\n"
NOW = 1_800_000_000  # 2027-01-15T08:00:00Z
HOUR = 3600
OLD = f"sha256:{digest('old')}"
OLDER = f"sha256:{digest('older')}"


def place(desk: Desk, environ: Mapping[str, str] | None = None) -> Place:
    return Place(None, ENVIRON if environ is None else environ, desk.folder)


def saved(edit: Edit) -> Edit:
    save(edit)
    return edit


def text(desk: Desk) -> str:
    """The file, with every hash that is none of the tests' own as HASH."""
    found = (desk.folder / "sidecar.yaml").read_text()
    return re.sub(r"sha256:[0-9a-f]{64}", lambda one: one[0] if one[0] in {OLD, OLDER} else "HASH", found)


def config(desk: Desk, environ: Mapping[str, str] | None = None) -> Config:
    return load(None, ENVIRON if environ is None else environ, desk.folder)


def client(desk: Desk, name: str) -> Client:
    return next(one for one in config(desk).clients if one.id == name)


def refused(desk: Desk, edit: str, *arguments: object, environ: Mapping[str, str] | None = None) -> str:
    """Why nothing was changed."""
    edits = {"init": init, "create": create, "rotate": rotate, "revoke": revoke}
    before = {file: file.read_bytes() for file in desk.folder.iterdir()}
    with pytest.raises(ConfigError) as raised:
        save(edits[edit](*arguments, place(desk, environ)))  # type: ignore[operator]
    assert {file: file.read_bytes() for file in desk.folder.iterdir()} == before
    return str(raised.value)


def test_a_made_key_cannot_be_guessed_and_is_known_by_its_shape() -> None:
    tokens = {made().reveal() for _ in range(50)}
    assert len(tokens) == 50
    assert all(SHAPE.fullmatch(token) and len(token) == LENGTH for token in tokens)


# --- the first ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": "real-1"},
        {
            "OPENAI_API_KEY": "real-1,real-2",
            "OPENAI_API_KEY_3": "real-3",
            "GEMINI_API_KEY": "g1",
            "GOOGLE_API_KEY_1": "g2",
            "GOOGLE_AI_STUDIO_KEY_CHAT_2": "g3",
            "PROXY_API_KEY": "former-virtual-key",
            "REDIS_URL": "redis://127.0.0.1:7777/1",
            "SIDECAR_MAX_BODY": "1MiB",
        },
    ],
)
def test_without_a_file_one_is_written_that_says_what_was_found(desk: Desk, environ: dict[str, str]) -> None:
    """The pools, the ids of their keys, the settings and who could call before are what they were."""
    before = config(desk, environ)
    edit = saved(init("app", place(desk, environ)))
    after = config(desk, environ)
    assert (after.pools, after.redis, after.max_body) == (before.pools, before.redis, before.max_body)
    assert after.clients[:-1] == before.clients
    assert edit.token is not None
    assert after.clients[-1].tokens[0].digest == digest(edit.token.reveal())
    assert not [secret for secret in (*environ.values(), edit.token.reveal()) if secret in text(desk)]
    assert text(desk).startswith("# Written by `sidecar clients init`")


def test_in_a_file_the_first_client_is_the_last_of_its_lines(desk: Desk) -> None:
    desk.write("sidecar.yaml", f"# ours\n{POOL}# the end")
    saved(init("app", place(desk)))
    assert text(desk) == f'# ours\n{POOL}# the end\nclients:\n  - {{id: app, token_hash: "HASH"}}\n'


@pytest.mark.parametrize("none", ["clients:\n", "clients: []\n", "clients: ~ # nobody yet\n"])
def test_a_list_without_a_client_is_filled(desk: Desk, none: str) -> None:
    desk.write("sidecar.yaml", none + POOL)
    saved(init("app", place(desk)))
    rest = none.partition("~")[2] or "\n"
    assert text(desk) == f'clients: [{{id: app, token_hash: "HASH"}}]{rest}{POOL}'


def test_a_json_file_stays_one(desk: Desk) -> None:
    json = '{"pools": {"chat": {"provider": "openai", "keys": {"from_env": "OPENAI_API_KEY"}}}\n}\n'
    desk.write("sidecar.yaml", json)
    saved(init("app", place(desk)))
    saved(create("web", "", {"models": ["gpt-4o"], "concurrency": 2}, place(desk)))
    first = '{"id": "app", "token_hash": "HASH"}'
    second = '{"id": "web", "token_hash": "HASH", "models": ["gpt-4o"], "concurrency": 2}'
    assert text(desk) == json.replace("}}}\n", f'}}}}}}, "clients": [{first}, {second}]\n')
    saved(rotate("app", HOUR, "", NOW, place(desk)))
    saved(revoke("web", place(desk)))
    assert [one.id for one in config(desk).clients] == ["app"]


@pytest.mark.parametrize("listen", ["listen: 0.0.0.0:4000\n", ""])
def test_what_may_not_run_for_want_of_a_client_gets_one(desk: Desk, listen: str) -> None:
    desk.write("sidecar.yaml", listen + POOL)
    environ = ENVIRON if listen else ENVIRON | {"SIDECAR_LISTEN": "0.0.0.0:4000"}
    with pytest.raises(ConfigError, match="`sidecar clients init` makes the first"):
        config(desk, environ)
    saved(init("app", place(desk, environ)))
    assert [one.id for one in config(desk, environ).clients] == ["app"]
    desk.write("sidecar.yaml", f"listen: nowhere\n{POOL}")
    assert '"nowhere" is no address' in refused(desk, "init", "app", environ=ENVIRON)


def test_there_is_one_first_client(desk: Desk) -> None:
    desk.write("sidecar.yaml", f"{POOL}clients: [{{id: web, token: t}}]")
    assert refused(desk, "init", "app") == (
        "there are clients already: web. `sidecar clients create ID` makes one more."
    )


# --- one more -----------------------------------------------------------------------------------------


def test_a_client_is_added_as_the_file_writes_them(desk: Desk) -> None:
    listed = f"{POOL}clients:  # who calls\n  # the site\n  - id: web\n    token: t  # for now\n# below\n"
    desk.write("sidecar.yaml", listed)
    edit = saved(create("jobs", "2027-01-31", {"models": ["gpt-4o*", "on"], "priority": "batch"}, place(desk)))
    added = '  - id: jobs\n    token_hash: "HASH"\n    expires: "2027-01-31"\n    models: ["gpt-4o*", "on"]\n'
    assert text(desk) == listed.replace("# below\n", f"{added}    priority: batch\n# below\n")
    assert edit.client == client(desk, "jobs")
    assert edit.client is not None
    assert (edit.client.models, edit.client.batch) == (("gpt-4o*", "on"), True)


def test_what_would_be_wrong_is_not_written(desk: Desk) -> None:
    desk.write("sidecar.yaml", f"{POOL}clients: [{{id: web, token: t}}]")
    assert 'there is a client "web" already' in refused(desk, "create", "web", "", {})
    assert "is no client id" in refused(desk, "create", "a b", "", {})
    assert "clients[1].concurrency: 0 is no number" in refused(desk, "create", "jobs", "", {"concurrency": 0})


def test_clients_of_a_variable_are_left_alone(desk: Desk) -> None:
    desk.write("sidecar.yaml", POOL)
    environ = ENVIRON | {"SIDECAR_CLIENTS": "[{id: web, token: t}]"}
    for edit, *arguments in (("create", "jobs", "", {}), ("rotate", "web", 0, "", NOW), ("revoke", "web")):
        told = refused(desk, str(edit), *arguments, environ=environ)
        assert told == "the clients stand in a variable, SIDECAR_CLIENTS, which no command can change."


def test_without_a_file_there_is_nowhere_to_keep_one(desk: Desk) -> None:
    assert "`sidecar clients init` writes sidecar.yaml" in refused(desk, "create", "web", "", {})


def test_a_file_that_cannot_be_written_stays_as_it_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("sidecar.yaml", POOL)
    edit = create("web", "", {}, place(desk))

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(ConfigError, match=r"sidecar\.yaml: cannot be written: Device or resource busy"):
        save(edit)
    assert text(desk) == POOL
    assert [file.name for file in Path(desk.folder).iterdir()] == ["sidecar.yaml"]


# --- another virtual key ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (
            f'  - {{id: web, token_hash: "{OLD}", models: [a]}}  # ours\n',
            f'  - {{id: web, tokens: [{{token_hash: "{OLD}", expires: "2027-01-15T09:00:00Z"}},'
            ' {token_hash: "HASH"}], models: [a]}  # ours\n',
        ),
        (
            '  - id: web\n    # from outside\n    token: "${WEB}"  # its own\n    models: [a]\n',
            '  - id: web\n    # from outside\n    tokens: [{token: "${WEB}", expires: "2027-01-15T09:00:00Z"},'
            ' {token_hash: "HASH"}]  # its own\n    models: [a]\n',
        ),
        (
            f'  - id: web\n    tokens:\n      # Ann\'s\n      - token_hash: "{OLD}"  # laptop\n    models: [a]\n',
            f'  - id: web\n    tokens:\n      # Ann\'s\n      - token_hash: "{OLD}"  # laptop\n'
            '        expires: "2027-01-15T09:00:00Z"\n      - token_hash: "HASH"\n    models: [a]\n',
        ),
    ],
)
def test_the_old_key_is_good_as_long_as_the_overlap(desk: Desk, said: str, then: str) -> None:
    """However the file writes it, and with every comment where it was."""
    head, tail = f"{POOL}clients:\n", "  - {id: jobs, token: t}\n"
    desk.write("sidecar.yaml", head + said + tail)
    old = client(desk, "web").tokens
    edit = saved(rotate("web", HOUR, "", NOW, place(desk)))
    assert text(desk) == head + then + tail
    first, second = client(desk, "web").tokens
    assert (first.digest, first.expires_s) == (old[0].digest, NOW + HOUR)
    assert edit.token is not None
    assert (second.digest, second.expires_s) == (digest(edit.token.reveal()), None)
    assert edit.token.reveal() not in (desk.folder / "sidecar.yaml").read_text()


def test_what_has_expired_goes_and_nothing_is_good_for_longer(desk: Desk) -> None:
    """Of three keys one has expired, and one ends sooner than the overlap does."""
    ends = "2027-01-15T08:30:00Z"
    desk.write(
        "sidecar.yaml",
        f"{POOL}clients:\n  - id: web\n    tokens:\n      - {{token: gone, expires: 2027-01-15}}\n"
        f'      - {{token_hash: "{OLDER}", expires: {ends}}}\n      - {{token_hash: "{OLD}"}}\n',
    )
    saved(rotate("web", HOUR, "2028-01-01", NOW, place(desk)))
    assert text(desk).partition("tokens:\n")[2] == (
        f'      - {{token_hash: "{OLDER}", expires: {ends}}}\n'
        f'      - {{token_hash: "{OLD}", expires: "2027-01-15T09:00:00Z"}}\n'
        '      - {token_hash: "HASH", expires: "2028-01-01"}\n'
    )


@pytest.mark.parametrize(
    "said",
    [
        f'{{id: web, expires: 2030-01-01, token_hash: "{OLD}"}}',
        f'{{id: web, tokens: [{{token_hash: "{OLD}", expires: 2030-01-01}}]}}',
        f'{{id: web, tokens: [{{token: gone, expires: 2027-01-15}}, {{token_hash: "{OLD}", expires: 2030-01-01}}]}}',
    ],
)
def test_without_an_overlap_the_new_key_is_the_only_one(desk: Desk, said: str) -> None:
    desk.write("sidecar.yaml", f"{POOL}clients: [{said}]\n")
    saved(rotate("web", 0, "never", NOW, place(desk)))
    assert text(desk) == f'{POOL}clients: [{{id: web, tokens: [{{token_hash: "HASH"}}]}}]\n'


def test_a_key_that_ends_is_not_followed_by_one_that_does_not_unless_that_is_said(desk: Desk) -> None:
    desk.write("sidecar.yaml", f'{POOL}clients: [{{id: web, token_hash: "{OLD}", expires: 2030-01-01}}]\n')
    assert "Say when its new one does" in refused(desk, "rotate", "web", HOUR, "", NOW)
    saved(rotate("web", HOUR, "never", NOW, place(desk)))
    saved(rotate("web", HOUR, "", NOW, place(desk)))
    assert [token.expires_s for token in client(desk, "web").tokens] == [NOW + HOUR, NOW + HOUR, None]


def test_an_entry_that_no_command_can_change_is_left_alone(desk: Desk) -> None:
    """Its key stands where another client's does: what is shared would change for both."""
    shared = f'clients:\n  - &web {{id: web, token: t}}\n  - {{<<: *web, id: jobs, token_hash: "{OLD}", token: ~}}\n'
    desk.write("sidecar.yaml", POOL + shared)
    assert "no command can change" in refused(desk, "rotate", "web", HOUR, "", NOW)


# --- revoked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["a", "b", "c"])
@pytest.mark.parametrize(
    "lines",
    [
        {"a": "  - {id: a, token: t1}\n", "b": "  - {id: b, token: t2}  # b's\n", "c": "  - {id: c, token: t3}\n"},
        {
            "a": "  - id: a\n    token: t1\n    # on a\n",
            "b": "  - token: t2\n    id: b\n",
            "c": "  - id: c\n    models:\n      - x\n    token: t3\n",
        },
    ],
)
def test_a_client_is_taken_out_with_its_lines(desk: Desk, lines: dict[str, str], which: str) -> None:
    head, tail = f"{POOL}clients:\n  # all of them\n", "# below\nredis: memory\n"
    desk.write("sidecar.yaml", head + "".join(lines.values()) + tail)
    edit = saved(revoke(which, place(desk)))
    rest = "".join(text for name, text in lines.items() if name != which)
    assert (text(desk), edit.client, edit.token) == (head + rest + tail, None, None)


@pytest.mark.parametrize(
    ("which", "rest"),
    [("a", "{id: b, token: t2},\n  {id: c, token: t3}"), ("b", "{id: a, token: t1},\n  {id: c, token: t3}")],
)
def test_a_client_is_taken_out_of_a_list_in_brackets(desk: Desk, which: str, rest: str) -> None:
    desk.write(
        "sidecar.yaml", f"{POOL}clients: [{{id: a, token: t1}},\n  {{id: b, token: t2}},\n  {{id: c, token: t3}},]"
    )
    saved(revoke(which, place(desk)))
    assert text(desk) == f"{POOL}clients: [{rest},]"
    saved(revoke("c", place(desk)))
    assert [one.id for one in config(desk).clients] == [({"a", "b"} - {which}).pop()]


def test_the_last_client_is_not_taken_out_for_then_anybody_could_call(desk: Desk) -> None:
    desk.write("sidecar.yaml", f"{POOL}clients: [{{id: web, token: t}}]")
    assert "rotate web --overlap 0s" in refused(desk, "revoke", "web")
    assert refused(desk, "revoke", "wep") == '"wep" is no client. Did you mean "web"?\n  Known: web.'


# --- when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ("", ""),
        ("never", "never"),
        ("2027-01-31", "2027-01-31"),
        ("2h", "2027-01-15T10:00:00Z"),
        ("16h", "2027-01-16"),
        ("2027-01-31T12:00:00+01:00", "2027-01-31T11:00:00Z"),
    ],
)
def test_an_end_is_a_day_a_moment_or_a_while(said: str, then: str) -> None:
    assert moment(said, NOW) == then


@pytest.mark.parametrize("said", ["tomorrow", "2027-01-15", "0s", "999999999h", "90"])
def test_what_is_no_end_is_refused(said: str) -> None:
    with pytest.raises(ConfigError):
        moment(said, NOW)


def test_an_edit_does_not_show_what_it_made() -> None:
    edit = Edit(Path("a"), Path("b"), "the text", None, Secret("sk-sidecar-x"))
    assert not [word for word in ("sk-sidecar-x", "the text") if word in repr(edit)]
