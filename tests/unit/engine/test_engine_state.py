"""state.json: what `up` writes and triptych.settings reads."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from engine import guard, state
from engine.state import Service, State
from triptych.errors import EngineError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

NODE = Service("elasticsearch", "node-1", "9.5.3", 2**22 + 7, "1@boot", "/log", "http://127.0.0.1:1234")
REDIS = Service("redis", "redis", "8.2.3", os.getpid(), guard.birth(os.getpid()) or "", "/log", "redis://127.0.0.1:1235/0")


def test_round_trip_and_what_the_settings_see(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert state.read(settings.engine_dir) == State()
    both = State((NODE, REDIS), "elastic", "secret")
    state.write(settings.engine_dir, both)
    assert state.read(settings.engine_dir) == both
    assert (settings.elasticsearch_address, settings.redis_address) == (NODE.url, REDIS.url)
    path = settings.engine_dir / "state.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(path.read_text())
    assert document["elasticsearch_password"] == "secret"
    state.write(settings.engine_dir, State())
    assert not path.exists()


def test_the_address_is_told_only_when_all_nodes_are_ready(tmp_path: Path) -> None:
    waiting = replace(NODE, name="node-2", url=None)
    assert State((NODE, waiting)).url("elasticsearch") is None
    state.write(tmp_path, State((NODE, waiting)))
    assert "elasticsearch_url" not in json.loads((tmp_path / "state.json").read_text())
    assert State((NODE, REDIS)).url("elasticsearch") == NODE.url


def test_running_is_asked_of_the_system() -> None:
    assert REDIS.running
    assert not NODE.running
    assert state.end([NODE]) == []


def test_forgetting_one_kind_keeps_the_other() -> None:
    both = State((NODE, REDIS), "elastic", "secret")
    assert both.without("elasticsearch") == State((REDIS,))
    assert both.without("redis") == State((NODE,), "elastic", "secret")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"services": [{"pid": 1}]}'])
def test_a_file_that_is_not_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(EngineError, match="cannot be understood") as caught:
        state.read(tmp_path)
    assert caught.value.code == "engine.state"
