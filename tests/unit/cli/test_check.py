"""`sidecar check` says all of what would run, and changes nothing."""

from __future__ import annotations

import re

import redis

from tests.embedded import Kept
from tests.servers import RedisProcess, free_port
from tests.unit.cli.conftest import SECRETS, Command, Written


def test_it_tells_pools_keys_accounts_limits_routes_clients_and_warnings(command: Command, written: Written) -> None:
    written(
        routes={"gpt-4": [{"pool": "chat", "model": "gemini-2.5-pro"}, {"pool": "chat"}]},
        clients=[{"id": "web", "token": "tok-0a1b2c3d4e5f60718293"}],
    )
    done = command("check")
    assert done.exit_code == 0
    told = " ".join(done.output.split())
    for part in (
        "listen 127.0.0.1:4000; metrics and health at 127.0.0.1:9464",
        "pool chat: gemini at https://",
        "keys 2 keys of 2 accounts; a request waits at most 10 s for room",
        "key a, account acme (",
        "key b (",
        "limit each account: 15 requests per minute; 2 requests per 90s for gemini-2.5-pro",
        "route gpt-4 -> chat/gemini-2.5-pro, then chat; for openai, gemini callers",
        "client web",
        "store memory: budgets, cooldowns and rotation live in this process's memory",
    ):
        assert part in told
    assert not [secret for secret in (*SECRETS, "tok-0a1b") if secret in done.output]


def test_a_pool_without_a_dialect_says_how_it_is_called(command: Command, written: Written) -> None:
    own = {"provider": None, "base_url": "http://own.test", "keys": [{"id": "o", "secret": SECRETS[0]}]}
    written(own)
    assert "  calls  /pools/chat/... alone" in command("check").output
    written(own | {"dialect": "openai"})
    assert "  calls  " not in command("check").output


def test_it_tells_what_is_cached_and_where(command: Command, written: Written) -> None:
    written(cache={"ttl": "1h", "max_bytes": "64KiB", "scope": "client", "redis": "redis://:hush@127.0.0.1:6380/1"})
    done = command("check")
    line = next(line for line in done.output.splitlines() if line.startswith("cache"))
    assert line.split(maxsplit=1)[1] == (
        "answers for 3600 s, to the same client only, at most 64 KiB each, 256 MiB together, in a Redis of its own"
    )
    assert "hush" not in done.output


def test_a_redis_that_may_evict_budgets_is_a_warning(
    command: Command, written: Written, redis_process: RedisProcess
) -> None:
    with redis.Redis(port=redis_process.port) as client:
        client.config_set("maxmemory", 100_000_000)
        client.config_set("maxmemory-policy", "allkeys-lru")
    written(redis=redis_process.url)
    done = command("check")
    assert done.exit_code == 0
    assert (
        "warning  Redis may evict budgets, which start from zero then: its maxmemory-policy is allkeys-lru"
        in done.output
    )


def test_keys_with_limits_of_their_own_are_told_apart(command: Command, written: Written) -> None:
    written(
        {
            "limits": None,
            "keys": [
                {"id": "a", "secret": SECRETS[0], "limits": [{"requests": 5, "per": "hour"}], "models": ["small*"]},
                {"id": "b", "secret": SECRETS[1]},
            ],
        }
    )
    told = " ".join(command("check").output.split())
    assert "key a, for small* (" in told
    assert "limit a: 5 requests per hour" in told
    assert "limit b: none known, so only 429s tell" in told


def test_a_route_that_takes_what_names_a_pool_says_so(command: Command, written: Written) -> None:
    """Unless it is the nearest to no such name, or is written for them."""
    for patterns, said in ((["*", "g*"], ["*"]), (["*", "c*t/*"], ["c*t/*"]), (["*", "chat/*"], [])):
        written(routes={pattern: [{"pool": "chat"}] for pattern in patterns})
        lines = [line for line in command("check").output.splitlines() if line.startswith("route")]
        telling = [line for line in lines if line.endswith("; chat/NAME too, since a route goes before a pool's name")]
        assert ([line.split()[1] for line in telling], len(lines)) == (said, len(patterns))


def test_budgets_of_every_kind_are_told_in_the_words_of_the_file(command: Command, written: Written) -> None:
    """And what only counts is not taken for what holds."""
    written(
        {
            "limits": [
                {"tokens": 1000000, "per": "calendar_month", "count_cached": False},
                {"requests": 1500, "per": "calendar_day", "tz": "Europe/Berlin", "enforce": False},
            ],
            "concurrency": 8,
            "total": [{"requests": 1000, "per": "minute"}, {"output_tokens": 50, "per": "90s", "model": "m*"}],
        }
    )
    told = " ".join(command("check").output.split())
    for part in (
        "limit each account: 8 requests in flight; 1500 requests per calendar_day Europe/Berlin (counts only);"
        " 1000000 tokens per calendar_month America/Los_Angeles, cached input not counted",
        "total 1000 requests per minute; 50 output_tokens per 90s for m*",
    ):
        assert part in told


