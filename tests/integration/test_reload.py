"""`triptych serve` takes new settings and code, and ends, without failing a request: a real process under steady requests."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
import urllib3
from processes import ROOT, Command, beside, end, free_port, http_ok, wait_for

pytestmark = pytest.mark.integration

LIVE = '{"status": "live"}'
PACKAGES = ("triptych", "search_api", "indexer", "mappings")


@dataclass(frozen=True)
class Served:
    """A running API, its file of settings, the folder of its code and its log."""

    process: subprocess.Popen[bytes]
    port: int
    file: Path
    code: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reload(self, settings: str) -> None:
        self.file.write_text(settings, encoding="utf-8")
        self.process.send_signal(signal.SIGHUP)

    def says(self, path: str) -> tuple[int, bytes]:
        answer = urllib3.request("GET", self.url + path, timeout=60, retries=False)
        return answer.status, answer.data

    def workers(self) -> set[int]:
        """The processes that answer."""
        children = psutil.Process(self.process.pid).children()
        return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}


@pytest.fixture(scope="module")
def served(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With code of its own, so that a test may change it."""
    folder = tmp_path_factory.mktemp("served")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    file, log, port = folder / "settings.env", folder / "serve.log", free_port()
    file.write_text("# nothing yet\n", encoding="utf-8")
    options = ["serve", "--port", str(port), "--env-file", str(file)]
    process = command.start(*options, log=log, PYTHONPATH=str(folder / "code"))
    found = Served(process, port, file, folder / "code", log)
    try:
        wait_for(lambda: http_ok(f"{found.url}/v1/health/ready"), f"the API ({log})", alive=process)
        yield found
    finally:
        end(process)


@contextmanager
def asked(served: Served, index: str) -> Iterator[Counter[str]]:
    """Searches all the time, over new connections and over one that stays; what became of them, by its name."""
    seen: Counter[str] = Counter()
    body = json.dumps({"index": index, "text": "red hat", "size": 3})

    def ask(over: threading.Event, *, stays: bool) -> None:
        pool = urllib3.PoolManager(maxsize=1, block=True, timeout=120)
        # a request that meets the end of a connection that stayed is sent anew, as browsers and proxies do: no answer began
        again = urllib3.Retry(total=1, connect=0, read=1 if stays else 0, allowed_methods=None, redirect=0)
        headers = {"Content-Type": "application/json", **({} if stays else {"Connection": "close"})}
        while not over.is_set():
            try:
                answer = pool.request("POST", f"{served.url}/v1/search", body=body, headers=headers, retries=again)
                seen[str(answer.status)] += 1
            except urllib3.exceptions.HTTPError as error:
                seen[repr(error)] += 1
            time.sleep(0.1)

    with ExitStack() as clients:
        for stays in (True, False, False):
            clients.enter_context(beside(partial(ask, stays=stays)))
        yield seen


def test_new_settings_and_new_code_without_a_failed_request(served: Served, shop: str) -> None:
    assert served.says("/")[0] == 200
    assert served.says("/v1/health/live")[1] == LIVE.replace(" ", "").encode()
    first = served.workers()
    view = served.code / "search_api" / "views" / "health.py"
    text = view.read_text(encoding="utf-8")
    assert text.count(LIVE) == 1
    with asked(served, shop) as seen:
        view.write_text(text.replace(LIVE, '{"status": "alive"}'), encoding="utf-8")
        served.reload("TRIPTYCH_PAGES=false\n")
        done = "reloaded: 1 of 1"
        wait_for(lambda: done in served.log.read_text(), f"the reload ({served.log})", seconds=300, alive=served.process)
        before = seen.total()
        wait_for(lambda: seen.total() > before + 10, "answers of the new process")
    assert seen.keys() == {"200"}
    assert served.says("/")[0] == 404
    assert served.says("/v1/health/live")[1] == b'{"status":"alive"}'
    assert len(served.workers()) == 1
    assert not served.workers() & first


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("TRIPTYCH_PROFIL=light\n", "TRIPTYCH_PROFIL is not a setting of Triptych"),  # the server itself says so
        ("TRIPTYCH_PROFILE=none-such\n", "There is no profile 'none-such'"),  # the new process, which cannot load it
    ],
)
def test_settings_that_are_wrong_change_nothing(served: Served, settings: str, why: str) -> None:
    before = served.workers()
    served.reload(settings)
    wait_for(lambda: f"not reloaded: {why}" in served.log.read_text(), f"the refusal ({served.log})", alive=served.process)
    wait_for(lambda: served.workers() == before, "the old process alone")
    assert http_ok(f"{served.url}/v1/health/ready")


def test_requests_under_way_are_answered_and_new_ones_refused_when_it_ends(served: Served, shop: str) -> None:
    body = json.dumps({"index": shop, "text": "red hat", "size": 1}).encode()
    head = f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as caller:
        caller.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 100"), "the application reads the body"
        caller.sendall(body[:10])
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refused(served.port), "a refusal")
        caller.sendall(body[10:])
        answer = b""
        while part := caller.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["hits"]
    assert served.process.wait(timeout=60) == 0


def test_an_address_that_others_reach_keeps_asking_for_keys(command: Command, tmp_path: Path) -> None:
    """The file may say another address, which is for the next start; the one that is bound stays open to others."""
    file, log, port = tmp_path / "settings.env", tmp_path / "serve.log", free_port()
    file.write_text("TRIPTYCH_API_HOST=0.0.0.0\nTRIPTYCH_API_KEYS=true\n", encoding="utf-8")
    process = command.start("serve", "--port", str(port), "--env-file", str(file), log=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: http_ok(f"{url}/v1/health/ready"), f"the API ({log})", alive=process)
        file.write_text("TRIPTYCH_API_HOST=127.0.0.1\n", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "not reloaded: On 0.0.0.0 other machines" in log.read_text(), f"the refusal ({log})", alive=process)
        assert urllib3.request("GET", f"{url}/v1/jobs", retries=False).status == 401
    finally:
        end(process)


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False
