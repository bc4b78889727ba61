"""A voice for the tests of spoken queries: espeak-ng, from its package, as WAV bytes. Robotic, but real speech.

Each text is spoken by a new process: espeak keeps state from one text to the next, and what it says then differs a little.
"""

from __future__ import annotations

import ctypes
import io
import subprocess
import sys
import wave

import espeakng_loader
import numpy as np

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h
_RATE, _WORDS_A_MINUTE = 1, 130  # espeakRATE
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def say(text: str, *, voice: str = "en") -> bytes:
    """The text spoken, as a WAV file; the same text is the same file."""
    return subprocess.run([sys.executable, __file__, text, voice], stdout=subprocess.PIPE, check=True, timeout=60).stdout


def _spoken(text: str, voice: str) -> bytes:
    """The text spoken, as a WAV file. https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h"""
    parts: list[np.ndarray[tuple[int], np.dtype[np.int16]]] = []

    def heard(samples: ctypes.POINTER, count: int, _: int) -> int:  # type: ignore[valid-type]
        if count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    callback = _CALLBACK(heard)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    library.espeak_SetSynthCallback(callback)
    assert library.espeak_SetVoiceByName(voice.encode()) == 0
    library.espeak_SetParameter(_RATE, _WORDS_A_MINUTE, 0)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.concatenate(parts).tobytes())
    return stream.getvalue()


if __name__ == "__main__":
    sys.stdout.buffer.write(_spoken(*sys.argv[1:]))
