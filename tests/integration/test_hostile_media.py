"""Every file of tests/hostile gives its code and costs no neighbour; what happens to a child does not happen to its parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from PIL import Image

from triptych.domain import Modality, Waveform
from triptych.errors import MediaError, TriptychError
from triptych.media.decode import decode
from triptych.media.decoder import AHEAD, Decoder
from triptych.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

HOSTILE = Path(__file__).parents[1] / "hostile"
MOST_GROWTH = 300_000_000
"""Bytes by which the parent may grow over the whole corpus."""
LONGEST = 60.0
"""Seconds that the whole corpus may take."""


def _picture(side: int = 64, colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(8000, 0.25, dtype=np.float32), 8000, format="FLAC")
    return buffer.getvalue()


def _media_settings(**changes: Any) -> Settings:
    given = {"decode_seconds": 5.0, "ffmpeg": imageio_ffmpeg.get_ffmpeg_exe()}
    return Settings(**{**given, **changes})


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(_media_settings()) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def corpus() -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HOSTILE))
        from corpus import corpus

        return corpus()


def _status(pid: int | str, name: str) -> int:
    """A line of /proc/PID/status, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _outcome(decoder: Decoder, data: bytes, modality: Modality) -> str:
    (result,) = decoder.decode_all([(data, modality)])
    if isinstance(result, MediaError):
        assert result.field == modality
        return result.code
    assert isinstance(result, Waveform if modality is Modality.AUDIO else Image.Image)
    return "decodes"


def _child(decoder: Decoder) -> Any:
    """The one child of a decoder, started if need be."""
    (slot,) = decoder._slots
    return slot.ready()


# The corpus


def test_the_corpus_is_large_in_number_and_small_in_bytes(corpus: list[Any]) -> None:
    assert len({(entry.modality, entry.name) for entry in corpus}) == len(corpus) > 200
    assert sum(len(entry.data) for entry in corpus) < 20_000_000


def test_every_file_gives_its_code_and_nobody_dies(corpus: list[Any], decoder: Decoder) -> None:
    settings = _media_settings()
    wanted = {(entry.modality, entry.name): entry.expected for entry in corpus}
    found: dict[tuple[str, str], str] = {}
    before, most, began = _status("self", "VmRSS"), 0, time.monotonic()
    killed = 0
    for entry in corpus:
        child = _child(decoder)
        found[entry.modality, entry.name] = _outcome(decoder, entry.data, entry.modality)
        most = max(most, _status("self", "VmRSS"))
        killed += _child(decoder) is not child
        assert _status(_child(decoder).pid, "VmPeak") < settings.decode_bytes
    assert {name: (wanted[name], code) for name, code in found.items() if code != wanted[name]} == {}
    assert killed == list(wanted.values()).count("media.too_slow")  # no file but those took its child with it
    assert most - before < MOST_GROWTH
    assert time.monotonic() - began < LONGEST
    assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
    assert _outcome(decoder, _sound(), Modality.AUDIO) == "decodes"


def test_every_code_of_a_decoder_is_in_the_corpus(corpus: list[Any]) -> None:
    assert {entry.expected for entry in corpus} >= {
        "media.empty", "media.not_a_picture", "media.too_many_pixels", "media.bomb", "media.truncated", "media.polyglot",
        "media.not_a_sound", "media.too_many_channels", "media.bad_rate", "media.too_long", "media.no_samples",
        "media.too_slow",
    }  # fmt: skip


# One decoder


def test_the_result_is_that_of_decoding_here(decoder: Decoder) -> None:
    settings = _media_settings()
    image, sound = decoder.decode(_picture(), Modality.IMAGE), decoder.decode(_sound(), Modality.AUDIO)
    here = decode(_picture(), Modality.IMAGE, settings)
    assert isinstance(image, Image.Image)
    assert isinstance(here, Image.Image)
    assert (image.mode, image.size, image.tobytes()) == (here.mode, here.size, here.tobytes())
    there = decode(_sound(), Modality.AUDIO, settings)
    assert isinstance(sound, Waveform)
    assert isinstance(there, Waveform)
    assert sound.rate == there.rate
    assert np.array_equal(sound.samples, there.samples)


