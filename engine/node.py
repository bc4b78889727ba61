"""One Elasticsearch node: its folder, its command line, and its life (start, ready, kill, restart, stop)."""

from __future__ import annotations

import http.client
import platform
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engine.build import LAUNCHER
from engine.disk import START_BYTES, require_space
from engine.java import GOOD, Java
from engine.local_http import Ask, Login, answer
from engine.process import LOCALHOST, Child, Command, last_words, require_port, start_attached, start_detached
from triptych.errors import EngineError

USER = "elastic"
READY_SECONDS = 180.0  # a boot takes 5 to 15 s on two cores; a slow, busy machine may take ten times that
_HEALTH_SECONDS = 30  # longest that recovering shards are waited for; the node serves requests meanwhile
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
_NATIVE_LINE = "Using native vector library"
_CHILD_OPTION = "-Ddevengine.exit.on.stdin.eof=true"


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node must know of its cluster: everyone's names and transport ports, its own among them. Empty: it is alone."""

    names: tuple[str, ...] = ()
    transport_ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Jvm:
    """The Java virtual machine's budget. `heap` in Java's notation.

    `compiler`: "quick" boots in half the time (8 against 15 s on two busy cores) and then runs slower, for tests; "full"
    is what a server has, for benchmarks and for `triptych up`.
    """

    heap: str = "512m"
    compiler: Literal["quick", "full"] = "quick"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """How to run one node. `folder` holds data, logs, config and snapshots; `home` is shared and only read.

    `port` 0 takes any free one; `extra` are more Elasticsearch settings.
    """

    name: str
    version: str
    home: Path
    folder: Path
    java: Java
    port: int = 0
    jvm: Jvm = Jvm()
    security: bool = False
    membership: Membership = Membership()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "node.log"

    @property
    def ports_file(self) -> Path:
        return self.folder / "logs" / "http.ports"

    @property
    def password_file(self) -> Path:
        return self.folder / "config" / "bootstrap-password"


