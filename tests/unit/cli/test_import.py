"""`sidecar import` writes a config without a key in it, the keys beside it, and says the rest on standard error."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.config import load

from .conftest import SECRETS

POOL = {"providers": {"gemini": {"keys": [{"api_key": "GEMINI_KEY_1_PLACEHOLDER", "key_id": "g-1", "rpm_limit": 15}]}}}


def run(*arguments: str | Path, stdin: str = "", code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["import", *map(str, arguments)], input=stdin)
    assert done.exit_code == code, done.output
    return done


def secrets(folder: Path, pool: str, **environ: str) -> list[str]:
    return [key.secret.reveal() for key in load(None, environ, folder).pools[pool].keys]


def test_a_key_pool_is_written_to_standard_output(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(POOL))
    done = run("keys.json")
    (tmp_path / "sidecar.yaml").write_text(done.stdout)
    assert secrets(tmp_path, "gemini", GEMINI_KEY_1="one") == ["one"]
    assert '"${GEMINI_KEY_1}" is not set in the environment' in done.stderr
    assert not (tmp_path / ".env").exists()


def test_keys_of_standard_input_go_to_the_env_file(tmp_path: Path) -> None:
    """Never to the terminal; what was in the file stays, and its names too."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=mine\n")
    done = run("-", "--provider", "openai", stdin="\n".join(SECRETS))
    (tmp_path / "sidecar.yaml").write_text(done.stdout)
    assert secrets(tmp_path, "openai") == list(SECRETS)
    assert (tmp_path / ".env").read_text().startswith("OPENAI_API_KEY=mine\nOPENAI_API_KEY_1=")
    assert ".env: keeps the keys of the input, as OPENAI_API_KEY_1, OPENAI_API_KEY_2." in done.stderr
    assert not [secret for secret in SECRETS if secret in done.output]


def test_output_and_the_env_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    done = run("-", "-o", "conf/sidecar.yaml", "--provider", "openai", "--pool", "chat", stdin=SECRETS[0])
    assert stat.S_IMODE((tmp_path / "conf/.env").stat().st_mode) == 0o600
    assert secrets(tmp_path / "conf", "chat") == [SECRETS[0]]
    assert done.stdout == ""
    assert "reads the .env of the folder it starts in" in done.stderr


def test_an_env_file_that_is_open_to_everyone_is_closed_and_told(tmp_path: Path) -> None:
    """Once a key is written to it; a config without a key in it keeps its mode."""
    (tmp_path / ".env").write_text("A=b\n")
    (tmp_path / "sidecar.yaml").write_text("# old\n")
    for name in (".env", "sidecar.yaml"):
        (tmp_path / name).chmod(0o644)
    done = run("-", "-o", "sidecar.yaml", "--force", "--provider", "openai", stdin=SECRETS[0])
    assert ".env: was open to everyone. Its mode is 0600 now.\n" in done.stderr
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (".env", "sidecar.yaml")] == [0o600, 0o644]
    assert "everyone" not in run("-", "--provider", "openai", stdin=SECRETS[1]).stderr


def test_twice_is_once(tmp_path: Path) -> None:
    """A key that the env file has is not appended again."""
    first = run("-", "--provider", "openai", stdin=SECRETS[0])
    again = run("-", "--provider", "openai", stdin=SECRETS[0])
    assert first.stdout == again.stdout
    assert (tmp_path / ".env").read_text() == f"OPENAI_API_KEY={SECRETS[0]}\n"


def test_a_file_is_written_over_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(POOL))
    (tmp_path / "sidecar.yaml").write_text("# mine\n")
    done = run("keys.json", "-o", "sidecar.yaml", code=1)
    assert done.stderr == "sidecar.yaml is there already. Give another --output, or --force.\n"
    assert (tmp_path / "sidecar.yaml").read_text() == "# mine\n"
    run("keys.json", "-o", "sidecar.yaml", "--force")
    assert "gemini" in (tmp_path / "sidecar.yaml").read_text()


def test_an_output_that_cannot_be_replaced_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is mounted as a single file."""
    (tmp_path / "sidecar.yaml").write_text("# mine\n")
    names = os.replace

    def busy(source: str, target: Path) -> None:
        if target.name == "sidecar.yaml":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), source, None, str(target))
        names(source, target)

    monkeypatch.setattr(os, "replace", busy)
    done = run("-", "-o", "sidecar.yaml", "--force", "--provider", "openai", stdin=SECRETS[0], code=1)
    assert done.stderr == f"{tmp_path / 'sidecar.yaml'}: Device or resource busy. Nothing was written.\n"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("sidecar.yaml", "# mine\n")]


def test_an_env_file_that_cannot_be_read_to_its_end_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys.env").write_text("A='never closed\n")
    done = run("-", "--env-file", "keys.env", "--provider", "openai", "-o", "new.yaml", stdin=SECRETS[0], code=1)
    assert "keys.env: line 1 is no NAME=value." in done.stderr
    assert ((tmp_path / "keys.env").read_text(), (tmp_path / "new.yaml").exists()) == ("A='never closed\n", False)


def test_an_env_file_of_another_name(tmp_path: Path) -> None:
    run("-", "--env-file", "keys.env", "--provider", "openai", stdin=SECRETS[0])
    assert (tmp_path / "keys.env").read_text() == f"OPENAI_API_KEY={SECRETS[0]}\n"
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["missing.json"], "", "missing.json: No such file or directory. Nothing was written."),
        (["-", "-o", "gone/x.yaml", "--provider", "openai"], SECRETS[0], "gone: No such file or directory."),
        (["-"], "zzz123Q9", "line 1: nothing tells whose key this is."),
    ],
)
def test_what_cannot_be_imported_writes_nothing(tmp_path: Path, arguments: list[str], stdin: str, told: str) -> None:
    assert run(*arguments, stdin=stdin, code=1).stderr.startswith(told)
    assert list(tmp_path.iterdir()) == []


def test_what_litellm_has_and_we_have_not_is_named_on_standard_error(tmp_path: Path) -> None:
    text = (
        "model_list:\n  - model_name: gpt-4o\n"
        f"    litellm_params: {{model: openai/gpt-4o, api_key: {SECRETS[0]}, rpm: 9}}\n"
        "router_settings: {routing_strategy: simple-shuffle, allowed_fails: 3}\n"
    )
    (tmp_path / "config.yaml").write_text(text)
    done = run("config.yaml")
    (tmp_path / "sidecar.yaml").write_text(done.stdout)
    assert secrets(tmp_path, "openai") == [SECRETS[0]]
    told = 'router_settings: no counterpart for "allowed_fails".'
    assert done.stderr.startswith(
        f"{told}\ninstead of allowed_fails: a key rests as long as its provider says, at once;"
    )
    assert f"\n# What the input said otherwise:\n# - {told}\n# - instead of allowed_fails: " in done.stdout
    assert SECRETS[0] not in done.output


DOCUMENTED = sorted((Path(__file__).parent / "litellm").glob("*.yaml"))  # as LiteLLM's own documents show them


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda file: file.stem)
def test_what_is_made_of_a_documented_litellm_config_passes_its_check(
    documented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(documented, "-o", "sidecar.yaml")
    for variable in ("EU", "CA", "ONE", "OPENAI_API_KEY", "AZURE_API_KEY"):
        monkeypatch.setenv(variable, f"k-0123456789-{variable}")
    monkeypatch.setenv("SIDECAR_REDIS", "memory")
    checked = CliRunner().invoke(main, ["check"])
    assert checked.exit_code == 0, checked.output
