"""What `up` does when something runs already; this very process stands for the services."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine import guard, state
from engine.state import Service, State
from engine.up import Request, start, stop
from triptych.errors import EngineError
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.fixture
def running(tmp_path: Path) -> Settings:
    """A machine on which Elasticsearch 9.5.3 and Redis run."""
    settings = Settings(data_dir=tmp_path)
    me = Service("redis", "redis", "8.2.3", os.getpid(), guard.birth(os.getpid()) or "", "/log", "redis://127.0.0.1:1/0")
    node = replace(me, kind="elasticsearch", name="node-1", version="9.5.3", url="http://127.0.0.1:2")
    state.write(settings.engine_dir, State((node, me)))
    return settings


@pytest.mark.parametrize(
    "request_",
    [Request(), Request(version="9.5"), Request(nodes=1, security=False), Request(kinds=("redis",)), Request(port=9200)],
)
def test_what_runs_is_not_started_again(running: Settings, request_: Request) -> None:
    said: list[str] = []
    outcome = start(running, request_, said.append)
    assert (outcome.started, said) == ((), [])
    assert outcome.state == state.read(running.engine_dir)


@pytest.mark.parametrize("request_", [Request(version="8.19"), Request(nodes=3), Request(security=True)])
def test_something_else_than_what_runs_is_refused(running: Settings, request_: Request) -> None:
    with pytest.raises(EngineError, match=r"Elasticsearch 9\.5\.3 with 1 node\(s\), security off, is running") as caught:
        start(running, request_, print)
    assert caught.value.code == "engine.running_differs"
    assert "triptych down" in str(caught.value.remedy)


def test_what_died_is_forgotten_even_if_the_next_start_fails(running: Settings) -> None:
    before = state.read(running.engine_dir)
    dead = replace(before.of("elasticsearch")[0], birth="1@long-ago")
    state.write(running.engine_dir, replace(before, services=(dead, *before.of("redis"))))
    without_java = running.model_copy(update={"java_home": running.data_dir / "nothing"})
    with pytest.raises(EngineError) as caught:
        start(without_java, Request(), lambda _: None)
    assert caught.value.code == "engine.java_unsuitable"
    assert state.read(running.engine_dir).services == before.of("redis")


def test_down_forgets_what_is_gone_and_ends_no_stranger(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    stranger = Service("redis", "redis", "8.2.3", os.getpid(), "1@long-ago", "/log", "redis://127.0.0.1:1/0")
    state.write(settings.engine_dir, State((stranger,)))
    assert json.loads((settings.engine_dir / "state.json").read_text())["redis_url"]
    assert stop(settings, print) == []
    assert not (settings.engine_dir / "state.json").exists()
    assert stop(settings, print) == []
