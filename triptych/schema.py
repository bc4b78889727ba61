"""What an index says of itself: `_meta.triptych` in its mapping.

Everything a query or a worker must know of an index without asking anyone: which spaces it has, by which encoders (their
fingerprints), which fields the words are searched in, and the level of each leg measured on the catalogue itself.
All our own fields stand under one object field, `FIELD`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from triptych.domain import Modality

FIELD = "triptych"
"""The object field that holds all of ours, unless an attached index has another name for it."""

KEY_FIELD = f"{FIELD}.key"
"""A keyword copy of `_id`: doc values are cheaper to fetch than stored fields."""

MARK = "triptych"
"""The `meta` of an attached index's key field that names the index of Triptych's own where its schema is kept."""

BOOKKEEPING = ("key", "hash", "job", "seen", "line", "outcome", "missing", "made")
"""Our fields beside the vectors, which no space may be named after."""

_NO_KEYWORD = {"line", "made", "hash", "seen"}
"""Not mapped as keywords: a number, and what is only read back."""

_ONLY_READ = {"type": "keyword", "index": False, "doc_values": False}
"""A value that nobody searches for: a list of all content hashes would cost as much as one of all ids."""

LEXICAL = "lexical"
"""The leg of the words searched by BM25."""

Similarity = Literal["cosine", "dot_product", "l2_norm"]
IndexType = Literal["hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat", "none"]
"""Elasticsearch's kinds of vector index. `none`: the space has no field, it is only a part of another.

https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector
"""

Combine = Literal["concatenate", "sum", "network"]
"""How a fused space is made of its parts' vectors."""

Kind = Literal["encoded", "fused", "precomputed"]
"""Where a space's vectors come from: an encoder, other spaces, or the records themselves."""

Several = Literal["mean", "best"]
"""What a product with several pictures or sounds is scored by: the mean of their vectors, or the best of them."""

PARTS = "_parts"
"""Ends the name of the field that holds the parts of products with several."""

SEGMENT_SECONDS = 5.0
"""A sound of a `best` space is cut into parts of this length unless the profile says another."""

Missing = Literal["renormalise", "zero", "background"]
"""What a leg counts for a product that has nothing of its modality (search_api/fusion.py)."""

MOST_DIMS = 4096
"""Of a dense_vector."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Space(_Frozen):
    """One vector field and the encoder that fills it, as the index remembers it.

    `label` is the second half of the names of its legs, by default the document's modality. `fitted` is the sha256 of what its
    encoder learned from the catalogue, None where it learns nothing. `parts` are the weights of the spaces of which a fused
    space is made. A fused space has no modality of its own: it takes what its parts take.
    `under` is the object field it lies in.
    """

    name: str
    encoder: str
    fingerprint: str
    dims: int
    similarity: Similarity = "cosine"
    index_type: IndexType = "int8_hnsw"
    document_modality: Modality | None = None
    query_modalities: tuple[Modality, ...] = ()
    label: str = ""
    fitted: str | None = None
    kind: Kind = "encoded"
    parts: Mapping[str, float] = Field(default_factory=dict)
    combine: Combine = "concatenate"
    several: Several = "mean"
    segment_seconds: float = SEGMENT_SECONDS
    under: str = FIELD

    @property
    def field(self) -> str:
        return f"{self.under}.{self.name}"

    @property
    def key_field(self) -> str:
        return f"{self.under}.key"

    @property
    def parts_name(self) -> str:
        """The name of the field of parts, under our object field."""
        return f"{self.name}{PARTS}"

    @property
    def parts_field(self) -> str:
        """The nested field of a `best` space: a document per part, with `vector`, `reference` and for a sound `start`."""
        return f"{self.under}.{self.parts_name}"

    @property
    def parts_vector(self) -> str:
        return f"{self.parts_field}.vector"

    @property
    def parts_index_type(self) -> IndexType:
        """The kind of index of the field of parts: the space's without the shortening."""
        return "flat" if self.index_type.endswith("flat") else "hnsw"

    @property
    def has_parts(self) -> bool:
        """Whether the index has the field of parts."""
        return self.several == "best" and self.searched

    @property
    def quantised(self) -> bool:
        """Whether the index searches shortened vectors, so that the candidates must be scored again with the whole ones."""
        return self.index_type not in {"hnsw", "flat", "none"}

    @property
    def searched(self) -> bool:
        """Whether the space has a field of its own that legs search."""
        return self.index_type != "none"

    def leg(self, modality: Modality) -> str:
        """The name of the leg a query input of `modality` makes in this space."""
        return f"{modality}.{self.label or self.document_modality}"

    @property
    def vector_leg(self) -> str:
        """The name of the leg that a vector given directly makes in this space."""
        return f"vector.{self.name}"

    @property
    def legs(self) -> tuple[str, ...]:
        """Every leg this space can make."""
        if not self.searched:
            return ()
        if self.kind == "fused":
            return (self.label or self.name,)
        return (*(self.leg(modality) for modality in self.query_modalities), self.vector_leg)


LEAST_REACHED: Final = 0.95
"""The share of products a space's searches should reach: HNSW finds the nearest of a hundred nearly always."""