def test_a_picture_that_needs_more_memory_than_allowed_ends_its_child() -> None:
    """36 bytes of WebP are 49 million pixels, which Pillow and libwebp take a gigabyte for."""
    buffer = io.BytesIO()
    Image.new("RGBA", (7000, 7000), (255, 0, 0, 9)).save(buffer, "WEBP", lossless=True, method=0)
    with Decoder(_media_settings(decode_bytes=600_000_000)) as decoder:
        assert _outcome(decoder, buffer.getvalue(), Modality.IMAGE) == "media.decoder_died"
        assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
        assert _status(_child(decoder).pid, "VmPeak") < 600_000_000


@pytest.mark.parametrize("size", [1_000, 5_000_000], ids=["and was asked", "and does not read what it is asked"])
def test_a_child_that_hangs_is_too_slow_and_is_replaced(size: int) -> None:
    with Decoder(_media_settings(decode_seconds=2.0)) as decoder:
        hanging = _child(decoder)
        os.kill(hanging.pid, signal.SIGSTOP)
        began = time.monotonic()
        assert _outcome(decoder, _picture() + bytes(size), Modality.IMAGE) == "media.too_slow"
        assert 1.9 < time.monotonic() - began < 10
        assert not hanging.alive
        assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"


def _kill_while_it_decodes(decoder: Decoder) -> str:
    """What a request comes to whose child is killed in the middle of it."""
    child = _child(decoder)
    os.kill(child.pid, signal.SIGSTOP)  # so that it is certainly not done
    outcomes: list[str] = []
    thread = threading.Thread(target=lambda: outcomes.append(_outcome(decoder, _picture(), Modality.IMAGE)))
    thread.start()
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGKILL)
    thread.join(30)
    return outcomes[0]


def test_a_new_child_that_is_killed_died_of_the_file() -> None:
    with Decoder(_media_settings()) as decoder:
        assert _kill_while_it_decodes(decoder) == "media.decoder_died"
        assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"


def test_a_child_that_decoded_before_may_have_died_of_that_and_the_file_gets_another() -> None:
    with Decoder(_media_settings()) as decoder:
        assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
        assert _kill_while_it_decodes(decoder) == "decodes"


def test_a_child_that_was_killed_while_idle_is_replaced() -> None:
    with Decoder(_media_settings()) as decoder:
        assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
        idle = _child(decoder)
        os.kill(idle.pid, signal.SIGKILL)
        assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
        assert _child(decoder) is not idle


def test_a_child_that_cannot_start_is_nobodys_file() -> None:
    with Decoder(_media_settings(decode_bytes=40_000_000)) as decoder, pytest.raises(TriptychError) as caught:
        decoder.decode(_picture(), Modality.IMAGE)
    assert not isinstance(caught.value, MediaError)
    assert (caught.value.code, caught.value.retryable) == ("media.no_decoder", True)


def test_an_error_is_raised_by_decode_and_given_by_decode_all(decoder: Decoder) -> None:
    with pytest.raises(MediaError) as caught:
        decoder.decode(b"", Modality.AUDIO)
    (given,) = decoder.decode_all([(b"", Modality.AUDIO)])
    assert isinstance(given, MediaError)
    assert (caught.value.code, caught.value.field, str(caught.value)) == (given.code, given.field, str(given))


def test_a_closed_decoder_has_no_children_and_can_be_used_again() -> None:
    decoder = Decoder(_media_settings())
    decoder.close()
    assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
    child = _child(decoder)
    decoder.close()
    assert not child.alive
    assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
    decoder.close()


# decode_all and threads


