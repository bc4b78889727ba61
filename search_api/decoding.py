"""A query's pictures and sounds, decoded for as long as the query has time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from search_api.deadline import Deadline
from triptych.domain import Modality
from triptych.errors import EncoderError
from triptych.media.process import Result
from triptych.services import Services


class QueryDecoder:
    """Decodes queries' media. Share one between threads."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def decode(self, data: bytes, modality: Modality, deadline: Deadline) -> Result:
        """The picture or the sound. Raises MediaError as the decoder does, EncoderError where the deadline comes first.

        What is being decoded then goes on to its end, so that no child is ended and begun anew for each query in a hurry.
        """
        if deadline.seconds is None:
            return self._services.decoder.decode(data, modality)
        if deadline.left == 0:  # as it is for each further leg of what was not decoded in time
            raise _too_slow(modality)
        done = self._pool.submit(self._services.decoder.decode, data, modality)
        try:
            return done.result(deadline.left)
        except TimeoutError:
            done.cancel()
            raise _too_slow(modality) from None

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._services.settings.decode_processes, thread_name_prefix="decoding")


def _too_slow(modality: Modality) -> EncoderError:
    return EncoderError(
        f"The {modality} was not decoded within timeout_ms.",
        code="encoder.too_slow",
        field="timeout_ms",
        retryable=True,
        remedy="Give it more time, or a smaller file.",
    )
