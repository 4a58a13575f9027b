"""Which strategy the weights and priorities of imported keys ask for, in numbers that ours may have."""

from __future__ import annotations

from sidecar.config.importing.gathered import Gathered

_MOST_WEIGHT, _MOST_PRIORITY = 1000, 99


def settle(pool: str, gathered: Gathered) -> None:
    """Gives the pool its strategy, and leaves its keys the numbers that this strategy asks for.

    A key that says none has the weight 1, and comes after those that have a priority. Only the order of priorities
    counts, and of weights the ratio.
    """
    keys = gathered.pools[pool].get("keys", [])
    weights, priorities = ([key[field] for key in keys if field in key] for field in ("weight", "priority"))
    ranks = {said: rank for rank, said in enumerate(sorted(set(priorities)))}
    if len(ranks) > 1:
        if len({key.get("weight", 1) for key in keys}) > 1:
            gathered.note(f"pool {pool}: keys differ in priority and in weight. Its strategy is priority alone.")
        kept = set(priorities) <= set(range(_MOST_PRIORITY + 1))
        for key in keys:
            key.pop("weight", None)
            said = key.get("priority", max(priorities))
            key["priority"] = said if kept else min(ranks[said], _MOST_PRIORITY)
        gathered.pools[pool]["strategy"] = "priority"
        return
    if priorities:
        gathered.note(f"pool {pool}: every priority is {priorities[0]}, which orders nothing. It is left out.")
    for key in keys:
        key.pop("priority", None)
    if set(weights) - {1}:
        _scale(keys)
        gathered.pools[pool]["strategy"] = "weighted"
    else:
        for key in keys:
            key.pop("weight", None)


def _scale(keys: list[dict[str, float]]) -> None:
    """Weights as whole numbers from 1 to 1000, in nearly the ratio that they had: 0.7 and 0.3 are 70 and 30."""
    most = max(key.get("weight", 1) for key in keys)
    fractions = any(key.get("weight", 1) != int(key.get("weight", 1)) for key in keys)
    factor = min(100 if fractions else 1, _MOST_WEIGHT / most)
    for key in keys:
        weight = max(1, round(key.get("weight", 1) * factor))
        if weight > 1 or "weight" in key:
            key["weight"] = weight
