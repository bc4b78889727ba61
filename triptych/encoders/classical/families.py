"""The families without trained weights, as data: classical features, and small networks trained on the catalogue itself.

Light to import: no numpy, scikit-learn, OpenCV, librosa or torch until an encoder is made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from triptych.domain import Modality
from triptych.encoders.base import Family, Options

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO
_HERE = "triptych.encoders.classical"


class _TextOptions(Options):
    sample: int = Field(20_000, ge=1, description="texts of the catalogue it is fitted on, chosen at random")
    seed: int = Field(0, ge=0, description="of every random choice of the fit")


class _PictureOptions(Options):
    sample: int = Field(2_000, ge=1, description="pictures of the catalogue it is fitted on, chosen at random")
    seed: int = Field(0, ge=0, description="of every random choice of the fit")


class _SoundOptions(Options):
    rate: int = Field(
        22_050,
        ge=4_000,
        le=48_000,
        description="hertz that all sounds are brought to: the lowest that catalogue and queries have",
    )
    sample: int = Field(2_000, ge=1, description="sounds of the catalogue it is fitted on, chosen at random")
    seed: int = Field(0, ge=0, description="of every random choice of the fit")


class _Training(Options):
    """How a small network is trained: by `epochs`, bounded by `steps` and, as a last resort, by `seconds`."""

    epochs: int = Field(40, ge=0, le=10_000, description="times that each product of the sample is seen")
    steps: int = Field(3_000, ge=0, le=1_000_000, description="most batches, however many products there are")
    batch: int = Field(32, ge=2, le=4096, description="products a batch; each is told from all others in it")
    seconds: float = Field(300, gt=0, description="training ends after so long; where it does, two fits may differ")
    temperature: float = Field(0.1, gt=0, le=1, description="of the contrast (InfoNCE)")


class BagOfWordsOptions(_TextOptions):
    weighting: Literal["tf", "tfidf"] = Field("tfidf", description="whether a word of many texts counts less")
    vocabulary: int = Field(50_000, ge=1, description="most words, and most parts of words, that are known")
    characters: bool = Field(True, description="parts of words too (3 to 5 letters): other spellings and compounds")


BAG_OF_WORDS = Family(
    name="bag_of_words",
    summary="words: bag of words or TF-IDF, made dense by latent semantic analysis",
    factory=f"{_HERE}.bag_of_words:encoder",
    fit=f"{_HERE}.bag_of_words:fit",
    documents=(TEXT,),
    queries=(TEXT,),
    options=BagOfWordsOptions,
)


class WordVectorsOptions(_TextOptions):
    vocabulary: int = Field(20_000, ge=1, description="most words learned, or read from the model's file")
    window: int = Field(10, ge=1, le=100, description="words to either side that are a word's company")
    rarity: float = Field(1e-3, gt=0, description="a of SIF: a word of share p weighs a / (a + p)")


WORD_VECTORS = Family(
    name="word_vectors",
    summary="words: averaged word embeddings, learned from the catalogue or read from a word2vec or fastText file (.vec)",
    factory=f"{_HERE}.word_vectors:encoder",
    fit=f"{_HERE}.word_vectors:fit",
    documents=(TEXT,),
    queries=(TEXT,),
    options=WordVectorsOptions,
)


class TextCnnOptions(_TextOptions, _Training):
    vocabulary: int = Field(20_000, ge=1, description="most words that are known")
    words: int = Field(96, ge=4, le=4096, description="words of a text that are read")
    learning_rate: float = Field(2e-3, gt=0, le=1)


TEXT_CNN = Family(
    name="text_cnn",
    summary="words: a small convolutional network, trained on the catalogue",
    factory=f"{_HERE}.text_cnn:encoder",
    fit=f"{_HERE}.text_cnn:fit",
    documents=(TEXT,),
    queries=(TEXT,),
    options=TextCnnOptions,
)


class HogOptions(Options):
    side: int = Field(64, ge=16, le=512, multiple_of=8, description="pixels a side that a picture is brought to")


HOG = Family(
    name="hog",
    summary="pictures by outline: histograms of oriented gradients, nothing fitted; dims 1764 for side 64",
    factory=f"{_HERE}.hog:encoder",
    documents=(IMAGE,),
    queries=(IMAGE,),
    options=HogOptions,
)


class HogPcaOptions(HogOptions, _PictureOptions):
    pass


HOG_PCA = Family(
    name="hog_pca",
    summary="pictures by outline: histograms of oriented gradients, shortened by the catalogue's principal components",
    factory=f"{_HERE}.hog:pca_encoder",
    fit=f"{_HERE}.hog:fit_pca",
    documents=(IMAGE,),
    queries=(IMAGE,),
    options=HogPcaOptions,
)


class SiftOptions(_PictureOptions):
    side: int = Field(128, ge=32, le=1024, description="pixels a side that a picture is brought to")
    points: int = Field(300, ge=1, le=5_000, description="most points of a picture that are described")


SIFT = Family(
    name="sift",
    summary="pictures by detail: SIFT bag of visual words; as many words as dims",
    factory=f"{_HERE}.sift:encoder",
    fit=f"{_HERE}.sift:fit",
    documents=(IMAGE,),
    queries=(IMAGE,),
    options=SiftOptions,
    extra="classical",
)


class ColourOptions(Options):
    hues: int = Field(12, ge=2, le=64)
    saturations: int = Field(3, ge=1, le=16)
    values: int = Field(3, ge=1, le=16)
    greys: int = Field(6, ge=2, le=32)


COLOUR_HISTOGRAM = Family(
    name="colour_histogram",
    summary="pictures by colour: HSV histogram of the object, white background left out, nothing fitted; dims 114",
    factory=f"{_HERE}.colour_histogram:encoder",
    documents=(IMAGE,),
    queries=(IMAGE,),
    options=ColourOptions,
)


class ImageCnnOptions(_PictureOptions, _Training):
    side: int = Field(64, ge=16, le=256, multiple_of=16, description="pixels a side that a picture is brought to")
    learning_rate: float = Field(2e-3, gt=0, le=1)


IMAGE_CNN = Family(
    name="image_cnn",
    summary="pictures: a small convolutional network, trained on the catalogue",
    factory=f"{_HERE}.image_cnn:encoder",
    fit=f"{_HERE}.image_cnn:fit",
    documents=(IMAGE,),
    queries=(IMAGE,),
    options=ImageCnnOptions,
)


class MfccOptions(_SoundOptions):
    coefficients: int = Field(20, ge=2, le=64, description="of each frame; the vector has four values for each")


MFCC = Family(
    name="mfcc",
    summary="sounds by timbre: statistics of mel-frequency cepstral coefficients; dims 80 for 20 coefficients",
    factory=f"{_HERE}.sound_statistics:mfcc_encoder",
    fit=f"{_HERE}.sound_statistics:fit_mfcc",
    documents=(AUDIO,),
    queries=(AUDIO,),
    options=MfccOptions,
)


class LogMelOptions(_SoundOptions):
    bands: int = Field(64, ge=8, le=128, description="frequency bands; the vector has three values for each")


LOG_MEL = Family(
    name="log_mel",
    summary="sounds by spectrum: statistics of log-mel bands; dims 192 for 64 bands",
    factory=f"{_HERE}.sound_statistics:log_mel_encoder",
    fit=f"{_HERE}.sound_statistics:fit_log_mel",
    documents=(AUDIO,),
    queries=(AUDIO,),
    options=LogMelOptions,
)


class AudioCnnOptions(_SoundOptions, _Training):
    learning_rate: float = Field(2e-3, gt=0, le=1)


AUDIO_CNN = Family(
    name="audio_cnn",
    summary="sounds: a small convolutional network over log-mel bands, trained on the catalogue",
    factory=f"{_HERE}.audio_cnn:encoder",
    fit=f"{_HERE}.audio_cnn:fit",
    documents=(AUDIO,),
    queries=(AUDIO,),
    options=AudioCnnOptions,
)

FAMILIES = (
    BAG_OF_WORDS,
    WORD_VECTORS,
    TEXT_CNN,
    HOG,
    HOG_PCA,
    SIFT,
    COLOUR_HISTOGRAM,
    IMAGE_CNN,
    MFCC,
    LOG_MEL,
    AUDIO_CNN,
)
"""All of them, in the order in which they are listed."""
