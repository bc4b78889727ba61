"""Index versions: the body that creates one, and the mistakes that need no server to be seen."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from toys import offline_spaces

from triptych.elastic.bodies import index_body
from triptych.elastic.client import Client
from triptych.elastic.lifecycle import create_version, read_mapping_file, spaces_schema
from triptych.errors import InputError
from triptych.schema import FIELD, IndexSchema, Missing, vector_properties

pytestmark = pytest.mark.unit

SPACES = offline_spaces()
SCHEMA = spaces_schema(SPACES, "0.1.0")
NO_CLIENT = cast("Client", None)
BASE: dict[str, Any] = {
    "settings": {"number_of_shards": 2},
    "mappings": {
        "_meta": {"owner": "shop team", "triptych": {"lexical_fields": ["title.*^3", "sku"]}},
        "dynamic_templates": [{"facets": {"match_mapping_type": "string", "mapping": {"type": "keyword"}}}],
        "properties": {"sku": {"type": "keyword"}},
    },
}


def test_the_body_is_the_owners_plus_our_field() -> None:
    body = index_body(BASE, SCHEMA)
    assert body["settings"] == BASE["settings"]
    assert body["mappings"]["dynamic_templates"] == BASE["mappings"]["dynamic_templates"]
    assert body["mappings"]["properties"] == {"sku": {"type": "keyword"}, FIELD: vector_properties(SPACES)}


def test_the_owners_meta_is_kept_and_ours_is_merged() -> None:
    meta = index_body(BASE, SCHEMA)["mappings"]["_meta"]
    assert meta["owner"] == "shop team"
    schema = IndexSchema.model_validate(meta[FIELD])
    assert schema == SCHEMA.model_copy(update={"lexical_fields": ("title.*^3", "sku")})


def test_the_owner_says_what_a_lack_counts() -> None:
    for missing in get_args(Missing):
        meta = index_body({"mappings": {"_meta": {FIELD: {"missing": missing}}}}, SCHEMA)["mappings"]["_meta"]
        assert IndexSchema.model_validate(meta[FIELD]).missing == missing
    with pytest.raises(InputError) as caught:
        index_body({"mappings": {"_meta": {FIELD: {"missing": "none"}}}}, SCHEMA)
    assert (caught.value.field, caught.value.remedy) == (
        "mappings._meta.triptych.missing", "There is: renormalise, zero, background.",
    )  # fmt: skip


def test_the_owners_body_is_not_changed() -> None:
    before = copy.deepcopy(BASE)
    index_body(BASE, SCHEMA)
    assert before == BASE


def test_a_mapping_without_anything_gets_ours() -> None:
    body = index_body({"mappings": {}}, SCHEMA)
    assert body["mappings"]["properties"] == {FIELD: vector_properties(SPACES)}
    assert IndexSchema.model_validate(body["mappings"]["_meta"][FIELD]) == SCHEMA


def test_the_meta_can_be_sent_as_json() -> None:
    meta = index_body(BASE, SCHEMA)["mappings"]["_meta"]
    assert json.loads(json.dumps(meta)) == meta


def test_spaces_in_a_copied_mapping_do_not_override_the_encoders() -> None:
    """The vector fields come from the encoders at hand, so what `_meta` says of them must too: they cannot drift apart."""
    stale = SPACES[0].model_copy(update={"fingerprint": "old", "dims": 3}).model_dump(mode="json")
    base = {"mappings": {"_meta": {FIELD: {"lexical_fields": ["sku"], "spaces": [stale]}}}}
    body = index_body(base, SCHEMA)
    assert IndexSchema.model_validate(body["mappings"]["_meta"][FIELD]).spaces == SPACES


@pytest.mark.parametrize(
    "meta",
    [
        {FIELD: {"lexical_fields": "title"}}, {FIELD: {"lexical_fields": [5]}}, {FIELD: []}, {FIELD: None}, None, [],
        {FIELD: {"missing": "none"}}, {FIELD: {"missing": None}}, {FIELD: {"missing": ["zero"]}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_malformed_meta_is_the_owners_mistake(meta: object) -> None:
    with pytest.raises(InputError) as caught:
        index_body({"mappings": {"_meta": meta}}, SCHEMA)
    assert caught.value.code == "mapping.invalid"


def test_the_schema_of_a_new_index_says_who_made_it() -> None:
    assert SCHEMA.created_with == "triptych 0.1.0"
    assert SCHEMA.levels == {}


# Names


@pytest.mark.parametrize(
    "name",
    [
        "", "Shop", "_shop",
        "-shop", "+shop", ".shop", "..", "a b", "a*", "a,b", "a/b", "a\\b", "a?", 'a"', "a<b", "a|b", "a#b",
        "a:b", "schön", "shop\n", "x" * 201, "shop-20261124t081000",
    ],
)  # fmt: skip
def test_a_name_elasticsearch_does_not_take_is_refused_before_it_is_asked(name: str) -> None:
    with pytest.raises(InputError) as caught:
        create_version(NO_CLIENT, name, BASE, SCHEMA)
    assert (caught.value.code, caught.value.field) == ("index.bad_name", "index")
    assert caught.value.remedy


# The mapping file


def test_the_mapping_that_is_installed_can_be_read() -> None:
    body = read_mapping_file(Path(__file__).parents[2] / "mappings" / "products.json")
    schema = IndexSchema.model_validate(index_body(body, SCHEMA)["mappings"]["_meta"][FIELD])
    assert "title.*^3" in schema.lexical_fields
    assert schema.spaces == SPACES


@pytest.mark.parametrize("name", ["none.json", "."])
def test_a_mapping_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_mapping_file(tmp_path / name)
    assert (caught.value.code, caught.value.field) == ("mapping.unreadable", "mapping")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "mapping"),
        (b"{", "mapping"),
        (b"\xff\xfe", "mapping"),
        (b"[]", "mappings"),
        (b"null", "mappings"),
        (b"{}", "mappings"),
        (b'{"settings": {}}', "mappings"),
        (b'{"mappings": []}', "mappings"),
        (b'{"properties": {}}', "mappings"),
    ],
)
def test_a_mapping_file_of_another_form_is_named(tmp_path: Path, data: bytes, field: str) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_mapping_file(path)
    assert (caught.value.code, caught.value.field) == ("mapping.invalid", field)
    assert "mine.json" in caught.value.message
