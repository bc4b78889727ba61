"""The body that an index version is made with: what its owner wrote, our object field, and what we keep in `_meta`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from triptych.errors import InputError
from triptych.schema import FIELD, IndexSchema, Missing, vector_properties

SAID: Final = ("lexical_fields", "missing")
"""What the owner's file says of an index in `_meta.triptych`."""


def index_body(base: Mapping[str, Any], schema: IndexSchema) -> dict[str, Any]:
    """The body that creates an index version: the user's `base` plus our object field and our `_meta`. Pure.

    Raises InputError if the body's `_meta.triptych` has not the form of mappings/products.json.
    """
    mappings = dict(base["mappings"])
    meta = mappings.get("_meta", {})
    merged = schema.model_copy(update=_said(meta))  # all else is the encoders' to say
    mappings["properties"] = {**mappings.get("properties", {}), FIELD: vector_properties(schema.spaces)}
    mappings["_meta"] = {**meta, FIELD: merged.model_dump(mode="json")}
    return {**base, "mappings": mappings}


def _said(meta: Any) -> dict[str, Any]:
    """What `_meta.triptych` of a file says of its index, checked."""
    ours = meta.get(FIELD, {}) if isinstance(meta, dict) else None
    fields = ours.get("lexical_fields", []) if isinstance(ours, dict) else None
    if not isinstance(ours, dict) or not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise _not_so("lexical_fields", "is not a list of field names", "See mappings/products.json for the form.")
    missing = ours.get("missing", "renormalise")
    if missing not in get_args(Missing):
        raise _not_so("missing", f"is {missing!r}", f"There is: {', '.join(get_args(Missing))}.")
    return {"lexical_fields": tuple(fields), "missing": missing}


def _not_so(name: str, fault: str, remedy: str) -> InputError:
    field = f"_meta.{FIELD}.{name}"
    return InputError(f"{field} {fault}.", code="mapping.invalid", field=f"mappings.{field}", remedy=remedy)
