"""Sounds that only ffmpeg reads: what it gives, what it is allowed, and what is said without it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from triptych.errors import MediaError
from triptych.media import ffmpeg
from triptych.media.decode import KEPT_SECONDS, decode_audio
from triptych.media.signature import Kind
from triptych.settings import Settings

pytestmark = pytest.mark.unit

RATE = 44_100
PROGRAM = Path(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture
def settings(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", ffmpeg=PROGRAM)


def _tone(seconds: float, channels: int = 1) -> np.ndarray:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)
    return np.repeat(tone[:, None], channels, axis=1).astype(np.float32)


def _encoded(folder: Path, ending: str, *options: str, seconds: float = 1, channels: int = 1) -> bytes:
    source, target = folder / "source.wav", folder / f"target.{ending}"
    buffer = io.BytesIO()
    soundfile.write(buffer, _tone(seconds, channels), RATE, format="WAV")
    source.write_bytes(buffer.getvalue())
    command = [str(PROGRAM), "-loglevel", "error", "-y", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return target.read_bytes()


def _refused(data: bytes, settings: Settings) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decode_audio(data, settings)
    assert caught.value.field == "audio"
    return caught.value


def _pretending(folder: Path, script: str) -> Path:
    """A program that does something else in ffmpeg's place."""
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("m4a", ()),
        ("m4a", ("-movflags", "faststart")),
        ("m4a", ("-c:a", "alac")),
        ("aac", ()),
        ("mov", ()),
        ("webm", ("-c:a", "libopus")),
        ("mka", ("-c:a", "flac")),
    ],
)
def test_a_kind_that_is_read(ending: str, options: tuple[str, ...], settings: Settings, tmp_path: Path) -> None:
    sound = decode_audio(_encoded(tmp_path, ending, *options), settings)
    assert sound.rate == (48_000 if ending == "webm" else RATE)
    assert sound.seconds == pytest.approx(1, abs=0.1)
    assert np.abs(sound.samples).max() == pytest.approx(0.5, abs=0.1)


def test_stereo_is_not_louder_than_mono(settings: Settings, tmp_path: Path) -> None:
    sound = decode_audio(_encoded(tmp_path, "m4a", channels=2), settings)
    assert np.abs(sound.samples).max() == pytest.approx(0.5, abs=0.1)


def test_of_a_long_sound_three_parts_are_kept(settings: Settings, tmp_path: Path) -> None:
    sound = decode_audio(_encoded(tmp_path, "m4a", seconds=40), settings)
    assert sound.seconds == KEPT_SECONDS


def test_a_sound_that_is_too_long(settings: Settings, tmp_path: Path) -> None:
    data = _encoded(tmp_path, "m4a", seconds=10)
    assert _refused(data, settings.model_copy(update={"media_seconds": 5.0})).code == "media.too_long"


def test_without_ffmpeg_the_remedy_names_it(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean_environment.setenv("PATH", str(tmp_path))
    error = _refused(b"\xff\xf1" + b"\0" * 100, Settings())
    assert error.code == "media.needs_ffmpeg"
    assert "TRIPTYCH_FFMPEG" in str(error.remedy)


def test_a_program_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    missing = settings.model_copy(update={"ffmpeg": tmp_path / "none"})
    assert _refused(b"\xff\xf1" + b"\0" * 100, missing).code == "media.needs_ffmpeg"


def test_the_program_on_path_is_found(clean_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = _encoded(tmp_path, "aac")
    (tmp_path / "ffmpeg").symlink_to(PROGRAM)
    clean_environment.setenv("PATH", str(tmp_path))
    assert decode_audio(data, Settings()).rate == RATE


def test_a_program_that_does_not_end_is_ended(settings: Settings, tmp_path: Path) -> None:
    slow = settings.model_copy(update={"ffmpeg": _pretending(tmp_path, "exec sleep 60"), "decode_seconds": 0.3})
    assert _refused(b"\xff\xf1" + b"\0" * 100, slow).code == "media.too_slow"


def test_a_program_that_writes_without_end_is_ended(settings: Settings, tmp_path: Path) -> None:
    endless = settings.model_copy(update={"ffmpeg": _pretending(tmp_path, "exec cat /dev/zero"), "media_seconds": 1.0})
    assert _refused(b"\xff\xf1" + b"\0" * 100, endless).code == "media.bad_rate"


@pytest.mark.parametrize("kind", list(ffmpeg.DEMUXERS))
def test_nothing_is_guessed_and_no_other_file_is_read(kind: Kind, settings: Settings) -> None:
    command = ffmpeg._command("ffmpeg", ffmpeg.DEMUXERS[kind], 7, settings)
    source = command.index("-i")
    assert command[source + 1] == "file:/dev/fd/7"
    assert command[command.index("-f") + 1] == ffmpeg.DEMUXERS[kind]
    assert command.index("-f") < source
    assert command[command.index("-protocol_whitelist") + 1] == "file"
    assert command.index("-codec_whitelist") < source


@pytest.mark.parametrize(
    "text", [b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile '/etc/passwd'\n", b"v=0\nc=IN\n"]
)
def test_playlists_never_reach_it(text: bytes, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    assert _refused(text, settings).code == "media.not_a_sound"