def native_folder(home: Path) -> Path:
    """Where the distribution keeps its native libraries for this system, whether or not it has any."""
    system = {"darwin": "darwin", "win32": "windows"}.get(sys.platform, "linux")
    machine = {"x86_64": "x64", "amd64": "x64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    return home / "lib" / "platform" / f"{system}-{machine}"


def java_flags(plan: NodePlan) -> list[str]:
    """Flags for the Java virtual machine (design: engine.md 5)."""
    flags = [
        f"-Xms{plan.jvm.heap}",
        f"-Xmx{plan.jvm.heap}",
        "-XX:+UseSerialGC",
        "-Xss1m",
        "-Dfile.encoding=UTF-8",
        f"-Djava.io.tmpdir={plan.folder / 'tmp'}",
        "-Djna.nosys=true",
        "-Dio.netty.noUnsafe=true",
        "-Dlog4j2.disable.jmx=true",
        "-Dlog4j.shutdownHookEnabled=false",
        f"-Des.path.home={plan.home}",
        f"-Des.nativelibs.path={native_folder(plan.home)}",
    ]
    if plan.jvm.compiler == "quick":
        flags.append("-XX:TieredStopAtLevel=1")
    if plan.java.version >= 22:  # noqa: PLR2004 - the first Java with the flag for all
        flags.append("--enable-native-access=ALL-UNNAMED")
    if plan.java.vector_module and plan.java.version in GOOD:  # Lucene refuses it on others, with a warning
        flags += ["--add-modules", "jdk.incubator.vector"]
    return flags


def node_settings(plan: NodePlan) -> dict[str, str]:
    """Elasticsearch's settings for this node; `plan.extra` wins."""
    folder = plan.folder
    settings = {
        "node.name": plan.name,
        "cluster.name": "triptych",
        "network.host": LOCALHOST,
        "http.port": str(plan.port),
        "transport.port": "0",
        "node.portsfile": "true",
        "path.data": str(folder / "data"),
        "path.logs": str(folder / "logs"),
        "path.repo": str(folder / "repo"),
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "action.destructive_requires_name": "false",
        "xpack.security.enabled": "true" if plan.security else "false",
    }
    if plan.membership.names:
        ports = dict(zip(plan.membership.names, plan.membership.transport_ports, strict=True))
        settings["transport.port"] = str(ports[plan.name])
        settings["discovery.seed_hosts"] = ",".join(f"{LOCALHOST}:{port}" for port in ports.values())
        settings["cluster.initial_master_nodes"] = ",".join(ports)
        settings["path.repo"] = str(folder.parent / "repo")  # snapshots need a folder that all nodes share
    else:
        settings["discovery.type"] = "single-node"
    return {**settings, **plan.extra}


def node_command(plan: NodePlan, *options: str) -> Command:
    """The command line; `options` are further Java flags."""
    class_path = f"{plan.home / 'launch' / 'launch.jar'}:{plan.home / 'lib'}/*"
    settings = [f"{key}={value}" for key, value in node_settings(plan).items()]
    launch = [LAUNCHER, str(plan.home), str(plan.folder / "config"), *settings]
    return Command(
        arguments=(str(plan.java.executable), *java_flags(plan), *options, "-cp", class_path, *launch),
        log=plan.log,
        folder=plan.folder,
    )


def prepare_folder(plan: NodePlan) -> None:
    """Make the node's folders and configuration; keeps data, and a password once given."""
    require_space(plan.folder, START_BYTES, "starting Elasticsearch")
    for name in ("data", "logs", "repo", "config", "tmp"):
        (plan.folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plan.home / "log4j2.properties", plan.folder / "config" / "log4j2.properties")
    if plan.security:
        # The members of a cluster share one password, so it is made where they share a folder.
        shared = plan.folder.parent / "bootstrap-password" if plan.membership.names else plan.password_file
        if not shared.exists():
            _write_secret(shared, secrets.token_urlsafe(16))
        _write_secret(plan.password_file, shared.read_text(encoding="ascii"))
    plan.ports_file.unlink(missing_ok=True)


def _write_secret(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret, encoding="ascii")


class ElasticsearchNode:
    """A running node. Made by `elasticsearch_node` or `elasticsearch_cluster`; after `restart` it has the same URL and data."""

    def __init__(self, plan: NodePlan, start: Callable[[NodePlan], Child]) -> None:
        self._plan = plan
        self._start = start
        self._port = plan.port
        self._began = 0.0
        self._child: Child | None = None
        self.user: str | None = USER if plan.security else None
        self.password: str | None = None
        self.seconds_to_ready = 0.0

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def version(self) -> str:
        return self._plan.version

    @property
    def log(self) -> Path:
        return self._plan.log

    @property
    def child(self) -> Child:
        if self._child is None:
            raise EngineError(f"The node {self.name} was not started.", code="engine.not_ready")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT, without user and password."""
        return f"http://{LOCALHOST}:{self._port}"

    @property
    def native_vectors(self) -> bool:
        """Whether the node's log says that vectors are scored by the native library."""
        return _NATIVE_LINE in self.log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start the process; `wait_ready` tells when it answers."""
        plan = self._plan
        require_port(self._port, "Elasticsearch", "--port")
        prepare_folder(plan)
        if plan.security:
            self.password = plan.password_file.read_text(encoding="ascii").strip()
        if self._port:
            plan = replace(plan, port=self._port)
        self._began = time.monotonic()
        self._child = self._start(plan)

    def wait_ready(self, nodes: int = 1, *, seconds: float = READY_SECONDS) -> None:
        """Wait until the node answers in a cluster of `nodes` and its primaries are there.

        Raises EngineError: engine.node_exited with the log's last lines, engine.port_taken, engine.not_ready.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.child.running:
                raise self._exited()
            if self._answers(nodes):
                self.seconds_to_ready = time.monotonic() - self._began
                return
            time.sleep(_POLL_SECONDS)
        raise EngineError(
            f"Elasticsearch {self.version} was not ready after {seconds:.0f} s. Its log ends:\n{last_words(self.log)}",
            code="engine.not_ready",
            remedy=f"The whole log is {self.log}.",
        )

    def kill(self) -> None:
        """kill -9, as a crash; the data stays for `restart`."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """End it in good order."""
        if self._child is not None:
            self._child.stop(_STOP_SECONDS)

    def restart(self, nodes: int = 1) -> None:
        """Stop it if it runs, start it again on the same port with the same data, and wait until it is ready."""
        self.stop()
        self.start()
        self.wait_ready(nodes)

    def _answers(self, nodes: int) -> bool:
        if not self._plan.ports_file.exists():
            return False
        bound = [line for line in self._plan.ports_file.read_text(encoding="ascii").split() if not line.startswith("[")]
        if not bound:
            return False
        self._port = int(bound[0].rpartition(":")[2])
        try:
            return self._serves() and self._formed(nodes)
        except (OSError, http.client.HTTPException):
            return False

    def _serves(self) -> bool:
        if self.password is None:
            return answer(self._port, Ask("/"))[0] == http.client.OK
        # Setting the password it has makes the node write its security index. Otherwise it does so some time after the start,
        # and answers 503 to logins meanwhile (seen on 9.5.3).
        setting = Ask(f"/_security/user/{USER}/_password", "PUT", {"password": self.password})
        return answer(self._port, setting, login=Login(USER, self.password), seconds=_HEALTH_SECONDS)[0] == http.client.OK

    def _formed(self, nodes: int) -> bool:
        path = f"/_cluster/health?wait_for_status=yellow&wait_for_nodes=>={nodes}&timeout={_HEALTH_SECONDS}s"
        login = Login(USER, self.password) if self.password else None
        status, body = answer(self._port, Ask(path), login=login, seconds=_HEALTH_SECONDS + 5)
        if answer(self._port, Ask("/_license"), login=login)[0] != http.client.OK:
            return False  # the node gives itself its basic licence a moment after it begins to answer
        # A red index (408 after the wait) is the user's to see; a cluster that is not complete is not ready.
        return status in (http.client.OK, http.client.REQUEST_TIMEOUT) and int(body["number_of_nodes"]) >= nodes

    def _exited(self) -> EngineError:
        words = last_words(self.log)
        if "BindHttpException" in words or "Address already in use" in words:
            return EngineError(
                f"Port {self._port or '?'} was taken while Elasticsearch started.",
                code="engine.port_taken",
                field="--port",
                remedy="Try again, or name another port.",
                retryable=True,
            )
        if "failed to obtain node lock" in words:
            return EngineError(
                f"The data in {self._plan.folder} is in use by another Elasticsearch.",
                code="engine.data_in_use",
                remedy="End that one first (`triptych down`, or its process).",
            )
        code = self.child.exit_code
        ended = "ended while it started" if code is None else f"ended with {code} while it started"
        return EngineError(
            f"Elasticsearch {self.version} {ended}. Its log says:\n{words}",
            code="engine.node_exited",
            remedy=f"The whole log is {self.log}.",
        )


def attached(plan: NodePlan) -> Child:
    """Start a node that ends when this process does, however it does."""
    return start_attached(node_command(plan, _CHILD_OPTION))


def detached(plan: NodePlan) -> Child:
    """Start a node that outlives this process."""
    return start_detached(node_command(plan))
