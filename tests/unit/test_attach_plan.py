"""What attaching comes to, from what was read of an index: no service is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from toys import offline_spaces

from indexer.attach.inspection import Inspected, types_of
from indexer.attach.plan import Plan, plan, source_path, timed, vector_bytes
from indexer.attach.refusals import count_fields
from indexer.attach.wanted import Wanted, fields_in, name_of
from triptych.elastic.attached import field_of, index_of, marks_of, object_mapping, version_of
from triptych.elastic.client import Server
from triptych.errors import InputError
from triptych.schema import MARK, IndexSchema

pytestmark = pytest.mark.unit

HOME = "triptych-attached"
BASE = IndexSchema(spaces=offline_spaces(), profile="offline")
NEW, OLD = Server("9.5.3", "n", "c"), Server("8.19.2", "n", "c")
PROPERTIES: Mapping[str, Any] = {
    "sku": {"type": "keyword"},
    "title": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
    "price": {"type": "double"},
    "image_url": {"type": "keyword"},
    "attributes": {"type": "flattened"},
    "offers": {"type": "nested", "properties": {"note": {"type": "text"}}},
    "maker": {"properties": {"name": {"type": "text"}}},
}
WANTED = Wanted(("title^2",), ("image_url",))


def inspected(*, mapping: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None, **more: Any) -> Inspected:
    whole = {"properties": PROPERTIES, **(mapping or {})}
    given: dict[str, Any] = {
        "name": "shop", "index": "shop", "indices": ("shop",), "data_stream": False, "documents": (), "count": 1000,
        "size": 1, "server": NEW, "kinds": types_of(whole),
    }  # fmt: skip
    return Inspected(mapping=whole, settings=settings or {}, **{**given, **more})


def planned(wanted: Wanted = WANTED, **more: Any) -> Plan:
    return plan(inspected(**more), wanted, BASE, HOME)


def refused(wanted: Wanted = WANTED, **more: Any) -> list[str]:
    made = planned(wanted, **more)
    assert all(one.remedy for one in made.refusals)
    return [one.code for one in made.refusals]


def test_a_plain_index_can_be_attached_and_only_our_object_field_is_added() -> None:
    made = planned()
    assert made.refusals == ()
    made.check()
    assert list(made.mapping) == ["properties"]
    assert list(made.mapping["properties"]) == ["triptych"]
    assert marks_of(made.mapping) == {"triptych": HOME}
    assert made.schema.lexical_fields == ("title^2",)
    assert made.schema.attachment is not None
    assert made.schema.attachment.text == ("title",)
    assert made.to_dict()["mapping"] == made.mapping


def test_our_object_field_has_the_name_that_is_wanted() -> None:
    made = planned(Wanted(("title",), object_field="find"))
    assert {space.field.partition(".")[0] for space in made.schema.spaces} == {"find"}
    assert (made.schema.key_field, made.schema.is_ours("find.x"), made.schema.is_ours("finder")) == ("find.key", True, False)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"data_stream": True}, "attach.data_stream"),
        ({"indices": ("a", "b")}, "attach.several_indices"),
        ({"routed": True}, "attach.routing"),
        ({"settings": {"index.blocks.read_only_allow_delete": "true"}}, "attach.read_only"),
        ({"settings": {"index.store.type": "snapshot"}}, "attach.read_only"),
        ({"settings": {"index.mode": "time_series"}}, "attach.time_series"),
        ({"settings": {"index.mapping.total_fields.limit": "15"}}, "attach.field_limit"),
        ({"settings": {"index.sort.field": "price"}}, "attach.sorted_index"),
        ({"mapping": {"_source": {"enabled": False}}}, "attach.no_source"),
        ({"mapping": {"_source": {"excludes": ["price"]}}}, "attach.partial_source"),
        ({"mapping": {"_source": {"includes": ["title"]}}}, "attach.partial_source"),
        ({"mapping": {"_meta": {"triptych": {}}}}, "attach.is_ours"),
        ({"mapping": {"properties": {**PROPERTIES, "triptych": {"type": "keyword"}}}}, "attach.field_taken"),
    ],
)
def test_what_cannot_work_is_refused(more: dict[str, Any], code: str) -> None:
    assert refused(**more) == [code]
    with pytest.raises(InputError) as raised:
        planned(**more).check()
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Wanted(("titel",)), "attach.unknown_field"),
        (Wanted(("price",)), "attach.bad_field"),
        (Wanted(("offers.note",)), "attach.bad_field"),
        (Wanted(("title",), ("nowhere",)), "attach.unknown_field"),
        (Wanted(("title",), id="title"), "attach.bad_field"),
        (Wanted(("title",), id="nowhere"), "attach.bad_field"),
    ],
)
def test_a_field_that_does_not_fit_is_refused(wanted: Wanted, code: str) -> None:
    assert refused(wanted) == [code]


def test_fields_of_other_kinds_fit() -> None:
    assert refused(Wanted(("title.raw^3", "maker.name", "attributes.note"), ("attributes.photo",), id="sku")) == []
    runtime = {"runtime": {"full": {"type": "keyword"}}}
    assert refused(Wanted(("full",)), mapping=runtime) == ["attach.bad_field"]
    unmapped = [{"_id": "1", "_source": {"photo": "a.jpg"}}]
    assert refused(Wanted(("title",), ("photo",)), documents=unmapped) == []
    assert refused(Wanted(("title",), id="sku"), several=("S1",)) == ["attach.id_not_unique"]


def test_what_is_left_from_an_earlier_attachment_fits_or_not() -> None:
    left = object_mapping(planned().schema, HOME)
    assert refused(mapping={"properties": {**PROPERTIES, "triptych": left}}) == []
    other = {**left["properties"], "text": {**left["properties"]["text"], "dims": 3}}
    assert refused(mapping={"properties": {**PROPERTIES, "triptych": {**left, "properties": other}}}) == [
        "attach.field_differs"
    ]
    elsewhere = Wanted(("title",), object_field="other")
    assert refused(elsewhere, mapping={"properties": {**PROPERTIES, "triptych": left}}) == ["attach.attached"]
    unmarked = {**left["properties"], "key": {"type": "keyword", "meta": {}}}
    assert refused(elsewhere, mapping={"properties": {**PROPERTIES, "triptych": {**left, "properties": unmarked}}}) == []


@pytest.mark.parametrize(
    "wanted", [Wanted(), Wanted(("title^x",)), Wanted(("title",), object_field="Ours"), Wanted(("title",), most_per_second=0)]
)
def test_a_wish_that_no_index_could_follow_is_an_error(wanted: Wanted) -> None:
    with pytest.raises(InputError) as raised:
        planned(wanted)
    assert raised.value.code == "attach.bad_option"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"name": "alias"}, "alias"),
        ({"settings": {"index.lifecycle.name": "hot"}}, "lifecycle"),
        ({"settings": {"index.final_pipeline": "stamp"}}, "final_pipeline"),
        ({"settings": {"index.default_pipeline": "stamp"}}, "default_pipeline"),
        ({"server": OLD}, "vectors_in_source"),
        ({"documents": [{"_id": "1", "_version": 1_790_000_000_000, "_source": {}}]}, "external_versions"),
    ],
)
def test_what_may_surprise_is_told(more: dict[str, Any], code: str) -> None:
    before = {one.code for one in planned().risks}
    assert {one.code for one in planned(**more).risks} - before == {code}


def test_what_is_no_hindrance_is_said() -> None:
    strict = planned(mapping={"dynamic": "strict"}, settings={"index.mapping.source.mode": "synthetic"})
    assert {"dynamic", "synthetic_source", "mapping_stays"} <= {one.code for one in strict.notes}


def test_costs_follow_from_the_sample() -> None:
    documents = [{"_id": "1", "_source": {"title": "a", "image_url": "a.jpg"}}, {"_id": "2", "_source": {"title": "b"}}]
    cost = planned(documents=documents).cost
    assert (cost.documents, cost.sampled, dict(cost.having)) == (1000, 2, {"text": 2, "image": 1, "audio": 0})
    text, image = (next(s for s in BASE.spaces if s.name == name) for name in ("text", "image"))
    assert vector_bytes(text) == (text.dims * 5 + 128, text.dims + 128)
    words = next(s for s in BASE.spaces if s.name == "image_words")
    assert cost.disk_bytes == round(1000 * vector_bytes(text)[0] + 500 * (vector_bytes(image)[0] + vector_bytes(words)[0]))
    tried = timed(planned(documents=documents), seconds=0.5, documents=2, bad_media={"media.not_found": 1}).cost
    assert (tried.seconds, tried.timed, tried.bad_media) == (500, 2, {"media.not_found": 1})


def test_options_are_read() -> None:
    assert fields_in("title^2, description,,title^2") == ("title^2", "description")
    assert fields_in(None) == ()
    assert [name_of(one) for one in ("title^2.5", "a.b")] == ["title", "a.b"]


def test_fields_are_counted_as_elasticsearch_does_and_multi_fields_are_read_at_their_parent() -> None:
    mapping = {"properties": PROPERTIES, "runtime": {"full": {"type": "keyword"}}}
    assert count_fields(mapping) == 11
    assert [source_path(one, mapping) for one in ("title.raw", "maker.name", "attributes.photo")] == [
        "title", "maker.name", "attributes.photo",
    ]  # fmt: skip
    assert types_of(mapping)["offers"] == "nested"
    assert types_of(mapping)["full"] == "runtime"


def test_an_index_without_a_mark_is_not_attached() -> None:
    assert marks_of({"properties": PROPERTIES}) == {}
    assert marks_of({}) == {}

    def marked(*homes: str) -> dict[str, str]:
        keys = [{"type": "keyword", "meta": {MARK: home}} for home in homes]
        return marks_of({"properties": {f"ours{n}": {"properties": {"key": key}} for n, key in enumerate(keys)}})

    assert marked("t-attached") == {"ours0": "t-attached"}
    assert marked("somebodys-orders") == {}
    assert marked("t-attached", "somebodys-orders", "t-attached") == {"ours0": "t-attached", "ours2": "t-attached"}


def test_a_field_of_an_attached_index_is_called_by_both_names() -> None:
    assert version_of("products", "triptych_v2") == "products#triptych_v2"
    assert (index_of("products#triptych_v2"), field_of("products#triptych_v2")) == ("products", "triptych_v2")
    assert (index_of("products"), field_of("products")) == ("products", None)


def test_an_index_whose_field_has_another_name_by_now_is_attached_under_that() -> None:
    body = {"properties": {**PROPERTIES, **planned().mapping["properties"]}}
    both = {"properties": {**body["properties"], "triptych_v2": body["properties"]["triptych"]}}
    found = [refused(mapping=both, under="triptych_v2"), refused(mapping=both, under="triptych"), refused(mapping=body)]
    assert found == [["attach.attached"], [], []]


def test_a_field_within_another_is_read_from_the_outer_one() -> None:
    mapping = {"properties": {**PROPERTIES, "code": {"type": "text", "fields": {"raw": {"type": "keyword"}}}}}
    wanted = Wanted(("title",), image=("code.raw",), id="code.raw")
    how = plan(inspected(mapping=mapping), wanted, BASE, HOME).schema.attachment
    assert how is not None
    assert (how.id, how.image) == ("code", ("code",))


def test_other_encoders_do_not_come_into_the_same_field() -> None:
    ours = {"triptych": object_mapping(plan(inspected(), WANTED, BASE, HOME).schema, HOME)}
    there: Mapping[str, Any] = {"mapping": {"properties": {**PROPERTIES, **ours}}, "under": "triptych", "profile": "mine"}
    same = {space.name: space.fingerprint for space in BASE.spaces}
    assert refused(**there, made_by=same) == []
    made = planned(**there, made_by={**same, "text": "another"})
    assert [one.code for one in made.refusals] == ["attach.other_encoders"]
    beside = "ill a second field beside it: triptych reindex start shop --profile offline"
    assert made.refusals[0].remedy == f"Give --profile mine, or f{beside}"
    made = planned(**{**there, "profile": "offline"}, made_by={**same, "text": "another"})
    assert made.refusals[0].remedy == f"F{beside}"


@pytest.mark.parametrize(
    ("setting", "enough"), [("index.mapping.nested_fields.limit", 2), ("index.mapping.depth.limit", 3)], ids=["nested", "depth"]
)
def test_objects_that_have_no_room_are_said_before_anything_is_written(setting: str, enough: int) -> None:
    assert refused(settings={setting: str(enough)}) == []
    made = planned(settings={setting: str(enough - 1)})
    assert [one.code for one in made.refusals] == ["attach.field_limit"]
    assert f'"{setting}": {enough}' in str(made.refusals[0].remedy)


def test_a_mapping_without_objects_is_refused() -> None:
    assert refused(mapping={"subobjects": False}) == ["attach.no_objects"]


def test_documents_that_must_have_a_routing_are_refused() -> None:
    assert refused(mapping={"_routing": {"required": True}}) == ["attach.routing"]


@pytest.mark.parametrize(("versions", "operations", "told"), [((1, 2), 4, False), ((5, 3), 4, True), ((5, 3), None, False)])
def test_versions_that_count_no_writes_are_the_owners(versions: tuple[int, ...], operations: int | None, *, told: bool) -> None:
    """Three documents, of which two were looked at."""
    hits = [{"_id": str(number), "_source": {}, "_version": version} for number, version in enumerate(versions)]
    risks = planned(documents=hits, count=3, operations=operations).risks
    assert ("external_versions" in [one.code for one in risks]) is told
