"""From a document of somebody else's index to a product, and from its bytes to those without our field."""

from __future__ import annotations

from typing import Any

import pytest
from toys import offline_spaces

from indexer.attach.attaching import record_of
from indexer.attach.flow import source_paths
from indexer.attach.reading import MOST_MEDIA, digest_of, read, titles_of
from triptych.domain import Modality
from triptych.elastic.raw import without
from triptych.schema import Attachment, IndexSchema

pytestmark = pytest.mark.unit

HOW = Attachment(text=("title", "body.text"), image=("photos",), audio=("preview",), id="sku")


def test_words_media_and_name_come_from_their_fields() -> None:
    source = {
        "sku": 7,
        "title": "Lamp",
        "body": {"text": ["Green.", "Of glass."]},
        "photos": ["a.jpg", {"url": "b.jpg"}],
        "x": 1,
    }
    found = read("d1", source, HOW)
    assert (found.product.id, found.key, found.faults) == ("d1", "7", ())
    assert found.product.texts == {"title": {"und": "Lamp"}, "description": {"und": "Green. Of glass."}}
    assert [(one.modality, one.reference) for one in found.product.media] == [
        (Modality.IMAGE, "a.jpg"), (Modality.IMAGE, "b.jpg"),
    ]  # fmt: skip
    assert "x" not in found.product.fields


@pytest.mark.parametrize("source", [{"body.text": "Glass"}, {"body": {"text": "Glass"}}, {"body": [{"text": "Glass"}]}])
def test_a_path_leads_through_objects_lists_and_dotted_names(source: dict[str, Any]) -> None:
    assert read("d", source, HOW).product.texts["description"] == {"und": "Glass"}


def test_a_text_may_be_one_per_language_and_a_number() -> None:
    assert titles_of({"title": {"en": "Lamp", "de": "Lampe", "x": None}}, HOW) == ["Lamp", "Lampe"]
    assert titles_of({"title": 1984}, HOW) == ["1984"]
    assert titles_of({"title": True}, HOW) == titles_of({"title": " "}, HOW) == titles_of({}, HOW) == []


def test_what_is_no_reference_is_told_and_the_rest_is_taken() -> None:
    found = read("d", {"photos": [5, "a.jpg", "a.jpg", "", None], "preview": "x" * 5000}, HOW)
    assert [one.reference for one in found.product.media] == ["a.jpg"]
    assert [modality for modality, _ in found.faults] == [Modality.IMAGE, Modality.AUDIO]
    many = read("d", {"photos": [f"{n}.jpg" for n in range(MOST_MEDIA + 5)]}, HOW)
    assert (len(many.product.media), len(many.faults)) == (MOST_MEDIA, 1)


def test_a_document_without_its_name_has_no_key() -> None:
    assert read("d", {"sku": ""}, HOW).key is None
    assert read("d", {}, Attachment(text=("title",))).key == "d"


def test_the_digest_changes_with_what_is_read_and_with_nothing_else() -> None:
    spaces = offline_spaces()

    def digest(how: Attachment = HOW, **source: Any) -> str:
        return digest_of(read("d", {"sku": "s", "title": "Lamp", **source}, how).product, spaces, how)

    assert digest() == digest(price=1) != digest(title="Lamps")
    assert digest() != digest(photos="a.jpg")
    assert digest() != digest_of(read("d", {"sku": "s", "title": "Lamp"}, HOW).product, spaces[:1], HOW)
    assert digest() != digest(HOW.model_copy(update={"text": tuple(reversed(HOW.text)), "id": None}))


def test_a_record_names_a_document_and_a_medium_of_each_kind() -> None:
    record = record_of({"_id": "d1", "_source": {"photos": ["a.jpg", "b.jpg"]}}, 3, HOW)
    assert record == {"line": 3, "text": '{"id":"d1","images":["a.jpg"],"title":"..."}'}


def test_only_what_is_needed_is_read() -> None:
    paths = source_paths(IndexSchema(attachment=HOW, object_field="ours"))
    assert {"sku", "title", "photos", "photos.*", "ours.hash"} <= set(paths)
    assert "ours.text" not in paths


def test_taking_a_field_out_leaves_every_other_byte() -> None:
    source = '{"a":1.0E-7,"ours":{"k":[1]},"big":123456789012345678901234567890,"t":"ä\\u2028","o":{"ours":2}}'.encode()
    assert without(source, "ours") == source.replace(b'"ours":{"k":[1]},', b"")
    assert without(source, "none") == source
    assert without(b'{"ours":null}', "ours") == b"{}"


def test_taking_a_field_out_leaves_no_line_feed() -> None:
    """One would end the document's line in a bulk request."""
    source = b'{"ours": 1, "attrs": {\n "a": "one\\ntwo",\n "b": 2}}'
    assert without(source, "ours") == b'{"attrs":{  "a": "one\\ntwo",  "b": 2}}'
