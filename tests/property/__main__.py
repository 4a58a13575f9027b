"""Many histories: `python -m tests.property --histories 1000000 [--store fakeredis|redis://...]`."""

from __future__ import annotations

import argparse
import time

import fakeredis
import redis

from tests.property.drive import drive, shortest
from tests.property.replay import texts
from tests.property.test_mutations import MUTATIONS, mutated
from tests.servers import real_redis

BATCH = 5000  # hypothesis remembers what it has tried; a fresh start now and then bounds that


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.property", description=__doc__)
    parser.add_argument("--histories", type=int, default=100_000, metavar="N", help="how many (default: 100000)")
    parser.add_argument(
        "--store", default="redis", help="`redis` (a server of its own), `fakeredis`, or a redis:// URL; it is flushed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first batch (default: 0)")
    parser.add_argument("--mutations", action="store_true", help="find a history for each mistake of test_mutations")
    options = parser.parse_args()
    if options.mutations:
        with real_redis() as url:
            find_mutations(redis.Redis.from_url(url))
    elif options.store == "fakeredis":
        run(fakeredis.FakeRedis(), options.histories, options.seed)
    elif options.store == "redis":
        with real_redis() as url:
            run(redis.Redis.from_url(url), options.histories, options.seed)
    else:
        run(redis.Redis.from_url(options.store), options.histories, options.seed)


def run(client: redis.Redis, histories: int, first_seed: int) -> None:
    """Half of the histories with exact windows, half with buckets, and a line a batch."""
    began, done = time.monotonic(), 0
    while done < histories:
        count = min(BATCH, histories - done)
        exact = (64, 1)[done // BATCH % 2]
        drive(client, texts(exact), exact, histories=count, start=first_seed + done // BATCH)
        done += count
        print(f"{done} histories agree, {time.monotonic() - began:.0f} s", flush=True)


def find_mutations(client: redis.Redis) -> None:
    """Prints, for each mistake, the shortest history that tells it from the truth."""
    for name in MUTATIONS:
        found = (shortest(client, mutated(name), histories=3000, start=start) for start in range(20))
        print(f"{name!r}: {next((steps for steps in found if steps), None)},", flush=True)


if __name__ == "__main__":
    main()