def test_what_answers_mean_here_is_told_in_the_words_of_the_file(command: Command, written: Written) -> None:
    written(
        {
            "outcomes": [
                {"status": [402, "5xx"], "class": "invalid_key"},
                {"body": "Resource exhausted", "class": "rate_limit_day"},
            ]
        }
    )
    told = " ".join(command("check").output.split())
    assert 'answer 402, 5xx: invalid_key answer any error with "resource exhausted": rate_limit_day' in told


def test_strategy_is_told_with_what_it_asks_of_the_keys(command: Command, written: Written) -> None:
    keys = [{"id": "a", "secret": SECRETS[0], "weight": 3, "priority": 7}, {"id": "b", "secret": SECRETS[1]}]
    for strategy, first, second in (
        ("weighted", "key a, weight 3 (", "key b, weight 1 ("),
        ("priority", "key a, priority 7 (", "key b, priority 0 ("),
        ("fill_first", "key a (", "key b ("),
    ):
        written({"keys": keys, "strategy": strategy})
        told = " ".join(command("check").output.split())
        assert f"; strategy {strategy} key" in told
        assert first in told
        assert second in told


def test_a_warning_is_told_and_is_no_error(command: Command, written: Written) -> None:
    same = [{"id": "a", "secret": SECRETS[0]}, {"id": "b", "secret": SECRETS[0]}]
    written({"keys": same})
    done = command("check")
    assert done.exit_code == 0
    assert "\nwarning  " in done.output


def test_a_store_that_answers_is_ready_and_stays_as_it_was(command: Command, written: Written, redis_url: str) -> None:
    written(redis=redis_url, namespace="never-touched")
    done = command("check")
    assert done.exit_code == 0
    assert "answers, namespace never-touched\n" in done.output
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys("*never-touched*") == []


def test_a_store_that_does_not_answer_is_one_line_without_the_password(command: Command, written: Written) -> None:
    written(redis=f"redis://user:pass-word-5150@127.0.0.1:{free_port()}/0")
    done = command("check")
    assert done.exit_code == 1
    (line,) = (line for line in done.output.splitlines() if line.startswith("store"))
    assert "cannot be used" in line
    assert line.endswith("Start it, or set `redis`.")
    assert "pass-word" not in done.output


def test_an_embedded_store_is_tried_and_left_as_it_was(command: Command, written: Written, kept: Kept) -> None:
    """It says where the data lies; one that cannot be loaded is an error that says what to do."""
    written(redis="embedded")
    for _ in range(2):
        done = command("check")
        assert done.exit_code == 0
        assert re.search(rf"^store    \S+-server \d+\.\d+ in {kept.folder} answers, namespace", done.output, re.M)
        assert not kept.lives
    kept.spoil()
    done = command("check")
    assert done.exit_code == 1
    (line,) = (line for line in done.output.splitlines() if line.startswith("store"))
    assert "embedded cannot be used: " in line
    assert f"move {kept.folder} away" in line
    assert not kept.lives


def test_help_says_what_live_sends_and_that_it_counts(command: Command) -> None:
    told = " ".join(command("check", "--help").output.split())
    for part in ("--live", "the provider's list of models", "counts against the key's budgets", "Exit 1 also if"):
        assert part in told


def test_keys_that_share_an_account_are_told_with_the_reason(command: Command, written: Written) -> None:
    """A name that they share, or a secret; keys of their own are not told."""
    spare = {"provider": "gemini", "keys": [{"id": "x", "secret": SECRETS[0]}, {"id": "y", "secret": SECRETS[1]}]}
    chat = {
        "provider": "gemini",
        "keys": [
            {"id": "a", "secret": SECRETS[0], "account": "acme"},
            {"id": "c", "secret": "sk-third1Q9", "account": "acme"},
            {"id": "d", "secret": "sk-fourth1Q9"},
            {"id": "b", "secret": SECRETS[1]},
        ],
    }
    written(pools={"chat": chat, "spare": spare})
    told = [line for line in command("check").output.splitlines() if line.startswith("account")]
    assert told == [
        "account  chat/a, spare/x and chat/c share budgets and cooldowns"
        " (account: acme; chat/a and spare/x have the same secret)",
        "account  chat/b and spare/y share budgets and cooldowns (chat/b and spare/y have the same secret)",
    ]
