"""Decoding in child processes, so that a file that crashes, hangs or fills a decoder costs a child and not the worker.

A child (triptych.media.child) lives long and decodes one file after another. It knows nothing of the settings but the limits
that come with each request, has no secrets in its environment, and ends when its stdin does. multiprocessing is no help here:
a Celery worker's processes are daemonic and may not start processes with it.

`Decoder.decode` blocks; `Decoder.decode_all` decodes ahead of who reads its results.
"""

from __future__ import annotations

import os
import queue
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from triptych.domain import Modality
from triptych.errors import MediaError
from triptych.media.limits import GivenLimits
from triptych.media.process import Child, DiedError, LateError, Result
from triptych.settings import Settings


@dataclass(slots=True)
class _Slot:
    """A place for a child, which is started when it is first needed."""

    settings: Settings
    child: Child | None = None

    def ready(self) -> Child:
        if self.child is not None and not self.child.alive:  # ended between two requests, say for the system's want of memory
            self.drop()
        if self.child is None:
            self.child = Child(self.settings)
        return self.child

    def drop(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()

    def close(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.close()

    def disown(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.disown()


AHEAD = 16
"""Results that `decode_all` holds ready: enough to decode while a batch is embedded. 16 pictures of 1024^2 take 50 MB."""


class Decoder:
    """Decodes in `processes` children; for use by any number of threads, and by a fork, which starts children of its own.

    Children start with the first request and end with `close`, with the decoder, or with this process.
    """

    def __init__(self, settings: Settings, *, processes: int = 1) -> None:
        self.processes = processes
        self._limits = GivenLimits.of(settings)
        self._slots = [_Slot(settings) for _ in range(processes)]
        self._free = self._all_free()
        weakref.finalize(self, _close, self._slots)
        _decoders.add(self)

    def decode(self, data: bytes, modality: Modality, *, lenient: bool = False) -> Result:
        """The RGB picture or the sound in `data`, as triptych.media.decode has it. Waits for a child that is free.

        `lenient` is `decode_image`'s.
        Raises MediaError with the codes of triptych.media.decode, media.too_slow (over TRIPTYCH_DECODE_SECONDS),
        media.decoder_died (it crashed or needed more than TRIPTYCH_DECODE_BYTES) or media.undecodable; TriptychError
        media.no_decoder, which is not the file's fault, if no child can be started.
        """
        result = self._result(data, modality, lenient)
        if isinstance(result, MediaError):
            raise result
        return result

    def decode_all(
        self, items: Iterable[tuple[bytes, Modality]], *, then: Callable[[Result], None] | None = None
    ) -> Iterator[Result | MediaError]:
        """The result of each item, in order; an error is given, not raised. `then` is called with each result in the thread
        that waited for it.

        While the consumer is busy with one result, the next AHEAD items are read and decoded, no more.
        """
        with ThreadPoolExecutor(self.processes, thread_name_prefix="decode") as pool:
            ahead: deque[Future[Result | MediaError]] = deque()
            try:
                for data, modality in items:
                    ahead.append(pool.submit(self._result, data, modality, then=then))
                    if len(ahead) > AHEAD:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:  # also when the consumer stops early
                for future in ahead:
                    future.cancel()

    def close(self) -> None:
        """End the children, each when it has no request. A decoder that is used again starts new ones."""
        slots = [self._free.get() for _ in self._slots]
        _close(slots)
        for slot in slots:
            self._free.put(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a fork: leave the children to the process they belong to."""
        for slot in self._slots:
            slot.disown()
        self._free = self._all_free()

    def _all_free(self) -> queue.LifoQueue[_Slot]:
        """The slots that no thread uses; the last one used comes first, so that no more children run than are needed."""
        free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in self._slots:
            free.put(slot)
        return free

    def _result(
        self, data: bytes, modality: Modality, lenient: bool = False, then: Callable[[Result], None] | None = None
    ) -> Result | MediaError:
        free = self._free
        slot = free.get()
        try:
            result = self._ask(slot, data, modality, lenient)
        finally:
            free.put(slot)
        if then is not None and not isinstance(result, MediaError):
            then(result)
        return result

    def _ask(self, slot: _Slot, data: bytes, modality: Modality, lenient: bool) -> Result | MediaError:
        """Ask the slot's child. If a child dies that has decoded before, a new one is asked once more.

        The file before may have damaged the child's memory, or filled it: that must not be this file's loss.
        """
        while True:
            child = slot.ready()
            first = child.served == 0
            try:
                result = child.ask(data, modality, self._limits, lenient=lenient)
            except LateError:
                slot.drop()
                return _too_slow(modality, self._limits.decode_seconds)
            except DiedError:
                slot.drop()
                result = _died(modality)
            except BaseException:  # the process is told to end, say: the next one must not get this one's answer
                slot.drop()
                raise
            if isinstance(result, MediaError) and result.code == _DIED:
                slot.drop()
                if not first:
                    continue
            return result


_decoders: weakref.WeakSet[Decoder] = weakref.WeakSet()


def _after_fork() -> None:
    for decoder in _decoders:
        decoder.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _close(slots: Iterable[_Slot]) -> None:
    for slot in slots:
        slot.close()


_DIED = "media.decoder_died"


def _died(modality: Modality) -> MediaError:
    return MediaError(
        "The process that decoded the file died of it.",
        code="media.decoder_died",
        field=modality,
        remedy="Convert the file to another format, or raise TRIPTYCH_DECODE_BYTES.",
    )


def _too_slow(modality: Modality, seconds: float) -> MediaError:
    return MediaError(
        f"Decoding took longer than {seconds:g} s.",
        code="media.too_slow",
        field=modality,
        remedy="Make the file smaller, convert it to another format, or raise TRIPTYCH_DECODE_SECONDS.",
    )
