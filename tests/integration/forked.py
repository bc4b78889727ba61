"""Commands in processes that are forked from one which has imported what most commands need: more than half of a short command
is imports.

What runs is `triptych.cli.main` as the program `triptych` runs it, in a process of its own: own variables, output and exit
code, and an end as any Python has it. As a script, `forked.py SOCKET PROGRAM`: fork one for each who connects, until standard
input ends.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = ("triptych.cli", "triptych.services", "indexer.cli", "indexer.submit", "indexer.fit", "indexer.upgrade.cli",
            "indexer.upgrade.starting", "indexer.attach.cli", "rich.progress")  # fmt: skip
"""Nothing that reads the environment, starts a thread of ours or opens a connection; no torch."""

_SECONDS = 120.0


def able(changes: Mapping[str, str]) -> bool:
    """Whether a command with these variables may be forked: only ours are read after the imports."""
    return sys.platform == "linux" and all(name.startswith("TRIPTYCH_") for name in changes)


def run(program: Path, line: Sequence[str], environment: Mapping[str, str], *, seconds: float) -> tuple[int, str, str]:
    """Run a command: exit code, standard output, standard error. Raises TimeoutError."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
    ):
        client.connect(str(_server(program)))
        client.settimeout(seconds)
        asked = json.dumps({"line": list(line), "environment": dict(environment), "folder": str(Path.cwd())}).encode()
        socket.send_fds(client, [len(asked).to_bytes(4, "big")], [out.fileno(), err.fileno()])
        client.sendall(asked)
        with client.makefile("rb") as told:
            process = int(told.readline())
            try:
                code = int(told.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return code, texts[0], texts[1]


@functools.cache
def _server(program: Path) -> Path:
    """The socket of this process's server, which is started."""
    folder = Path(tempfile.mkdtemp(prefix="triptych-forked-"))
    path, log = folder / "socket", folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, __file__, str(path), str(program)],
            stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    atexit.register(_end, server)
    until = time.monotonic() + _SECONDS
    while not path.exists():
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"no server of forks:\n{log.read_text()}")
        time.sleep(0.02)
    return path


def _end(server: subprocess.Popen[bytes]) -> None:
    """It also ends with this process, which has the other end of its standard input."""
    if server.stdin is not None:
        server.stdin.close()
    server.wait(timeout=10)


def _main(path: Path, program: str) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who answers
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        scratch = path.with_name("new")
        listener.bind(str(scratch))
        listener.listen(64)
        scratch.rename(path)
        while True:
            ready, _, _ = select.select([listener, sys.stdin.fileno()], [], [])
            if listener not in ready:
                shutil.rmtree(path.parent)
                return
            client, _ = listener.accept()
            if os.fork() == 0:
                break
            client.close()
    with client:
        command = _command(client)
    sys.argv = [program, *command]
    sys.modules["__main__"].__file__ = program
    importlib.import_module("triptych.cli").main()


def _command(client: socket.socket) -> list[str]:
    """In a fork: answer by another one, which becomes the command and returns its line."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, given, _, _ = socket.recv_fds(client, 4, 2)
    with client.makefile("rb") as stream:
        asked = json.loads(stream.read(int.from_bytes(size, "big")))
    child = os.fork()
    if child:
        client.sendall(f"{child}\n".encode())
        client.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in zip((nothing, *given), (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    line: list[str] = asked["line"]
    return line


if __name__ == "__main__":
    sys.path.pop(0)  # of this folder: a command does not have it
    _main(Path(sys.argv[1]), sys.argv[2])
