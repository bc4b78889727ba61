"""The process that decodes: `python -m triptych.media.child MOST_BYTES`, started by triptych.media.decoder, asked over stdin.

It lives until its stdin ends, which the parent's death brings about too. (PR_SET_PDEATHSIG would be no help: it fires when the
thread that started the child ends, not the process.)
"""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from triptych.media.wire import Reads

SPARE_SECONDS = 5  # the parent's clock kills first; this one is for a child whose parent died while it decoded


def main() -> None:
    """Answer requests until there are no more."""
    most_bytes = int(sys.argv[1])
    _limit(resource.RLIMIT_AS, most_bytes)
    _limit(resource.RLIMIT_CORE, 0)  # a crash is expected, its memory is not wanted on disk
    replies, nothing = os.fdopen(os.dup(1), "wb"), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # a C library that prints must not write into the replies

    from triptych.domain import Modality  # noqa: PLC0415  after the limits are set
    from triptych.errors import MediaError  # noqa: PLC0415
    from triptych.media.decode import decode  # noqa: PLC0415
    from triptych.media.limits import GivenLimits  # noqa: PLC0415
    from triptych.media.wire import answer, receive, send  # noqa: PLC0415

    send(replies, {"ready": True})
    os.dup2(nothing, 2)  # until here an error should be seen; decoders' warnings about strangers' files should not
    requests = cast("Reads", sys.stdin.buffer)
    while (request := receive(requests, most_bytes)) is not None:
        header, data = request
        limits = GivenLimits.from_json(header["limits"])
        _limit_time(limits.decode_seconds)
        try:
            answer(replies, decode(bytes(data), Modality(header["modality"]), limits, lenient=header["lenient"]))
        except MediaError as error:
            answer(replies, error)
        except MemoryError:
            message = f"Decoding needs more than the {most_bytes} bytes of memory allowed."
            remedy = "Make the file smaller or raise TRIPTYCH_DECODE_BYTES."
            answer(replies, MediaError(message, code="media.decoder_died", remedy=remedy))
        except Exception as error:  # noqa: BLE001  whatever a broken file brings about is told to the parent
            answer(replies, MediaError(f"The decoder failed: {error!r}.", code="media.undecodable"))


def _limit(what: int, most: int) -> None:
    """Set a limit of this process and its children, as far as the system lets it (macOS has no RLIMIT_AS)."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(what, (most, hard))
    except (ValueError, OSError):
        return


def _limit_time(seconds: float) -> None:
    """From now on this process may compute for `seconds` and some; then the system ends it (SIGXCPU)."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds + SPARE_SECONDS) + 1)


if __name__ == "__main__":
    main()
