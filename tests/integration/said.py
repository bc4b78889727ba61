"""Whether an answer has the form that the OpenAPI document says, and no member that it does not name."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from search_api import openapi


def strictly(part: Any) -> Any:
    """A schema that takes no member it does not name."""
    if isinstance(part, list):
        return [strictly(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: strictly(one) for name, one in part.items()}
    return {"additionalProperties": False, **found} if "properties" in found and "$ref" not in found else found


STRICT = strictly(openapi.document()["components"])


def check_said(name: str, answer: Any) -> None:
    """The document has every member of an answer."""
    Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": STRICT}).validate(answer)
