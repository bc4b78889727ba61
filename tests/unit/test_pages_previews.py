"""Previews: what is made of a picture and of a sound."""

from __future__ import annotations

import base64
import hashlib
import io
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_api.pages import previews
from search_api.pages.previews import MOST_RATE, SECONDS, SIDE, Previews, Source, jpeg, wav
from search_api.searcher import Searcher
from triptych.domain import Media, Modality, Waveform
from triptych.errors import MediaError, TriptychError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("size", "wanted"), [((1024, 512), (SIDE, SIDE // 2)), ((40, 30), (40, 30)), ((1, 900), (1, SIDE))])
def test_a_picture_becomes_a_small_jpeg(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    given = Image.new("RGB", size, "red")
    made = Image.open(io.BytesIO(jpeg(given)))
    assert (made.format, made.size) == ("JPEG", wanted)
    assert given.size == size


@pytest.mark.parametrize("rate", [8000, 24_000, 24_001, 44_100, 192_000])
def test_a_sound_becomes_a_short_wav_of_the_same_pitch(rate: int) -> None:
    time = np.arange(12 * rate) / rate
    tone = Waveform(np.sin(2 * np.pi * 440 * time).astype(np.float32), rate)
    with wave.open(io.BytesIO(wav(tone))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        made = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert made <= MOST_RATE
    assert len(samples) / made == pytest.approx(SECONDS, abs=0.01)
    loudest = np.fft.rfftfreq(len(samples), 1 / made)[np.abs(np.fft.rfft(samples)).argmax()]
    assert loudest == pytest.approx(440, rel=0.001)


def test_a_sound_louder_than_full_is_cut_off_and_does_not_wrap() -> None:
    with wave.open(io.BytesIO(wav(Waveform(np.array([2, -2, 0], dtype=np.float32), 8000)))) as file:
        assert np.frombuffer(file.readframes(3), dtype="<i2").tolist() == [32767, -32767, 0]


def inline(data: bytes) -> Source:
    reference = f"data:;base64,{base64.b64encode(data).decode()}"
    return Source(Media(Modality.IMAGE, reference), Path("none"), hashlib.sha256(data).hexdigest())


@pytest.fixture
def maker(settings: Settings) -> Previews:
    """Of media in their references, so no service is asked."""
    services = Services(settings)
    return Previews(services, Searcher(services))


def picture(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (colour, 0, 0)).save(out, "PNG")
    return out.getvalue()


def test_what_was_made_is_kept_up_to_a_bound(maker: Previews, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [inline(picture(n)) for n in range(4)]
    first = maker.make(sources[0])
    assert maker.make(sources[0]) is first
    monkeypatch.setattr(previews, "KEPT_BYTES", 2 * len(first) + 10)
    for source in sources[1:]:
        maker.make(source)
    assert maker.make(sources[3]) is maker.make(sources[3])
    assert maker.make(sources[0]) is not first
    assert maker.make(sources[0]) == first


def test_what_is_no_picture_is_refused_and_gives_its_place_back(maker: Previews) -> None:
    for _ in range(previews.AT_ONCE + 1):
        with pytest.raises(MediaError) as caught:
            maker.make(inline(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"))
        assert caught.value.code == "media.not_a_picture"


def test_a_picture_that_breaks_off_is_shown_as_far_as_it_goes(maker: Previews) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    half = out.getvalue()[: out.tell() // 2]
    assert Image.open(io.BytesIO(maker.make(inline(half)))).size == (64, 64)
    with pytest.raises(MediaError) as caught:
        maker._services.decoder.decode(half, Modality.IMAGE)
    assert caught.value.code == "media.truncated", "a worker refuses it as before"


def test_too_many_at_once_are_told_to_come_again(maker: Previews, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "WAIT_SECONDS", 0.01)
    for _ in range(previews.AT_ONCE):
        assert maker._making.acquire(blocking=False)
    with pytest.raises(TriptychError) as caught:
        maker.make(inline(picture(1)))
    assert (caught.value.code, caught.value.retryable) == ("preview.busy", True)
