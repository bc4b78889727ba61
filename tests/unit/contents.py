"""The content hash of a product, as the flow takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from indexer import documents
from triptych.domain import Product
from triptych.schema import Space


def content_hash(product: Product, media: Mapping[str, str], spaces: Sequence[Space]) -> str:
    """Of a product whose media have these digests, in an index of these spaces."""
    return documents.hash_of(product.fields, documents.made_of(product, media, spaces)["hash"])
