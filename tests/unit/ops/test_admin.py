"""The admin plane does what the command line does, for those who may, and says what to do where it cannot."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from pathlib import Path

import pytest

from sidecar.config.watch import Source
from sidecar.model.configured import Config
from sidecar.model.events import KeyManaged, Reloaded
from sidecar.model.words import Report, Rest, Subject
from sidecar.ops.metrics import Metrics
from sidecar.replica import Replica
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway
from tests.unit.ops.planes import FILE, SECRETS, TOKEN, WEB, Start
from tests.unit.ops.worlds import attempted

# --- what is shown ----------------------------------------------------------------------------------


async def test_config_is_shown_in_the_words_of_the_file_without_anything_secret(start: Start, tmp_path: Path) -> None:
    plane = await start(FILE + f"failures: failures.jsonl\nadmin_token: {TOKEN}\n")
    status, told = await plane.ask("GET", "/config", Authorization=f"Bearer {TOKEN}")
    assert status == 200
    chat = told["pools"]["chat"]
    assert (told["namespace"], told["hosts"], told["clients"][0]["id"]) == ("admin", ["ops.example"], "web")
    assert (chat["provider"], chat["max_wait"], chat["timeout"]) == ("openai", "1500ms", "600s")
    assert (told["max_waiting"], chat["interactive_share"]) == (1000, 0.2)
    assert told["failures"] == str(tmp_path / "failures.jsonl")
    assert chat["outcomes"] == [{"class": "invalid_key", "scope": "key", "status": [402], "body": "no funds"}]
    keys = plane.replica.state.config.pools["chat"].keys
    assert [(key["id"], key["fingerprint"]) for key in chat["keys"]] == [(key.id, key.fingerprint) for key in keys]
    assert told["place"] == str(tmp_path / "sidecar.yaml")
    assert chat["keys"][0]["account"] == "acme"
    assert {"requests": 5, "per": "minute", "guard": "1s", "enforce": True} in chat["keys"][0]["limits"]
    targets = [{"pool": "chat", "model": "gpt-4o"}, {"pool": "spare"}]
    said = {"mask_model": False, "fallback_on": [], "retry_empty": False, "cache": None}
    assert told["routes"] == {"big": {"targets": targets} | said}
    for secret in (*SECRETS.values(), TOKEN, WEB):
        assert secret not in json.dumps(told)


async def test_pools_and_keys_show_budgets_cooldowns_and_who_disabled_a_key(start: Start) -> None:
    plane = await start()
    await plane.ask("POST", "/keys/b/disable")
    _, pools = await plane.ask("GET", "/pools")
    assert (pools["namespace"], pools["replicas"]) == ("admin", 1)
    first, second = pools["pools"]["chat"]["keys"]
    assert first["enabled"] is True
    assert {"unit": "requests", "per": "minute", "model": "", "used": 0, "max": 5, "enforced": True} in first["budgets"]
    assert second["enabled"] is False
    assert second["disabled"]["by"] == "admin api, 127.0.0.1"
    _, keys = await plane.ask("GET", "/keys")
    assert [(key["pool"], key["id"], key["enabled"]) for key in keys["keys"]] == [
        ("chat", "a", True),
        ("chat", "b", False),
        ("spare", "a", True),
    ]


async def test_pools_show_what_was_sent_up_to_now(start: Start) -> None:
    """As /usage does: not what was counted a second ago."""
    plane = await start()
    plane.replica.emit(attempted(pool="chat", key="a", model="gpt-4o"))
    _, told = await plane.ask("GET", "/pools")
    assert told["pools"]["chat"]["keys"][0]["usage"]["today"]["attempts"] == 1


async def test_a_query_that_is_misspelt_is_told_with_what_is_known(start: Start) -> None:
    plane = await start()
    _, _, message = await plane.refused("POST", "/keys/b/reset?budget=true")
    assert message == 'a query has no "budget". Known: budgets.'
    assert plane.events == []


# --- what is done -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b", "chat%2Fb", "chat/b"])
async def test_a_key_is_disabled_and_enabled_by_its_id_or_with_its_pool(name: str, start: Start) -> None:
    plane = await start()
    done = {"pool": "chat", "key": "b", "status": "disabled", "changed": True}
    assert await plane.ask("POST", f"/keys/{name}/disable") == (200, done)
    assert await plane.ask("POST", f"/keys/{name}/disable") == (200, done | {"changed": False})
    assert await plane.ask("POST", f"/keys/{name}/enable") == (200, done | {"status": "enabled"})
    managed = [event for event in plane.events if isinstance(event, KeyManaged)]
    assert [(event.pool, event.key, event.change) for event in managed] == [
        ("chat", "b", "disabled"),
        ("chat", "b", "enabled"),
    ]


@pytest.mark.parametrize("deed", ["disable", "reset"])
async def test_a_key_that_stands_in_two_pools_is_told_of_in_both_once_whichever_was_named(
    deed: str, start: Start
) -> None:
    """Else the metrics of no replica would have the other: all others count none of what is done here."""
    plane = await start(FILE.replace(SECRETS["twin"], SECRETS["b"]))
    metrics, told = Metrics(plane.replica.state.config), asyncio.Event()
    key = plane.replica.state.config.pools["chat"].keys[1]
    rest = Rest(Subject(key.account, key.fingerprint), 60_000_000, "invalid_key")
    plane.replica.store.report(Report("r", (rest,)), (), lambda _: told.set())
    await told.wait()
    for _ in range(2):
        assert (await plane.ask("POST", f"/keys/spare%2Fa/{deed}"))[0] == 200
    for event in plane.events:
        metrics(event)
    change = {"disable": "disabled", "reset": "reset"}[deed]
    names = [(event.pool, event.key, event.change) for event in plane.events if isinstance(event, KeyManaged)]
    assert names == [("chat", "b", change), ("spare", "a", change)]
    for pool, name in (("chat", "b"), ("spare", "a")):
        labels = {"pool": pool, "key": name, "change": change}
        assert metrics.registry.get_sample_value("sidecar_key_changes_total", labels) == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("alice", "alice"),
        ("Zoë van den Berg", "Zoë van den Berg"),
        ("a\u202e|\u2028b", "a|b"),
        ("x" * 5000, "x" * 100),
        (f"{'x' * 90}{SECRETS['a']}", f"{'x' * 90}a"),
        ("\u202e", "somebody"),
        (None, "admin api"),
    ],
)
async def test_who_asks_is_told_wherever_it_is_told_what_was_done(said: str | None, told: str, start: Start) -> None:
    """As they call themselves, cleaned, and whence they were seen to ask."""
    plane = await start()
    headers = {} if said is None else {"x-sidecar-by": said}
    assert (await plane.ask("POST", "/keys/b/disable", **headers))[0] == 200
    await plane.ask("POST", "/reload", **headers)
    _, keys = await plane.ask("GET", "/keys")
    events = [event.by for event in plane.events if isinstance(event, KeyManaged | Reloaded)]
    assert [keys["keys"][1]["disabled"]["by"], *events] == [f"{told}, 127.0.0.1"] * 3


async def test_an_id_of_several_pools_is_409_and_names_the_choices(start: Start) -> None:
    plane = await start()
    status, told = await plane.ask("POST", "/keys/a/reset")
    assert (status, told["error"]["code"]) == (409, "ambiguous_key")
    assert told["error"]["choices"] == ["chat/a", "spare/a"]
    assert (await plane.ask("POST", "/keys/spare%2Fa/reset"))[0] == 200


async def test_reset_ends_the_rests_of_the_key_and_its_account_for_every_model(start: Start) -> None:
    plane = await start()
    key = plane.replica.state.config.pools["chat"].keys[0]
    subjects = [
        Subject(key.account, whose, model) for whose in (key.fingerprint, None) for model in (None, "gpt-4o", "*")
    ]
    told = asyncio.Event()
    rests = tuple(Rest(subject, 60_000_000, "invalid_key") for subject in subjects)
    plane.replica.store.report(Report("r", rests), (), lambda _: told.set())
    await told.wait()
    _, before = await plane.ask("GET", "/keys")
    assert before["keys"][0]["cooldowns"]
    assert (await plane.ask("POST", "/keys/chat%2Fa/reset"))[1]["changed"] is True
    _, after = await plane.ask("GET", "/keys")
    assert after["keys"][0]["cooldowns"] == []
    assert (await plane.ask("POST", "/keys/chat%2Fa/reset"))[1]["changed"] is False


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/keys/nobody/disable", 404, "no_such_key"),
        ("GET", "/keys/b/disable", 405, "method_not_allowed"),
        ("POST", "/pools", 405, "method_not_allowed"),
        ("GET", "/reload", 405, "method_not_allowed"),
        ("POST", "/keys/b/burn", 404, "not_found"),
        ("POST", "/keys/b/reset?budgets=maybe", 400, "invalid_request"),
        ("POST", "/keys/b/reset?budget=true", 400, "invalid_request"),
        ("POST", "/keys/b/disable?budgets=true", 400, "invalid_request"),
        ("POST", "/reload?force", 400, "invalid_request"),
        ("GET", "/usage?day=3", 400, "invalid_request"),
        ("GET", "/usage?days=three", 400, "invalid_request"),
        ("GET", "/pools?pool=chat", 400, "invalid_request"),
        ("GET", "/events?since=1", 400, "invalid_request"),
    ],
)
async def test_a_mistake_is_told_with_what_to_do(method: str, path: str, status: int, code: str, start: Start) -> None:
    plane = await start()
    told = await plane.refused(method, path)
    assert told[:2] == (status, code)
    assert told[2]


async def test_a_store_that_is_away_is_503(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreAway("gone")

    plane = await start()
    monkeypatch.setattr(plane.replica.store, "disable", away)
    assert (await plane.refused("POST", "/keys/b/disable"))[:2] == (503, "store_unavailable")


@pytest.mark.parametrize(("error", "logged"), [(StoreAway("gone"), 0), (RuntimeError("ours"), 1)])
async def test_only_a_mistake_is_logged_of_what_fails_where_nobody_waits_for_it_any_more(
    error: Exception, logged: int, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    began, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def fails(*_: object) -> None:
        began.set()
        await go_on.wait()
        done.set()
        raise error

    plane = await start()
    monkeypatch.setattr(plane.replica.store, "disable", fails)
    asking = asyncio.create_task(plane.ask("POST", "/keys/b/disable"))
    await began.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await plane.ask("GET", "/config")  # by now it is known that the asker has gone
    go_on.set()
    await done.wait()
    await plane.ask("GET", "/config")
    gc.collect()
    assert len([record for record in caplog.records if record.name == "asyncio"]) == logged


# --- who may ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {WEB}", 401),
        (TOKEN, 401),
        ("Bearer \x80", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
    ],
)
async def test_a_token_that_is_set_is_wanted_on_the_loopback_too(authorization: str, status: int, start: Start) -> None:
    plane = await start(FILE + f"admin_token: {TOKEN}\n")
    for path in ("/admin/v1/pools", "/admin/v1/config", "/admin/v1/keys"):
        async with plane.http.get(path, headers={"Authorization": authorization}) as answer:
            assert answer.status == status
            assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    for path in ("/health", "/health/live", "/metrics"):
        async with plane.http.get(path) as answer:
            assert answer.status == 200


async def test_beyond_the_loopback_nobody_may_without_a_token_being_set(start: Start) -> None:
    plane = await start(FILE + "ops_listen: 0.0.0.0:9464\n")
    for method, path in (("GET", "/config"), ("POST", "/keys/b/disable"), ("POST", "/reload"), ("GET", "/events")):
        status, code, message = await plane.refused(method, path, Authorization="Bearer ")
        assert (status, code) == (403, "no_admin_token")
        assert "SIDECAR_ADMIN_TOKEN" in message
    async with plane.http.get("/metrics") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
async def test_a_web_page_cannot_disable_a_key(header: dict[str, str], start: Start) -> None:
    plane = await start()
    assert (await plane.refused("POST", "/keys/b/disable", **header))[0] == 403
    assert plane.events == []


# --- reload -----------------------------------------------------------------------------------------


async def test_reload_says_what_changed_what_needs_a_restart_and_what_is_wrong(start: Start, tmp_path: Path) -> None:
    plane = await start()
    unchanged = {"status": "unchanged", "changes": [], "needs_restart": [], "warnings": []}
    assert await plane.ask("POST", "/reload") == (200, unchanged)
    (tmp_path / "sidecar.yaml").write_text(FILE.replace("1500ms", "2s").replace("namespace: admin", "namespace: x"))
    status, told = await plane.ask("POST", "/reload")
    assert (status, told["status"]) == (200, "reloaded")
    assert (told["changes"], told["needs_restart"]) == (["pool chat: max_wait changed"], ["namespace"])
    (tmp_path / "sidecar.yaml").write_text(FILE.replace("openai", "opnai"))
    status, told = await plane.ask("POST", "/reload")
    assert (status, told["error"]["code"]) == (422, "config_rejected")
    assert len(told["error"]["problems"]) == 2
    assert plane.replica.state.config.pools["chat"].max_wait_us == 2_000_000
    assert [bool(event.problems) for event in plane.events if isinstance(event, Reloaded)] == [False, False, True]


async def test_the_admin_token_of_the_new_config_holds(start: Start, tmp_path: Path) -> None:
    plane = await start()
    (tmp_path / "sidecar.yaml").write_text(FILE + f"admin_token: {TOKEN}\n")
    assert (await plane.ask("POST", "/reload"))[0] == 200
    assert (await plane.ask("GET", "/config"))[0] == 401
    assert (await plane.ask("GET", "/config", Authorization=f"Bearer {TOKEN}"))[0] == 200


async def test_the_pools_of_an_old_config_let_go_of_their_memory(start: Start, tmp_path: Path) -> None:
    plane = await start()
    gc.collect()
    gc.disable()
    try:
        old = weakref.ref(plane.replica.state.pools)
        for wait in ("2s", "3s"):
            (tmp_path / "sidecar.yaml").write_text(FILE.replace("1500ms", wait))
            await plane.replica.reload("admin")
        assert old() is None
    finally:
        gc.enable()


async def test_who_follows_is_told_of_the_configs_that_requests_under_way_use(tmp_path: Path) -> None:
    (tmp_path / "sidecar.yaml").write_text(FILE)
    source = Source(None, {}, tmp_path)
    heard: list[tuple[Config, list[Config]]] = []
    config = source.load()
    replica = Replica(
        config,
        Store.at("memory", "t", lambda _: None),
        lambda _: None,
        source,
        lambda new, old: heard.append((new, list(old))),
    )
    under_way = replica.state
    for wait in ("2s", "3s"):
        (tmp_path / "sidecar.yaml").write_text(FILE.replace("1500ms", wait))
        await replica.reload("admin")
    assert [len(old) for _, old in heard] == [1, 2]
    assert under_way.config in heard[1][1]
    assert heard[1][0] is replica.state.config
    await replica.close()
