"""A folder with a config, an environment, and what loading them says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sidecar.config import ConfigError, load
from sidecar.model.configured import Config


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


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
