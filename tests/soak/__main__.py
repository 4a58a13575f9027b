"""The soak's command: everything real, under load, for as long as one likes, while all around it fails.

    python -m tests.soak                  ten minutes
    python -m tests.soak --minutes 60
    python -m tests.soak --quick          two or three minutes, half a minute of it load, with a dozen faults
    python -m tests.soak --seed 7         the same faults at the same moments as any other run with 7

Real replicas on a Redis of their own, a strict provider that counts for itself, clients of all kinds. Replicas are
killed, drained and stopped, Redis freezes, loses connections and is killed (it comes back with its file), the provider
refuses and fails, and one is dead for a while; keys are disabled and enabled, configs changed and changed back.

There is a pool for each strategy, and a budget of each kind: of requests, tokens, a day whose midnight falls into the
first storm, a pool as a whole, requests in flight. Clients have limits of their own; crowds ask the same at once; files
and responses are made through one replica and used through another; streams in four dialects break off.

What is judged is what the provider and the clients counted, by the tag of each request: no budget of an account and no
limit of a client exceeded, nothing sent of what was refused, one call a stampede and one text for all, no thing at
another's account, a dead provider asked no more than its breaker and the retry budgets let through, and all well as
soon as its pause is over, no stream that ends as if it were whole, no memory or descriptors that grow. The table at the
end says how much there was of each. What is left of a failure lies in /tmp/sidecar-soak-SEED: what happened, requests,
arrivals and logs. A Redis that comes back empty is left out: it resets budgets by design.

Exit 0: everything held; 1: something did not; 130: interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.servers import binary
from tests.soak import run
from tests.soak.plan import Plan
from tests.soak.screen import Screen, shown


async def _soak(plan: Plan, screen: Screen, kept: Path) -> tuple[list[str], str, str]:
    """What failed, how it ended, and the table of promises.

    Whatever is started ends with it, also where it is cancelled.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="sidecar-soak-") as folder:
        async with run.prepared(plan, Path(folder), screen) as soak:
            try:
                await soak.run()
            except (RuntimeError, OSError, TimeoutError) as error:
                soak.verdict.take("processes", [f"{soak.phase} broke off: {type(error).__name__} {error}"])
            if soak.verdict.failures:
                soak.keep(kept)
            return soak.verdict.failures, soak.summary(), soak.table()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="of load (default: 10)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), metavar="S", help="default: any")
    parser.add_argument("--replicas", type=int, default=3, help="at a time, at least 2 (default: 3)")
    parser.add_argument("--quick", action="store_true", help="half a minute of load")
    given = parser.parse_args()
    if given.replicas < 2 or given.minutes <= 0:
        parser.error("--replicas: at least 2, --minutes: more than 0")
    if binary() is None:
        parser.error("the soak needs redis-server or valkey-server")
    if not Path("/proc/self/fd").is_dir():
        parser.error("the soak reads memory and descriptors in /proc, as Linux has it")
    plan = Plan(given.minutes, given.seed, given.replicas, given.quick)
    kept = Path(tempfile.gettempdir()) / f"sidecar-soak-{plan.seed}"
    try:
        with shown() as screen:
            screen.say(plan.command)
            failures, summary, table = asyncio.run(_soak(plan, screen, kept))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write(f"Interrupted. Again: {plan.command}\n")
        raise SystemExit(130) from None
    sys.stdout.write(table)
    for failure in failures[:50]:
        sys.stdout.write(f"- {failure}\n")
    if failures:
        sys.stdout.write(f"FAILED: {len(failures)} times, {summary}. Logs: {kept}. Again: {plan.command}\n")
        raise SystemExit(1)
    sys.stdout.write(f"Everything held: {summary}. Seed {plan.seed}\n")


if __name__ == "__main__":
    main()
