"""File, environment and `.env` into one checked `Config`."""

from sidecar.config.load import load
from sidecar.config.problems import ConfigError

__all__ = ["ConfigError", "load"]
