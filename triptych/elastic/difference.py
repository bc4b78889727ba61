"""What an index in use and its file have of which the other has not: settings, mapping and `_meta`. Pure but for `compare`.

Elasticsearch gives a mapping back in its own form. So what it adds by itself is left out here: its settings, its defaults of
vector fields, `type: object`, and fields that a dynamic rule of the file makes of documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from elasticsearch import Elasticsearch

from triptych.elastic.client import translated
from triptych.schema import FIELD, IndexSchema

Kind = Literal["missing", "different", "extra"]
"""`missing`: only the file has it; `extra`: only the index has it."""

_MADE_BY_SERVER: Final = (
    "index.uuid", "index.creation_date*", "index.provided_name", "index.version.*", "index.routing.*", "index.resize.*",
    "index.history.uuid", "index.blocks.read_only_allow_delete", "index.transport_version.*",
)  # fmt: skip
_DEFAULTS: Final = {"index.number_of_shards": "1", "index.number_of_replicas": "1"}
_REPLICAS: Final = "index.number_of_replicas"
_IMPLIED: Final = {"doc_values": "true", "enabled": "true", "index": "true", "norms": "true", "store": "false"}
"""What a field is that does not say so: Elasticsearch leaves most of it out of what it shows."""

_DYNAMIC: Final = {"long", "float", "boolean", "date", "text"}
"""Types that Elasticsearch gives to a value that no rule is for (besides objects)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place: a path in `settings`, `mapping` or `_meta`, with the value of the file and that of the index."""

    part: Literal["settings", "mapping", "_meta"]
    path: str
    kind: Kind
    file: Any = None
    index: Any = None


def compare(client: Elasticsearch, version: str, wanted: Mapping[str, Any], *, without: Sequence[str] = ()) -> list[Difference]:
    """How an index version differs from the body `wanted` that would make it anew. Raises ElasticsearchError.

    `without`: our object fields in an index of somebody else's, which no file of theirs has.
    """
    with translated():
        found = client.indices.get(index=version, flat_settings=True, features=["mappings", "settings"])[version]
    for name in without:
        found["mappings"]["properties"].pop(name, None)
    return differences(wanted, found)


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[Difference]:
    """`wanted`: {"settings", "mappings"} as a file has them; `found`: likewise, of an index, with flat settings."""
    mappings, there = wanted["mappings"], found["mappings"]
    return [
        *_compared("settings", _settings(wanted.get("settings", {})), _settings_of(found, wanted.get("settings", {}))),
        *_mapping(mappings, there),
        *_compared("_meta", dict(_meta(mappings.get("_meta", {}))), dict(_meta(there.get("_meta", {})))),
    ]


def _compared(
    part: Literal["settings", "mapping", "_meta"], ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Iterator[Difference]:
    for path in sorted({*ours, *theirs}):
        if path not in theirs:
            yield Difference(part, path, "missing", file=ours[path])
        elif path not in ours:
            yield Difference(part, path, "extra", index=theirs[path])
        elif ours[path] != theirs[path]:
            yield Difference(part, path, "different", ours[path], theirs[path])


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flat, with `index.` before each name and all values as texts, as Elasticsearch shows them."""
    flat = {path if path.startswith("index.") else f"index.{path}": value for path, value in _flat(settings)}
    return {path: [_text(one) for one in value] if isinstance(value, list) else _text(value) for path, value in flat.items()}


def _settings_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    asked, there = _settings(wanted), _settings(found["settings"])
    expanding = asked.get("index.auto_expand_replicas", "false") != "false"  # then the cluster says how many
    return {
        path: value
        for path, value in there.items()
        if path in asked
        or not (
            any(fnmatchcase(path, made) for made in _MADE_BY_SERVER)
            or _DEFAULTS.get(path) == value
            or (expanding and path == _REPLICAS)
        )
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in value.items():
        if isinstance(one, Mapping) and one:
            yield from _flat(one, f"{prefix}{name}.")
        else:
            yield prefix + name, one


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mapping(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Difference]:
    rules = [rule for one in ours.get("dynamic_templates", []) for rule in one.values()]
    free = _text(ours.get("dynamic", True)) == "true"
    wanted, there = _fields(ours.get("properties", {})), _fields(theirs.get("properties", {}))
    for path in sorted({*wanted, *there}):
        if path not in there:
            yield Difference("mapping", path, "missing", file=wanted[path])
        elif path in wanted:
            yield from _compared(
                "mapping",
                {f"{path}: {name}": value for name, value in _flat(wanted[path])},
                {f"{path}: {name}": value for name, value in _flat(_without_defaults(there[path], wanted[path]))},
            )
        elif not _made_of_documents(path, there[path], rules, wanted, free=free):
            yield Difference("mapping", path, "extra", index=there[path])
    top = [{name: value for name, value in one.items() if name not in {"properties", "_meta"}} for one in (ours, theirs)]
    yield from _compared("mapping", *({name: _told(value) for name, value in one.items()} for one in top))


def _told(value: Any) -> Any:
    """`dynamic` is shown as a text, whatever it was given as."""
    return _text(value) if isinstance(value, bool) else value


def _fields(properties: Mapping[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    """Each field by its path, its sub-fields and multi-fields apart; an object's own entry only where it says something."""
    found: dict[str, dict[str, Any]] = {}
    for name, field in properties.items():
        path = prefix + name
        own = {key: _told(value) for key, value in field.items() if key not in {"properties", "fields"}}
        own = {key: value for key, value in own.items() if _IMPLIED.get(key) != value}
        if "properties" in field and own.get("type") == "object":
            del own["type"]
        if own:
            found[path] = own
        found |= _fields(field.get("properties", {}), f"{path}.") | _fields(field.get("fields", {}), f"{path}.")
    return found


def _without_defaults(field: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A vector field without what the server filled in."""
    if field.get("type") != "dense_vector":
        return dict(field)
    known = {path for path, _ in _flat(wanted)}
    return {path: value for path, value in _flat(field) if path in known}


def _made_of_documents(
    path: str, field: Mapping[str, Any], rules: list[Mapping[str, Any]], wanted: Mapping[str, Any], *, free: bool
) -> bool:
    """Whether a document made a field that the file does not name: by a dynamic rule, or by Elasticsearch's own."""
    above = path.rpartition(".")[0]
    if above in wanted and "type" in wanted[above]:  # a multi-field, or one of an object that takes no others
        return False
    if not free:
        return False
    by_rule = any(
        field == {name: _told(value) for name, value in rule["mapping"].items()}
        and fnmatchcase(path, rule.get("path_match", "*"))
        and fnmatchcase(path.rpartition(".")[2], rule.get("match", "*"))
        for rule in rules
    )
    return by_rule or (set(field) == {"type"} and field["type"] in _DYNAMIC)


def _meta(meta: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The owner's entries, and of ours what the file and the encoders say, not what was measured or set since."""
    for name, value in meta.items():
        if name != FIELD or not isinstance(value, Mapping):
            yield name, value
            continue
        schema = IndexSchema.model_validate(value)
        yield f"{FIELD}.lexical_fields", list(schema.lexical_fields)
        yield f"{FIELD}.missing", schema.missing
        yield f"{FIELD}.profile", schema.profile
        for space in schema.spaces:
            yield f"{FIELD}.spaces.{space.name}", space.model_dump(mode="json")
