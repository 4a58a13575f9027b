"""What outlasts a change of config: requests end as they began, while others begin with another."""

from __future__ import annotations

from collections import defaultdict

from sidecar.model.configured import Config
from sidecar.model.words import Grant
from sidecar.pool.retries import Retries
from sidecar.pool.running import Running
from sidecar.pool.waiting import Waiting
from sidecar.store.commands import Store


class Lasting:
    """One replica's, which the Pools of all its configs share."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.running = Running(store)
        self.waiting = Waiting()
        self.retries = Retries()
        # By account, the pools of any config so far that have a key of it: what ends there others may wait for here.
        self.pools_of: defaultdict[str, set[str]] = defaultdict(set)

    def pools(self, grant: Grant) -> set[str]:
        """Those that have a key of the grant's account."""
        return self.pools_of[grant.member.account]

    def places(self, grant: Grant) -> set[str]:
        """Whose requests in flight are fewer by this one once it is over: those of its pools, and of its client."""
        return {*grant.rotation.client.places, *self.pools(grant)}

    def give_back(self, grant: Grant) -> None:
        """A grant that surely was not sent; queued."""
        self._store.release(grant, self.pools(grant))

    def follow(self, config: Config) -> None:
        """There is a config, or another one."""
        self.waiting.most = config.max_waiting
        for pool in config.pools.values():
            for key in pool.keys:
                self.pools_of[key.account].add(pool.name)
