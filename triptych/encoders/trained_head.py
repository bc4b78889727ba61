"""The family `trained_head`: heads that `triptych train heads` trained, over the frozen encoders they were trained on."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from triptych.domain import Modality, Vectors
from triptych.encoders import bases, trained
from triptych.encoders.base import EncoderSpec, Fitted, Input, Setup, unit
from triptych.encoders.head_network import Heads
from triptych.encoders.inputs import check_modality
from triptych.encoders.networks import none_of
from triptych.errors import EncoderError

KIND = "heads"


class TrainedHeadEncoder:
    """Words, pictures and sounds in one space, as far as the heads know them. Computes on the CPU: heads are small."""

    def __init__(self, setup: Setup) -> None:
        self.spec: EncoderSpec = setup.spec
        self._model = setup.model
        self._bases = setup.parts
        found = trained.read(setup.model, KIND)
        trained.check_bases(f"The space {setup.spec.space}", trained.towers_of(found.facts), setup.parts)
        if found.facts["dims"] != setup.spec.dims:
            raise EncoderError(
                f"The heads in {setup.model} give {found.facts['dims']} dims, not {setup.spec.dims}.",
                code="encoder.dims",
                field="dims",
                remedy=f"Write dims: {found.facts['dims']} in the profile.",
            )

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        if not inputs:
            return none_of(self.spec)
        modality = self.spec.document_modality
        return self._headed(modality, bases.as_document(self._bases[modality], inputs, modality))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:
        check_modality(self.spec, modality)
        if not inputs:
            return none_of(self.spec)
        return self._headed(modality, bases.as_query(self._bases[modality], inputs, modality))

    @torch.inference_mode()
    def _headed(self, modality: Modality, rows: Vectors) -> Vectors:
        """A row in which the frozen encoder found nothing stays zeros."""
        found = self._network(modality, torch.from_numpy(rows)).numpy()
        return unit(found * rows.any(axis=1, keepdims=True))

    @functools.cached_property
    def _network(self) -> Heads:
        return restored(trained.read(self._model, KIND))


def restored(found: Fitted) -> Heads:
    """The network of trained heads, for use and not for training."""
    facts = found.facts
    network = Heads(trained.towers_of(facts), facts["dims"], facts["hidden"], sets=facts.get("sets", 1))
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in found.tensors.items()})
    return network.eval()
