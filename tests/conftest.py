"""What several rooms of tests share: a real Redis, a process of it to be broken, and a state folder of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.embedded import Kept
from tests.servers import RedisProcess, binary, own_process, real_redis, unavailable

# How long an example takes says nothing of the code, on a machine that others use too.
settings.register_profile("patient", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def _no_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that is started here, in this process or another, touches the state folder of whoever runs the tests."""
    kept = Kept(tmp_path_factory.mktemp("state"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(kept.state))
        yield
    kept.end()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """The embedded store of an own state folder; afterwards no server of it is left."""
    if binary() is None:
        unavailable("no redis-server process")
    mine = Kept(tmp_path / "state")
    monkeypatch.setenv("XDG_STATE_HOME", str(mine.state))
    yield mine
    mine.end()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis for this test process."""
    with real_redis() as url:
        yield url


@pytest.fixture
def redis_process() -> Iterator[RedisProcess]:
    """A `redis-server` of this test's own, started; it may be frozen and killed."""
    with own_process("no redis-server process") as process:
        yield process
