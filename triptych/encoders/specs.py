"""What the offline encoders are, as data: listed, mapped and fingerprinted without loading torch.

`identity` names everything that changes the vectors: the sources' sha256 and a recipe version per encoder. Raise the version
in `_VERSIONS` whenever preprocessing, prompts, pooling or a conversion changes; indices of the old fingerprint are then
refused.
"""

from __future__ import annotations

from triptych.domain import Modality
from triptych.encoders import sources
from triptych.encoders.base import EncoderSpec

E5_FOLDER = "multilingual-e5-small"
EFFICIENTNET_FOLDER = "efficientnet-lite0"
CONSE_FOLDER = "conse-efficientnet-lite0"
WHISPER_FOLDER = "whisper-base"

_VERSIONS = {E5_FOLDER: 1, EFFICIENTNET_FOLDER: 1, CONSE_FOLDER: 1, WHISPER_FOLDER: 1}

IMAGENET_CLASSES_SHA256 = "571ae1c583b4be7da87519494c52bf405a46af05d5815627c7a0dee997068b60"
"""Of the 1000 names in imagenet_classes.txt joined by line feeds."""

_E5 = {"weights": sources.E5.sha256, "version": _VERSIONS[E5_FOLDER]}
_EFFICIENTNET = {"weights": sources.EFFICIENTNET_WEIGHTS.sha256, "version": _VERSIONS[EFFICIENTNET_FOLDER]}

TEXT = EncoderSpec(
    name="multilingual-e5-small",
    space="text",
    document_modality=Modality.TEXT,
    query_modalities=(Modality.TEXT,),
    dims=384,
    licence="MIT",
    description="words of about 100 languages; Wang et al. 2024, arXiv:2402.05672",
    identity={**_E5, "prompts": ["query: ", "passage: "], "pooling": "mean", "max_tokens": 512},
)
IMAGE = EncoderSpec(
    name="efficientnet-lite0",
    space="image",
    document_modality=Modality.IMAGE,
    query_modalities=(Modality.IMAGE,),
    dims=1280,
    licence="Apache-2.0",
    description="pictures by likeness, trained on ImageNet; Tan and Le 2019, arXiv:1905.11946",
    identity={**_EFFICIENTNET, "preprocessing": "white letterbox 196 in 224, bicubic", "pooling": "root of mean"},
)
IMAGE_WORDS = EncoderSpec(
    name="conse-efficientnet-lite0-e5",
    space="image_words",
    document_modality=Modality.IMAGE,
    query_modalities=(Modality.TEXT,),
    dims=384,
    licence="Apache-2.0 and MIT",
    description="pictures by words, through the 1000 ImageNet classes; ConSE, Norouzi et al. 2014, arXiv:1312.5650",
    identity={
        "text": _E5,
        "image": _EFFICIENTNET,
        "classes": IMAGENET_CLASSES_SHA256,
        "top": 10,
        "version": _VERSIONS[CONSE_FOLDER],
    },
)
AUDIO = EncoderSpec(
    name="whisper-base-encoder",
    space="audio",
    document_modality=Modality.AUDIO,
    query_modalities=(Modality.AUDIO,),
    dims=1024,
    licence="MIT",
    description="sounds by likeness, the first layers of Whisper base; Radford et al. 2022, arXiv:2212.04356",
    identity={
        "weights": sources.WHISPER_JOINED_SHA256,
        "layers": 2,
        "windows": "5 s, repeated to fill, at most 3",
        "pooling": "mean and deviation, standardised by synthetic sounds",
        "version": _VERSIONS[WHISPER_FOLDER],
    },
)

OFFLINE = (TEXT, IMAGE, IMAGE_WORDS, AUDIO)
"""The offline profile, in the order in which its spaces are listed and searched."""


def recipe_of(folder: str) -> str:
    """What a prepared folder's manifest must say it was made from; another recipe is prepared anew."""
    spec = {E5_FOLDER: TEXT, EFFICIENTNET_FOLDER: IMAGE, CONSE_FOLDER: IMAGE_WORDS, WHISPER_FOLDER: AUDIO}[folder]
    return spec.fingerprint
