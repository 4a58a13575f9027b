"""Which models are told apart where something is counted: clients may name any, and what counts must be bounded."""

from __future__ import annotations

from sidecar.model.configured import Config

MOST_MODELS = 100  # that are counted under their own names
OTHER = "other"


def named_models(config: Config) -> dict[str, tuple[str, ...]]:
    """The models of each pool that the config names in full."""
    return {pool.name: tuple(name for name in pool.names_models if "*" not in name) for pool in config.pools.values()}


class ModelLabels:
    """The names of one process: the config's own, then the first that were served."""

    def __init__(self, config: Config) -> None:
        self._models: dict[str, None] = {}
        self._seen: dict[str, dict[str, None]] = {}  # by pool
        self.follow(config)

    def follow(self, config: Config) -> None:
        """The models that this config names are counted under their names. Those of configs before it stay."""
        for pool, names in named_models(config).items():
            self._seen.setdefault(pool, {}).update(dict.fromkeys(names))
            self._models.update(dict.fromkeys(names))

    def knows(self, pool: str) -> bool:
        """Whether this or an earlier config has the pool."""
        return pool in self._seen

    def __call__(self, pool: str, model: str, status: int | None) -> str:
        """What a model is counted as. A name that leads to no pool, or that no provider knows, is not kept."""
        if not pool:
            return model if model in self._models else ""
        seen = self._seen.setdefault(pool, {})
        if model in seen or not model:
            return model
        if model not in self._models:
            if status == 404 or len(self._models) >= MOST_MODELS:
                return OTHER
            self._models[model] = None
        seen[model] = None
        return model
