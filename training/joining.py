"""Vectors of a trained fusion: of a catalogue's products, written into their records; and of a query."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from indexer import records
from indexer.sources.source import Source
from training import over
from training.catalogue import Progress
from training.fusion import KIND, Fusion, held_inputs, product_vectors
from training.over import Base
from training.products import Reading
from training.vectors import unwritable
from training.weights import put_back
from triptych.domain import Modality, Operation, Product, Vector
from triptych.encoders import bases as frozen
from triptych.encoders import trained
from triptych.encoders.base import Fitted, Input
from triptych.encoders.sources import sha256_of
from triptych.errors import InputError
from triptych.services import Services

DIGITS = 5  # of a value that is written: the vectors of an index are no finer


class Joiner:
    """A trained fusion and its frozen encoders. Raises EncoderError `encoder.trained` where they do not fit."""

    def __init__(self, services: Services, folder: Path, given: tuple[str, ...]) -> None:
        found = trained.read(folder, KIND)
        towers = trained.towers_of(found.facts)
        spaces = {m: s for m, s in over.named(services.profile, given).items() if m in towers}
        if not spaces:
            raise InputError(f"No space of the profile serves {', '.join(towers)}.", code="training.over", field="over")
        self.bases: Mapping[Modality, Base] = over.bases_of(services.profile, services.settings, spaces)
        trained.check_bases(str(folder), towers, {str(m): base.encoder for m, base in self.bases.items()})
        self.fusion = restored(found)
        self.fingerprint = f"{KIND}-{sha256_of(trained.file_of(folder))[:16]}"
        self._services = services

    def query(self, inputs: Mapping[Modality, Input]) -> Vector:
        """The vector of a query: zeros where the encoders find nothing in any input."""
        given = {}
        for modality, value in inputs.items():
            if modality not in self.bases:
                raise InputError(f"It was not trained on {modality}.", code="training.over", field=str(modality))
            rows = frozen.as_query(self.bases[modality].encoder, [value], modality)
            given[str(modality)] = (np.flatnonzero(rows.any(axis=1)), rows[rows.any(axis=1)])
        found: Vector = self.fusion.vectors(given, 1)[0]
        return found

    def write(self, source: Source, out: Path, progress: Progress) -> dict[str, Any]:
        """Write the catalogue's records with their vectors as JSON lines; returns how many products there are, and vectors."""
        with over.embedded(self._services, source, self.bases, Reading(texts=0, passages=True), progress=progress) as catalogue:
            held = held_inputs(catalogue, self.bases)
            vectors = product_vectors(self.fusion, held, np.arange(len(catalogue.ids)), list(self.bases))
        try:
            with out.open("wb") as lines, closing(self._lines(source, vectors)) as made:
                for line in made:
                    lines.write(line + b"\n")
        except OSError as error:
            raise unwritable(out, error) from error
        done = {"products": len(vectors), "with_vector": int(vectors.any(axis=1).sum())}
        return {**done, "dims": vectors.shape[1], "fingerprint": self.fingerprint}

    def _lines(self, source: Source, vectors: Any) -> Any:
        number = 0
        with closing(source.records()) as lines:
            for raw in lines:
                parsed = records.parse(raw)
                if isinstance(parsed, Product) and parsed.operation is Operation.PUT:
                    record, row = orjson.loads(str(raw["text"])), vectors[number]
                    if row.any():
                        given = {"values": row.astype(np.float64).round(DIGITS).tolist(), "fingerprint": self.fingerprint}
                        record["vectors"] = {**(record.get("vectors") or {}), KIND: given}
                    yield orjson.dumps(record)
                    number += 1


def restored(found: Fitted) -> Fusion:
    """The network of a file, for use and not for training."""
    fusion = Fusion(trained.towers_of(found.facts), found.facts["dims"], found.facts["hidden"])
    put_back(fusion, found.tensors)
    return fusion.eval()
