"""Triptych: multimodal product search (text, image, audio) for the Elasticsearch you already run."""

from triptych.domain import DeadLetter, Media, Modality, Outcome, Product, Vector, Vectors, Waveform
from triptych.errors import TriptychError
from triptych.settings import Settings

__all__ = [
    "DeadLetter",
    "Media",
    "Modality",
    "Outcome",
    "Product",
    "Settings",
    "TriptychError",
    "Vector",
    "Vectors",
    "Waveform",
]
__version__ = "0.1.0"
