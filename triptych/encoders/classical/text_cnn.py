"""A small convolutional network over words, trained on the catalogue's texts (Kim 2014, arXiv:1408.5882).

    text -> known words' numbers -> embeddings -> convolutions over 1, 2 and 3 words -> the strongest of each -> dims

Trained by telling products apart: one copy of a product is a few words in a row, as a query would be, the other is most of
its words, as a document is (the inverse cloze task: Lee, Chang and Toutanova 2019, arXiv:1906.00300).
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from triptych.encoders.base import Encoder, Fitted, Input, Setup
from triptych.encoders.classical import contrast, word_vectors, words
from triptych.encoders.classical.families import TextCnnOptions
from triptych.encoders.classical.fitting import FeatureEncoder, Rows, nothing_to_fit, require_fitted, reservoir
from triptych.encoders.inputs import texts

_EMBEDDING, _CHANNELS, _WIDTHS = 64, 96, (1, 2, 3)
_LONGEST_QUERY = 8  # words
_WINDOW = 10
_DROPPED = 0.3  # of a document's words
_BATCH = 256


class TextCnn(nn.Module):
    """Numbers of words, (n, words), 0 for none, to (n, dims)."""

    def __init__(self, vocabulary: int, dims: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary + 1, _EMBEDDING, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(_EMBEDDING, _CHANNELS, width, padding=width - 1) for width in _WIDTHS)
        self.out = nn.Linear(_CHANNELS * len(_WIDTHS), dims, bias=False)

    def start_from(self, vectors: Rows) -> None:
        """Begin with these words' vectors, (vocabulary, at most 64), instead of chance."""
        with torch.no_grad():
            self.embedding.weight[1:, : vectors.shape[1]] = torch.from_numpy(vectors / max(float(vectors.std()), 1e-9))

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids).transpose(1, 2)
        known = (ids > 0).float().unsqueeze(1)
        strongest = []
        for width, convolution in zip(_WIDTHS, self.convolutions, strict=True):
            # A window without a word gives nothing, however long the batch's longest text is.
            has = functional.max_pool1d(functional.pad(known, (width - 1, width - 1)), width, stride=1)
            strongest.append((functional.relu(convolution(embedded)) * has).amax(dim=2))
        found: Tensor = self.out(torch.cat(strongest, dim=1))
        return found


def numbered(batch: Sequence[Sequence[str]], places: Mapping[str, int], most: int) -> Tensor:
    """Texts as numbers of their first `most` known words, filled up with 0: (n, most)."""
    ids = np.zeros((len(batch), most), dtype=np.int64)
    for row, sentence in zip(ids, batch, strict=True):
        known = [places[word] for word in sentence if word in places][:most]
        row[: len(known)] = known
    return torch.from_numpy(ids)


def _copies(ids: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
    """A short run of words of each text, and the text without some of its words."""
    lengths = (ids > 0).sum(dim=1)
    size = 1 + (torch.rand(len(ids)) * lengths.clamp(max=_LONGEST_QUERY)).long().clamp(max=_LONGEST_QUERY - 1)
    start = (torch.rand(len(ids)) * (lengths - size + 1).clamp(min=1)).long()
    run = torch.arange(_LONGEST_QUERY)
    query = ids.gather(1, (start[:, None] + run).clamp(max=ids.shape[1] - 1))
    kept = torch.rand(ids.shape) >= _DROPPED
    return (torch.where(run < size[:, None], query, 0),), (torch.where(kept, ids, 0),)


def _company(ids: Tensor, vocabulary: int, seed: int) -> Rows:
    """The words' vectors by the company they keep, from the same texts: (vocabulary, at most 64)."""
    sentences = [row[row > 0] - 1 for row in ids.numpy()]
    return word_vectors.learn(sentences, vocabulary, dims=_EMBEDDING, window=_WINDOW, seed=seed)


def fit(setup: Setup, inputs: Iterable[Input]) -> Fitted:
    """Words and weights. Raises EncoderError `encoder.nothing_to_fit`."""
    options: TextCnnOptions = setup.options
    sample = reservoir(inputs, _kept, size=options.sample, seed=options.seed)
    if not sample:
        raise nothing_to_fit(setup, "texts")
    counted = collections.Counter(itertools.chain.from_iterable(sample))
    known = [word for word, _ in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[: options.vocabulary]]
    ids = numbered(sample, _places(known), options.words)
    with contrast.seeded(options.seed):
        network = TextCnn(len(known), setup.spec.dims)
        network.start_from(_company(ids, len(known), options.seed))
        done = contrast.train(
            network, lambda batch: _copies(ids[batch]), count=len(ids), width=setup.spec.dims, options=options
        )
    return contrast.fitted_of(network, {"words": known, **done})


def encoder(setup: Setup) -> Encoder:
    """Raises EncoderError `encoder.not_fitted`."""
    options: TextCnnOptions = setup.options
    fitted = require_fitted(setup)
    places = _places(fitted.facts["words"])
    network, device = contrast.restored(TextCnn(len(places), setup.spec.dims), fitted, setup)

    @torch.inference_mode()
    def describe(inputs: Sequence[Input]) -> Rows:
        ids = numbered([words.words(text) for text in texts(inputs)], places, options.words)
        return np.concatenate([network(part.to(device)).cpu().numpy() for part in torch.split(ids, _BATCH)])

    return FeatureEncoder(setup.spec, describe)


def _places(known: Sequence[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(known, start=1)}


def _kept(item: Input) -> list[str] | None:
    return words.words(texts([item])[0]) or None
