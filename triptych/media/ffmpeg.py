"""Sounds that libsndfile does not know, turned into WAV by an ffmpeg program.

ffmpeg can read playlists, other files and the network when a file tells it to. Here it cannot: the demuxer is named (chosen by
the file's signature, so nothing is guessed), its input is one open file, the only protocol is `file`, only decoders of sounds
are allowed, and time, length and the size of what it writes are limited. See https://ffmpeg.org/ffmpeg-protocols.html and
-formats.html (protocol_whitelist, codec_whitelist).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import IO

from triptych.domain import Modality
from triptych.errors import MediaError
from triptych.media.limits import Limits
from triptych.media.signature import Kind

DEMUXERS: Mapping[Kind, str] = {Kind.MP4: "mov", Kind.ADTS: "aac", Kind.MATROSKA: "matroska"}
"""The kinds that go to ffmpeg, and its name for each."""

_CODECS = "aac,aac_fixed,alac,opus,libopus,vorbis,libvorbis,mp3float,mp3,flac,ac3,eac3,pcm_s16le,pcm_s16be,pcm_s24le,pcm_f32le"
_MOST_BYTES_A_SECOND = 2 * 192_000  # 16 bits, mono, at the highest rate that AAC, ALAC and Opus are used at


def to_wav(data: bytes, kind: Kind, limits: Limits) -> bytes:
    """The first stream of sound in `data` as mono WAV of 16 bits, at its own rate, one second over the limit at most.

    Raises MediaError: media.needs_ffmpeg, media.too_slow, media.truncated (ffmpeg found no sound in it) or media.bad_rate.
    """
    program = limits.ffmpeg or shutil.which("ffmpeg")
    if program is None or not os.access(program, os.X_OK):
        raise MediaError(
            f"{kind.value} sounds need the program ffmpeg, which is not {'there' if program else 'on PATH'}.",
            code="media.needs_ffmpeg",
            field=Modality.AUDIO,
            remedy="Install ffmpeg, set TRIPTYCH_FFMPEG to its path, or convert the sound to FLAC, Ogg or MP3.",
        )
    most = int((limits.media_seconds + 1) * _MOST_BYTES_A_SECOND)
    with _open_file(data) as file:
        wav, ended = _run(_command(str(program), DEMUXERS[kind], file.fileno(), limits), file.fileno(), most, limits)
    if len(wav) > most:
        raise MediaError("The sound is at an absurd rate.", code="media.bad_rate", field=Modality.AUDIO)
    if ended != 0 or not wav:
        raise MediaError("The sound does not decode: ffmpeg gave up.", code="media.truncated", field=Modality.AUDIO)
    return wav


def _open_file(data: bytes) -> IO[bytes]:
    """An open file without a name: an M4A is read from its end first, which a pipe does not allow."""
    in_memory = hasattr(os, "memfd_create")  # Linux
    file: IO[bytes] = os.fdopen(os.memfd_create("sound"), "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(data)
    file.flush()
    file.seek(0)
    return file


def _command(program: str, demuxer: str, handle: int, limits: Limits) -> list[str]:
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "quiet"]
    safe = ["-protocol_whitelist", "file", "-codec_whitelist", _CODECS, "-threads", "1"]
    source = ["-f", demuxer, "-t", f"{limits.media_seconds + 1:.3f}", "-i", f"file:/dev/fd/{handle}"]
    # 16 bits: with floats ffmpeg does not scale a mix of channels to what one can hold
    target = ["-map", "0:a:0", "-ac", "1", "-c:a", "pcm_s16le", "-bitexact", "-threads", "1", "-f", "wav", "pipe:1"]
    return [program, *quiet, *safe, *source, *target]


def _run(command: list[str], handle: int, most: int, limits: Limits) -> tuple[bytes, int]:
    """What the program writes, at most one byte more than `most`, and its exit status. Raises MediaError media.too_slow."""
    late = threading.Event()
    with subprocess.Popen(  # noqa: S603  a fixed command; the file's bytes reach it only as a file
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(handle,)
    ) as process:

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(limits.decode_seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            assert process.stdout is not None  # noqa: S101  for mypy: stdout is a pipe
            wav = process.stdout.read(most + 1)
            if len(wav) > most:
                process.kill()
            ended = process.wait()
        finally:
            timer.cancel()
            process.kill()  # if something was raised; does nothing to one that ended
    if late.is_set():
        raise MediaError(
            f"Decoding took longer than {limits.decode_seconds:g} s.",
            code="media.too_slow",
            field=Modality.AUDIO,
            remedy="Convert the sound to FLAC or Ogg, or raise TRIPTYCH_DECODE_SECONDS.",
        )
    return wav, ended
