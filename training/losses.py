"""Losses of contrastive training, over cosines of a batch. Pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

HOTTEST = math.log(100)
"""Of the learned log scale: as in CLIP (Radford et al. 2021, arXiv:2103.00020)."""


def info_nce(scores: Tensor, positives: Tensor) -> Tensor:
    """How badly each row's positives are told from the rest of its row, and each column's from its column; the mean of both.

    `scores` (n, m) are cosines times a scale, `positives` (n, m) bool. Of a row with several positives it is the mean of
    -log softmax over them (L_out of supervised contrastive learning, Khosla et al. 2020, arXiv:2004.11362). A row or column
    without a positive counts nothing. With one positive each, in place i of row i, it is CLIP's loss.
    """
    return (_rows(scores, positives) + _rows(scores.T, positives.T)) / 2


def _rows(scores: Tensor, positives: Tensor) -> Tensor:
    many = positives.sum(dim=1)
    told = -(functional.log_softmax(scores, dim=1).masked_fill(~positives, 0)).sum(dim=1)
    return (told / many.clamp(min=1)).sum() / (many > 0).sum().clamp(min=1)


def triplet(cosines: Tensor, positives: Tensor, margin: float) -> Tensor:
    """How far the hardest negative of each row comes within `margin` of its least positive; likewise columns; the mean of both.

    `cosines` (n, m), `positives` (n, m) bool. Batch-hard triplets: Hermans et al. 2017, arXiv:1703.07737. A row without a
    positive or without a negative counts nothing.
    """
    return (_hardest(cosines, positives, margin) + _hardest(cosines.T, positives.T, margin)) / 2


def _hardest(cosines: Tensor, positives: Tensor, margin: float) -> Tensor:
    usable = positives.any(dim=1) & ~positives.all(dim=1)
    least = cosines.masked_fill(~positives, math.inf).amin(dim=1)
    worst = cosines.masked_fill(positives, -math.inf).amax(dim=1)
    losses = functional.relu(margin + worst[usable] - least[usable])
    return losses.mean() if len(losses) else torch.zeros(())
