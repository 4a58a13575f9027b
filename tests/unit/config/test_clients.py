"""A client of the file: what opens the door for it, what it may use, and how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.config.clients import moment_s, written
from sidecar.model.configured import LEASE_US, Calendar, Client, Limit, Secret, Token
from sidecar.model.tokens import digest

from .conftest import Desk

POOL = "pools: {chat: {provider: openai, keys: {from_env: OPENAI_API_KEY}}}\n"
ENVIRON = {"OPENAI_API_KEY": "real-1", "TOKEN": "tok-from-outside"}
HASH = digest("presented")
MINUTE = 60_000_000
SECOND = 1_000_000
DAY_S = 1_801_353_600  # 2027-01-31T00:00:00Z


def one(desk: Desk, yaml: str) -> Client:
    (client,) = desk.load(f"{POOL}clients: [{yaml}]", ENVIRON).clients
    return client


def test_a_token_is_known_by_its_digest_and_kept_only_where_the_file_says_it(desk: Desk) -> None:
    plain = Token(digest("tok-from-outside"), secret=Secret("tok-from-outside"))
    assert one(desk, '{id: web, token: "${TOKEN}"}') == Client("web", (plain,))
    assert one(desk, f'{{id: web, token_hash: "sha256:{HASH}"}}') == Client("web", (Token(HASH),))
    assert one(desk, f'{{id: web, token_hash: "sha256:{HASH.upper()}"}}') == Client("web", (Token(HASH),))


def test_each_of_several_tokens_has_an_end_of_its_own(desk: Desk) -> None:
    told = f'{{token_hash: "sha256:{HASH}", expires: 2027-01-31}}, {{token: "${{TOKEN}}"}}'
    first, second = one(desk, f"{{id: web, tokens: [{told}]}}").tokens
    assert (first, second.expires_s) == (Token(HASH, DAY_S), None)
    assert one(desk, "{id: web, token: t, expires: 2027-01-31T01:00:00+01:00}").tokens[0].expires_s == DAY_S


@pytest.mark.parametrize(
    ("text", "moment", "again"),
    [
        ("2027-01-31", DAY_S, "2027-01-31"),
        ("2027-01-31T00:00:00Z", DAY_S, "2027-01-31"),
        ("2027-01-31t18:30:00z", DAY_S + 66_600, "2027-01-31T18:30:00Z"),
        ("2027-01-31 18:30-05:00", DAY_S + 84_600, "2027-01-31T23:30:00Z"),
        ("2027-13-01", None, ""),
        ("20270131", None, ""),
        ("2027-W04-7", None, ""),
        ("2027-01-31T18:30", None, ""),
        ("0001-01-01T00:00:00+23:00", None, ""),
    ],
)
def test_a_day_begins_at_midnight_and_a_moment_says_its_zone(text: str, moment: int | None, again: str) -> None:
    assert moment_s(text) == moment
    assert moment is None or written(moment) == again


def test_what_a_client_may_use(desk: Desk) -> None:
    client = one(
        desk,
        '{id: web, token: t, models: [gpt-4o, "claude-*", gpt-4o], concurrency: 3, priority: batch,'
        " limits: [{requests: 10, per: minute}, {tokens: 500, per: calendar_month}]}",
    )
    month = Limit("tokens", 500, 0, SECOND, calendar=Calendar("month", "UTC"))
    minute, at_once = Limit("requests", 10, MINUTE, SECOND), Limit("concurrency", 3, LEASE_US, LEASE_US)
    assert (client.models, client.batch) == (("gpt-4o", "claude-*"), True)
    assert client.limits == (minute, month, at_once)


def test_overage_counts_and_what_is_in_flight_is_none(desk: Desk) -> None:
    """A budget may be passed where that is allowed; how many run at once is no budget."""
    told = "id: web, token: t, concurrency: 3, limits: [{requests: 10, per: minute}]"
    refuses = one(desk, f"{{{told}, overage: refuse}}").limits
    assert one(desk, f"{{{told}}}").limits == refuses
    assert one(desk, f"{{{told}, overage: allow}}").limits == (replace(refuses[0], enforce=False), refuses[1])


def test_no_name_may_hold_what_could_be_a_virtual_key(desk: Desk) -> None:
    """Of one that is known by its hash alone nothing else tells that it is one."""
    held = "sk-sidecar-" + "Az09_-" * 7 + "x"
    assert "holds a secret" in desk.refused(f"{POOL}clients: [{{id: {held}, token: t}}]", ENVIRON)