def test_results_come_in_order_with_errors_among_them() -> None:
    items = [(_picture(side), Modality.IMAGE) for side in range(1, 20)]
    items[7] = (b"not a picture", Modality.IMAGE)
    items[9] = (_sound(), Modality.AUDIO)
    with Decoder(_media_settings(), processes=2) as decoder:
        results = list(decoder.decode_all(items))
    assert isinstance(results[7], MediaError)
    assert results[7].code == "media.not_a_picture"
    assert isinstance(results[9], Waveform)
    sizes = [result.size[0] if isinstance(result, Image.Image) else None for result in results]
    assert sizes == [None if place in (7, 9) else place + 1 for place in range(19)]


def test_what_comes_then_is_done_before_a_result_is_given_and_not_to_errors() -> None:
    items = [(_picture(side), Modality.IMAGE) for side in range(1, 8)]
    items[3] = (b"not a picture", Modality.IMAGE)
    seen: list[int] = []
    with Decoder(_media_settings(), processes=2) as decoder:
        results = list(decoder.decode_all(items, then=lambda result: seen.append(id(result))))
    pictures = [id(result) for result in results if isinstance(result, Image.Image)]
    assert len(pictures) == 6
    assert sorted(seen) == sorted(pictures)


def test_no_more_is_read_ahead_than_it_says() -> None:
    read = 0

    def items() -> Iterator[tuple[bytes, Modality]]:
        nonlocal read
        for _ in range(50):
            read += 1
            yield _picture(), Modality.IMAGE

    with Decoder(_media_settings(), processes=2) as decoder:
        for number, _ in enumerate(decoder.decode_all(items()), start=1):
            assert read <= number + AHEAD
            if number == 20:
                break
        assert read <= 20 + AHEAD
        assert _outcome_of_two(decoder) == ["decodes", "decodes"]


def _outcome_of_two(decoder: Decoder) -> list[str]:
    return [_outcome(decoder, _picture(), Modality.IMAGE), _outcome(decoder, _sound(), Modality.AUDIO)]


def test_many_threads_share_a_decoder() -> None:
    outcomes: list[bool] = []

    def work(side: int) -> None:
        for _ in range(5):
            result = decoder.decode(_picture(side), Modality.IMAGE)
            outcomes.append(isinstance(result, Image.Image) and result.size == (side, side))

    with Decoder(_media_settings(), processes=2) as decoder:
        threads = [threading.Thread(target=work, args=(side,)) for side in range(10, 18)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert outcomes == [True] * 40


# Processes


def test_a_fork_has_children_of_its_own(decoder: Decoder) -> None:
    mine = _child(decoder).pid
    reading, writing = os.pipe()
    fork = os.fork()
    if fork == 0:
        try:
            outcome = f"{_outcome(decoder, _picture(), Modality.IMAGE)} {_child(decoder).pid != mine}"
            decoder.close()
        except BaseException as error:  # noqa: BLE001  the test's own process must not go on as a second pytest
            outcome = repr(error)
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "decodes True"
    os.waitpid(fork, 0)
    assert _outcome(decoder, _picture(), Modality.IMAGE) == "decodes"
    assert _child(decoder).pid == mine


def test_children_end_with_their_parent() -> None:
    script = (
        "import sys, time; from triptych.media.decoder import AHEAD, Decoder; from triptych.settings import Settings\n"
        "decoder = Decoder(Settings()); print(decoder._slots[0].ready().pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wanted = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < wanted, "the child outlived its parent"
        time.sleep(0.05)


def test_a_child_inherits_no_secrets_and_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIPTYCH_ELASTICSEARCH_PASSWORD", "secret")
    with (tmp_path / "open").open("w") as file, Decoder(_media_settings()) as decoder:
        os.set_inheritable(file.fileno(), True)
        pid = _child(decoder).pid
        environment = Path(f"/proc/{pid}/environ").read_text()
        targets = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert "TRIPTYCH" not in environment
    assert not [target for target in targets if target.is_relative_to(tmp_path)]


def test_a_child_loads_no_more_than_it_decodes_with() -> None:
    heavy = ("torch", "torchvision", "transformers", "librosa", "scipy", "elasticsearch", "soundfile", "pillow_heif", "flask")
    script = f"import sys, triptych.media.decode, triptych.media.wire; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
