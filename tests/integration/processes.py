"""What the integration tests share beside fixtures: real processes, and waiting for them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forked
import pytest

from triptych.encoders.registry import spaces_of
from triptych.schema import Space
from triptych.services import Services

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
_SECONDS = 550
TRIPTYCH = Path(sys.executable).with_name("triptych")
ONE = ("--concurrency", "1")
"""A worker of the tests has one pool process, however large the machine is, unless its options say otherwise."""


class Command:
    """Runs `triptych ...` as a real process in the session's environment: forked from one with the imports done, where it can
    be; `start` starts the program itself."""

    def __init__(self, environment: dict[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TRIPTYCH_")}
        self.environment = {**clean, **environment}

    def __call__(self, *args: str, check: bool = True, **changes: str) -> subprocess.CompletedProcess[str]:
        line, environment = [str(TRIPTYCH), *args], {**self.environment, **changes}
        if forked.able(changes):
            code, out, err = forked.run(TRIPTYCH, args, environment, seconds=_SECONDS)
            done = subprocess.CompletedProcess(line, code, out, err)
        else:
            done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=_SECONDS, check=False)
        if check and done.returncode != 0:
            pytest.fail(f"triptych {' '.join(args)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *args: str, check: bool = True, **changes: str) -> Any:
        return json.loads(self(*args, "--json", check=check, **changes).stdout)

    def start(self, *args: str, log: Path, **changes: str) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                [TRIPTYCH, *args], stdout=file, stderr=file, env={**self.environment, **changes}, start_new_session=True
            )


def end(process: subprocess.Popen[bytes], *, signal_number: int = signal.SIGTERM) -> None:
    """Stop a process that was started with its own session, children included."""
    if process.poll() is None:
        process.send_signal(signal_number)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started with its own session, children included, where its end is not what is looked at.

    A worker that has nothing to do takes three seconds to end in good order (Celery and its pool sleep).
    """
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def http_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(
    condition: Callable[[], bool], what: str, *, seconds: float = 120, alive: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until `condition` holds; fail the test when it does not in time, or `alive` ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        if alive is not None and alive.poll() is not None:
            pytest.fail(f"{what} ended with {alive.returncode}")
        time.sleep(0.1)
    pytest.fail(f"{what} was not there after {seconds} s")


@contextmanager
def beside(call: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs `call` in a thread while the block runs; its event is set when the block ends, and the thread is waited for."""
    over = threading.Event()
    thread = threading.Thread(target=call, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def spaces_here(services: Services) -> list[Space]:
    """The spaces of the profile in force."""
    return spaces_of(services.profile, services.settings)


def site(folder: Path, code: str) -> dict[str, str]:
    """Variables with which a Python runs `code` when it starts."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
