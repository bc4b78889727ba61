"""The families of encoders with trained weights, as data. Entry points of the group `triptych.encoders`; light to import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from triptych.domain import Modality
from triptych.encoders.base import Family, Options

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO


class _Network(Options):
    """What every network of transformers can be told."""

    matryoshka: bool = Field(False, description="the model was trained so that its first values may be used alone")
    remote_code: bool = Field(False, description="run the Python code that comes with the model; only where you trust it")


class TextOptions(_Network):
    """As the model's card says: pooling and what stands before a query and before a document."""

    pooling: Literal["auto", "mean", "cls", "last"] = Field(
        "auto", description="tokens' vectors to one; auto: what the model's 1_Pooling/config.json says, else mean"
    )
    query_prompt: str = Field("", description="stands before a query, as 'query: '")
    document_prompt: str = Field("", description="stands before a product's text, as 'passage: '")
    max_tokens: int = Field(512, ge=8, le=32_768, description="longer texts are cut; never more than the model has positions")


TRANSFORMERS_TEXT = Family(
    name="transformers_text",
    summary="words: any text encoder of transformers (e5, bge-m3, MiniLM, gte ...)",
    factory="triptych.encoders.transformers_text:TransformersTextEncoder",
    documents=(TEXT,),
    queries=(TEXT,),
    options=TextOptions,
    wants_model=True,
)


class ImageTextOptions(_Network):
    query_prompt: str = Field("", description="stands before a query's words, as 'a photo of '")
    max_tokens: int | None = Field(None, ge=8, le=32_768, description="by default as many as the model was trained with")


IMAGE_TEXT = Family(
    name="image_text",
    summary="words and pictures in one space: CLIP, SigLIP, SigLIP 2, Chinese-CLIP",
    factory="triptych.encoders.image_text:ImageTextEncoder",
    documents=(IMAGE, TEXT),
    queries=(TEXT, IMAGE),
    options=ImageTextOptions,
    wants_model=True,
)


class AudioTextOptions(_Network):
    query_prompt: str = Field("", description="stands before a query's words, as 'this is a sound of '")
    windows: int = Field(3, ge=1, le=64, description="most windows of a long sound; their vectors' mean is taken")


AUDIO_TEXT = Family(
    name="audio_text",
    summary="words and sounds in one space: CLAP",
    factory="triptych.encoders.audio_text:AudioTextEncoder",
    documents=(AUDIO, TEXT),
    queries=(TEXT, AUDIO),
    options=AudioTextOptions,
    wants_model=True,
)


class GemmaOptions(Options):
    """The prompts stand before words only; pictures and sounds are embedded bare."""

    query_prompt: str = Field("task: search result | query: ", description="stands before a query's words")
    document_prompt: str = Field("title: none | text: ", description="stands before a product's text")
    max_tokens: int = Field(2048, ge=8, le=8192, description="longer texts are cut; the model was trained with up to 8192")
    picture_tokens: Literal[70, 140, 280, 560, 1120] = Field(
        280, description="most tokens a picture becomes; 70 is four times as fast on a CPU and sees less"
    )


EMBEDDING_GEMMA = Family(
    name="embedding_gemma",
    summary="words, pictures and sounds in one space: EmbeddingGemma 2; dims 768, 512, 256 or 128",
    factory="triptych.encoders.embedding_gemma:EmbeddingGemmaEncoder",
    documents=(TEXT, IMAGE, AUDIO),
    queries=(TEXT, IMAGE, AUDIO),
    options=GemmaOptions,
    wants_model=True,
)


class TorchvisionOptions(Options):
    architecture: str | None = Field(
        None, description="a classification model of torchvision, as vit_b_16; by default what `model: torchvision:NAME` names"
    )


TORCHVISION_IMAGE = Family(
    name="torchvision_image",
    summary="pictures by likeness: classification networks of torchvision (resnet50, efficientnet_v2_s, vit_b_16 ...)",
    factory="triptych.encoders.torchvision_image:TorchvisionEncoder",
    documents=(IMAGE,),
    queries=(IMAGE,),
    options=TorchvisionOptions,
    wants_model=True,
)

EFFICIENTNET_LITE = Family(
    name="efficientnet_lite",
    summary="pictures by likeness: EfficientNet-Lite0",
    factory="triptych.encoders.efficientnet:EfficientNetEncoder",
    derive="triptych.encoders.efficientnet:write_compiled",
    documents=(IMAGE,),
    queries=(IMAGE,),
    wants_model=True,
    extra="offline",
)


class ConseOptions(Options):
    top: int = Field(10, ge=1, le=1000, description="classes a picture is described by")


CONSE = Family(
    name="conse",
    summary="pictures by words without training: the names of the classes that a picture looks like",
    factory="triptych.encoders.conse:ConseEncoder",
    derive="triptych.encoders.conse:write_table",
    documents=(IMAGE,),
    queries=(TEXT,),
    options=ConseOptions,
    parts=("words", "pictures"),
)


class WhisperSoundOptions(Options):
    layers: int = Field(2, ge=1, le=32, description="layers of the encoder; the first hear sound, the last speech")
    windows: int = Field(3, ge=1, le=6, description="most windows of 5 s of a sound")


WHISPER_SOUND = Family(
    name="whisper_sound",
    summary="sounds by likeness: the first layers of a Whisper encoder",
    factory="triptych.encoders.whisper:WhisperSoundEncoder",
    derive="triptych.encoders.whisper:write_statistics",
    documents=(AUDIO,),
    queries=(AUDIO,),
    options=WhisperSoundOptions,
    wants_model=True,
)

TRAINED_HEAD = Family(
    name="trained_head",
    summary="words, pictures and sounds in one space: heads over other spaces' encoders, trained by `triptych train heads`",
    factory="triptych.encoders.trained_head:TrainedHeadEncoder",
    documents=(IMAGE, AUDIO, TEXT),
    queries=(TEXT, IMAGE, AUDIO),
    wants_model=True,
    over_modalities=True,
)
