"""A folder with a config, an environment, and what loading them says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import ConfigError, load
from sidecar.config.importing import Imported, rendered
from sidecar.model.configured import Config

SECRETS = ("AIzaSyA1b2C3d4E5f6G7h8", "AIzaSyB1b2C3d4E5f6G7h8", "gsk_A1b2C3d4E5f6G7h8")


class Desk:
    """A working folder; `yaml` None means that there is no file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def load(self, yaml: str | None, environ: Mapping[str, str] | None = None) -> Config:
        if yaml is not None:
            self.write("sidecar.yaml", yaml)
        return load(None, environ or {}, self.folder)

    def refused(self, yaml: str | None, environ: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ConfigError) as raised:
            self.load(yaml, environ)
        return str(raised.value)


def pools(made: Imported) -> dict[str, Any]:
    found = made.document["pools"]
    assert isinstance(found, dict)
    return found


def load_imported(desk: Desk, made: Imported, environ: Mapping[str, str] | None = None) -> Config:
    """The config as `run` would read it, each variable set that was not in the input."""
    given = {name: f"k-{name}" for name in made.reads} | {name: one.reveal() for name, one in made.secrets.items()}
    return desk.load(rendered(made.document), given | dict(environ or {}))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
