"""Processes: told apart by birth, ended only if ours, and gone when the parent is. With small real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import guard
from engine.process import (
    Command,
    free_ports,
    last_words,
    port_taken,
    require_port,
    start_attached,
    start_detached,
    start_guarded,
)
from triptych.errors import EngineError

pytestmark = pytest.mark.unit

SLEEP = "/bin/sleep"


def command(folder: Path, *arguments: str) -> Command:
    return Command(arguments=arguments, log=folder / "log", folder=folder)


def gone(pid: int, born: str, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while guard.is_ours(pid, born) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not guard.is_ours(pid, born)


def test_birth_tells_processes_apart() -> None:
    mine = guard.birth(os.getpid())
    assert mine
    assert mine == guard.birth(os.getpid())
    assert guard.is_ours(os.getpid(), mine)
    assert not guard.is_ours(os.getpid(), "12@another-boot")
    assert guard.birth(2**22 + 7) is None


def test_a_zombie_is_gone(tmp_path: Path) -> None:
    child = subprocess.Popen([SLEEP, "60"])
    born = guard.birth(child.pid)
    assert born
    child.send_signal(signal.SIGKILL)
    assert gone(child.pid, born)
    assert guard.birth(child.pid) is None
    child.wait()


def test_another_process_with_our_number_is_never_signalled() -> None:
    child = subprocess.Popen([SLEEP, "60"])
    assert not guard.end(child.pid, "1@long-ago")
    assert child.poll() is None
    assert guard.end(child.pid, guard.birth(child.pid) or "")
    assert child.wait() == -signal.SIGTERM


def test_who_ignores_sigterm_is_killed() -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        assert guard.end(child.pid, guard.birth(child.pid) or "", seconds=0.2)
        assert child.wait() == -signal.SIGKILL


def test_attached_stop_and_kill(tmp_path: Path) -> None:
    first = start_attached(command(tmp_path, SLEEP, "60"))
    assert first.running
    first.stop(5)
    assert (first.running, first.exit_code) == (False, -signal.SIGTERM)
    second = start_guarded(command(tmp_path, SLEEP, "60"))
    second.kill()
    assert (second.running, second.exit_code) == (False, -signal.SIGKILL)
    second.stop(5)


def test_detached_outlives_its_starter_and_writes_to_the_log(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from engine.process import Command, start_detached
folder = Path({str(tmp_path)!r})
child = start_detached(Command(("/bin/sh", "-c", "echo hello; exec sleep 60"), folder / "log", folder))
print(child.pid, child.birth, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid, born = done.stdout.strip().split(" ", 1)
    assert guard.is_ours(int(pid), born)
    assert guard.end(int(pid), born)
    assert (tmp_path / "log").read_text() == "hello\n"


@pytest.mark.parametrize("start", ["start_attached", "start_guarded"])
def test_killing_the_parent_ends_the_child(tmp_path: Path, start: str) -> None:
    arguments = ("/bin/cat",) if start == "start_attached" else (SLEEP, "60")
    code = f"""
import time
from pathlib import Path
from engine import process
folder = Path({str(tmp_path)!r})
child = process.{start}(process.Command({arguments!r}, folder / "log", folder))
print(child.pid, child.birth, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid, born = parent.stdout.readline().strip().split(" ", 1)
        assert guard.is_ours(int(pid), born)
        parent.kill()
    assert gone(int(pid), born)


def test_a_detached_child_of_this_very_process(tmp_path: Path) -> None:
    child = start_detached(command(tmp_path, SLEEP, "60"))
    assert child.running
    child.stop(5)
    assert not child.running


def test_a_taken_port_is_named_with_the_option() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert port_taken(port)
        with pytest.raises(EngineError, match=f"Port {port} on 127.0.0.1 is taken by another process, so Redis") as caught:
            require_port(port, "Redis", "--redis-port")
    assert (caught.value.code, caught.value.field) == ("engine.port_taken", "--redis-port")
    require_port(port, "Redis", "--redis-port")
    require_port(0, "Redis", "--redis-port")


def test_free_ports_differ() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not any(port_taken(port) for port in ports)


def test_last_words_are_those_that_tell(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    assert last_words(log) == "(no log)"
    log.write_text("[INFO ] starting\n\n[ERROR] cannot lock\n\tat org.some.Where(File.java:1)\nCaused by: x\n[INFO ] closed\n")
    assert last_words(log) == "[ERROR] cannot lock\nCaused by: x"
    log.write_text("one\ntwo\n")
    assert last_words(log) == "one\ntwo"