class Level(_Frozen):
    """What a leg's scores mean on this catalogue; in Elasticsearch's score, which for cosine is (1 + cos) / 2.

    `floor` and `sigma` are the mean and the standard deviation of the score between queries and random products, i.e. of a
    match that means nothing. `reliability` is the share of sampled titles that find their own product first
    among `sample` products when only this leg is asked; chance is 1 / sample.
    `noise` are the 11 deciles (the quantiles 0, .1 ... 1) over the sampled queries of the best score that another product of
    the sample reaches: what a match that means nothing reaches at best. For `lexical` it is divided by the words of the query
    (`lexical.words_in`). Variants of a product are left out of it. Empty where it was not measured. `top` is the median score
    that a title gives its own product, for `lexical` per word too; None where it was not measured. `reached` is the share of
    sampled products that a search of the leg's vectors finds by their own; None where every vector is looked at.
    """

    floor: float
    sigma: float
    reliability: float | None = None
    sample: int = 0
    noise: tuple[float, ...] = ()
    top: float | None = None
    reached: float | None = None

    @property
    def measured(self) -> bool:
        """Whether products told of it: the words' floor is known without any."""
        return self.sample > 0


class Attachment(_Frozen):
    """How an index of somebody else's is read: which fields of its documents are words, pictures and sounds.

    `text`, `image` and `audio` are paths in `_source`; the first of `text` is the title. `id` is the field that names a
    product, None for `_id`. `root` is the folder that media are relative to. `most_per_second` bounds the documents written.
    """

    text: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    id: str | None = None
    root: str | None = None
    most_per_second: float | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that is read."""
        own = () if self.id is None else (self.id,)
        return tuple(dict.fromkeys((*own, *self.text, *self.image, *self.audio)))


class IndexSchema(_Frozen):
    """`_meta.triptych` of one index version. `weight_sets` are the legs' shares by a name that queries may give.

    `attachment` is None for an index of our own; what an attached index says of itself is kept elsewhere
    (triptych.elastic.attached), and its owner may have given our object field another name. `others` are our object fields in
    the index that are not read: it has some while or after its encoders are changed.
    """

    lexical_fields: tuple[str, ...] = ()
    spaces: tuple[Space, ...] = ()
    levels: Mapping[str, Level] = Field(default_factory=dict)
    weight_sets: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    missing: Missing = "renormalise"
    created_with: str | None = None
    profile: str | None = None
    object_field: str = FIELD
    attachment: Attachment | None = None
    others: tuple[str, ...] = ()

    @property
    def object_fields(self) -> tuple[str, ...]:
        """Our object fields in the index, the one that is read first."""
        return (self.object_field, *self.others)

    @property
    def key_field(self) -> str:
        """The keyword that names a product: a copy of `_id`, or of the field that an attached index is read by."""
        return f"{self.object_field}.key"

    def is_ours(self, name: str) -> bool:
        """Whether a field is one of our object fields or lies in one."""
        return name.partition(".")[0] in self.object_fields

    @property
    def legs(self) -> tuple[str, ...]:
        """Every leg a query of this index can have, in the order they are shown."""
        named = [leg for space in self.spaces for leg in space.legs]
        return ((LEXICAL,) if self.lexical_fields else ()) + tuple(dict.fromkeys(named))

    @property
    def encoded(self) -> frozenset[Modality]:
        """What of a product its encoders take."""
        kinds = {space.document_modality for space in self.spaces if space.kind == "encoded"}
        return frozenset(kind for kind in kinds if kind is not None)

    def space_of(self, name: str) -> Space | None:
        return next((space for space in self.spaces if space.name == name), None)


def vector_properties(spaces: Sequence[Space]) -> dict[str, Any]:
    """The mapping of our object field: a vector per space and what the accounting needs.

    int8_hnsw is asked for by name because the default differs between servers (int8_hnsw on 8.19, bbq_hnsw on 9.x) and
    every query rescores with the float vectors (`rescore_vector`), which gives exact scores.
    https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector
    """
    vectors: dict[str, Any] = {}
    for space in (space for space in spaces if space.searched):
        vectors[space.name] = _vector_property(space)
        if space.has_parts:
            vectors[space.parts_name] = _parts_property(space)
    own = {name: {"type": "keyword", "ignore_above": 1024} for name in BOOKKEEPING if name not in _NO_KEYWORD}
    return {"dynamic": False, "properties": {**own, "line": {"type": "long"}, "hash": _ONLY_READ, **vectors}}


def _vector_property(space: Space, index_type: IndexType | None = None) -> dict[str, Any]:
    return {
        "type": "dense_vector",
        "dims": space.dims,
        "index": True,
        "similarity": space.similarity,
        "index_options": {"type": index_type or space.index_type},
    }


def _parts_property(space: Space) -> dict[str, Any]:
    """https://www.elastic.co/docs/solutions/search/vector/knn#nested-knn-search ; never quantised: the best part would be
    chosen by shortened vectors and the score be another part's (docs/adr/0009).
    """
    reference = {"type": "keyword", "index": False, "doc_values": True}
    start = {"type": "float", "index": False}
    return {
        "type": "nested",
        "properties": {"vector": _vector_property(space, space.parts_index_type), "reference": reference, "start": start},
    }
