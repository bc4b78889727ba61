"""What encoders learn from: the words and pictures of a catalogue, whatever form it has."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image
from pyarrow import parquet

from indexer.cli import index
from indexer.fit import fit, inputs_of
from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from triptych.domain import Modality
from triptych.errors import InputError
from triptych.services import Services
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def columnar() -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table({"sku": ["1", "2"], "name": ["Hat", "Lamp"], "photo": ["a.png", None]}), out)
    return out.getvalue()


LINES = [{"sku": "1", "name": "Hat", "photo": "a.png"}, {"sku": 7}, {"sku": "2", "name": "Lamp"}]
FORMS: dict[str, bytes] = {
    "shop.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in LINES),
    "shop.json.gz": gzip.compress(json.dumps(LINES).encode()),
    "shop.csv": b"sku,name,photo\n1,Hat,a.png\n,No id,\n2,Lamp,\n",
    "shop.parquet": columnar(),
}


@pytest.mark.parametrize("name", list(FORMS))
def test_words_and_pictures_of_any_form(name: str, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / name).write_bytes(FORMS[name])
    Image.new("RGB", (9, 7), (200, 10, 10)).save(tmp_path / "a.png")
    services = Services(settings)
    source = open_source(SourceSpec(str(tmp_path / name), columns="sku=id,name=title,photo=images"), services)
    assert list(inputs_of(services, source, Modality.TEXT)) == ["Hat", "Lamp"]
    with services.decoder:
        (picture,) = inputs_of(services, source, Modality.IMAGE)
    assert isinstance(picture, Image.Image)
    assert picture.size == (9, 7)
    assert list(inputs_of(services, source, Modality.TEXT)) == ["Hat", "Lamp"], "it is read once for each encoder"


def test_stdin_is_refused(settings: Settings) -> None:
    services = Services(settings)
    with pytest.raises(InputError, match="once") as caught:
        fit(services, open_source(SourceSpec("-"), services))
    assert caught.value.code == "catalogue.bad_option"


@pytest.mark.parametrize("option", [("--columns", "sku=id"), ("--slices", "2"), ("--root", "x")])
def test_options_of_a_catalogue_that_is_not_given_are_wrong_usage(option: Any) -> None:
    done = CliRunner().invoke(index, ["create", "shop", *option])
    assert done.exit_code == 2
    assert option[0] in done.output
    assert "--fit" in done.output
