"""granian, but for two things: its processes share one listening socket, and at SIGHUP they are exchanged without a gap.

granian gives each process a socket of its own on Linux, and connections that wait in it when its process ends are reset. Of a
shared one nothing is lost: they wait until a process takes them. And granian ends the old process some seconds after it started
the new one; here the new one first loads its encoders, and where it cannot, the old one stays.
https://github.com/emmett-framework/granian/issues/567
"""

from __future__ import annotations

import logging
import multiprocessing
import socket
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from granian.net import SocketSpec  # type: ignore[attr-defined]
from granian.server.mp import MPServer

from triptych.errors import SettingsError

log = logging.getLogger(__name__)

READY_SECONDS = 300.0
"""Time that a new process has to load its encoders."""

_LOOK_SECONDS = 0.2


class Server(MPServer):
    """`refresh` reads the settings anew, for the processes that are started next; it may raise SettingsError."""

    def __init__(self, target: str, *, refresh: Callable[[], object], **options: Any) -> None:
        super().__init__(target, **options)
        self._refresh = refresh
        # new code: a process that is forked has the modules that its parent has loaded
        multiprocessing.set_start_method("spawn", force=True)

    def _init_shared_socket(self) -> None:
        holder: Any = SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._ssp, self._shd, self._sfd = None, holder, holder.get_fd()
        self._sso = socket.socket(fileno=self._sfd)
        self._sso.set_inheritable(True)

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        try:
            self._refresh()
        except SettingsError as error:
            log.error("not reloaded: %s %s", error, error.remedy)  # noqa: TRY400  it says all; a trace says no more
            return
        for number in range(self.workers):
            why = self._exchange(number, spawn_target, target_loader)
            if why is not None:
                log.error("not reloaded: %s", why)
                return
        log.warning("reloaded: %d of %d processes are new", self.workers, self.workers)

    def _exchange(self, number: int, spawn_target: Any, target_loader: Any) -> str | None:
        """Replace one process by a new one; the reason where that one cannot serve, and the old one stays."""
        receiver, sender = multiprocessing.Pipe(duplex=False)
        new: Any = self._spawn_worker(number, spawn_target, partial(ready, target_loader, sender))
        new.inner.start()
        sender.close()
        why = self._told(receiver)
        if why is not None:
            self._end(new)
            return why
        old, self.wrks[number] = self.wrks[number], new
        new._watch()  # noqa: SLF001  from now on its end is a fault
        self._end(old)
        return None

    def _told(self, receiver: Connection) -> str | None:
        """Waits for what the new process says of itself; None where it is ready."""
        until = time.monotonic() + READY_SECONDS
        while not self.interrupt_signal and time.monotonic() < until:
            if receiver.poll(_LOOK_SECONDS):
                try:
                    state = receiver.recv()
                except EOFError:
                    return "the new process ended; its error stands above"
                return None if state["ok"] else f"{state['message']} {state.get('remedy') or ''}".strip()
        return "the server is stopped" if self.interrupt_signal else f"the new process was not ready in {READY_SECONDS:.0f} s"

    def _end(self, process: Any) -> None:
        """Let a process answer what it has begun, and end."""
        process.terminate()
        process.join(self.workers_kill_timeout)
        if process.is_alive():
            process.kill()
            process.join()


def ready(load: Callable[[], Any], told: Connection) -> Any:
    """The application, once its encoders are loaded; in the new process."""
    from search_api.warmth import WARMTH  # noqa: PLC0415  the server itself needs nothing of it

    app = load()
    told.send(app.extensions[WARMTH].wait())
    told.close()
    return app
