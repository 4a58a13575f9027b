"""Replicas on each kind of store, as the pools' own tests have them."""

from tests.unit.pool.conftest import world

__all__ = ["world"]
