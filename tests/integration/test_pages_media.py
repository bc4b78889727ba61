"""Previews of products' pictures and sounds, made of what hostile catalogues name too."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from processes import wait_for
from werkzeug.test import TestResponse

from search_api import problems
from search_api.app import create_app
from search_api.pages import views as pages
from search_api.searcher import Searcher
from triptych.services import Services

pytestmark = pytest.mark.integration

PICTURE, SOUND = "images/demo-001-1.jpg", "audio/demo-001.ogg"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PAGE = b"<!doctype html><script>alert(1)</script>"


def inline(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def pixel() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(out, "PNG")
    return out.getvalue()


def records(outside: Path) -> list[dict[str, Any]]:
    return [
        {"id": "plain", "title": "Plain", "images": [PICTURE, {"path": "images/demo-002-1.jpg"}], "audio": [SOUND]},
        {"id": "/a/../b?c=1&d#e", "title": "Odd id", "images": [PICTURE]},
        {"id": "..", "title": "Dots", "images": [PICTURE]},
        {"id": "inline", "title": "In the record", "images": [inline(pixel(), "image/png")]},
        {"id": "out", "title": "Out", "images": ["../secret.png", str(outside), "images/../../secret.png"]},
        {"id": "svg", "title": "Script", "images": [inline(SVG, "image/png"), inline(PAGE, "image/jpeg"), "page.html"]},
        {"id": "url", "title": "Inwards", "images": ["http://127.0.0.1:9200/", "file:///etc/passwd"]},
        {"id": "gone", "title": "Gone", "images": ["images/none.jpg"]},
        {"id": "bare", "title": "Bare"},
    ]


@pytest.fixture
def filled(index: str, command: Any, worker: Any, catalogue: Callable[..., Path], tmp_path: Path) -> Mapping[str, str]:
    outside = tmp_path.parent / "secret.png"
    outside.write_bytes(pixel())
    path = catalogue(*records(outside))
    (tmp_path / "page.html").write_bytes(PAGE)
    job = command.json("index", "add", index, str(path), "--follow", check=False)
    return {"index": index, "job": job["id"], "root": str(tmp_path)}


def client_of(services: Services) -> FlaskClient:
    app = Flask("test", static_folder=None)
    problems.register(app)
    pages.register(app, services, Searcher(services))
    return app.test_client()


def get(client: FlaskClient, index: str, product: str, modality: str = "image", **more: Any) -> TestResponse:
    headers = more.pop("headers", {})
    return client.get(f"/media/{modality}", query_string={"index": index, "id": product, **more}, headers=headers)


def test_previews(services: Services, filled: Mapping[str, str], command: Any) -> None:
    client, index = client_of(services), filled["index"]
    _pictures(client, index)
    _sounds(client, index)
    _refusals(client, index)
    _unchanged(client, index)
    _after_an_upload(services, filled)
    _without_the_job(services, filled, command)


def _pictures(client: FlaskClient, index: str) -> None:
    for product in ("plain", "/a/../b?c=1&d#e", "..", "inline"):
        answer = get(client, index, product)
        assert (answer.status_code, answer.content_type) == (200, "image/jpeg"), (product, answer.text)
        picture = Image.open(io.BytesIO(answer.data))
        assert picture.format == "JPEG"
        assert max(picture.size) <= 320
    assert get(client, index, "plain").data != get(client, index, "plain", n=1).data
    assert get(client, index, "plain", name="images/demo-002-1.jpg").data == get(client, index, "plain", n=1).data


def _sounds(client: FlaskClient, index: str) -> None:
    whole = get(client, index, "plain", "audio")
    assert (whole.status_code, whole.content_type, whole.data[:4]) == (200, "audio/wav", b"RIFF")
    part = get(client, index, "plain", "audio", headers={"Range": "bytes=4-9"})
    assert (part.status_code, part.data) == (206, whole.data[4:10])


def _refusals(client: FlaskClient, index: str) -> None:
    codes = {
        ("out", 0): "media.outside_root", ("out", 1): "media.outside_root", ("out", 2): "media.outside_root",
        ("svg", 0): "media.not_a_picture", ("svg", 1): "media.not_a_picture", ("svg", 2): "media.not_a_picture",
        ("gone", 0): "media.not_found", ("url", 1): "media.unsupported_reference",
        ("bare", 0): "product.no_medium", ("plain", 2): "product.no_medium", ("nobody", 0): "product.not_found",
    }  # fmt: skip
    answers = {key: get(client, index, key[0], n=key[1]) for key in codes}
    assert {key: answer.get_json()["code"] for key, answer in answers.items()} == codes
    assert {answer.content_type for answer in answers.values()} == {"application/problem+json"}
    fetched = get(client, index, "url")
    assert fetched.status_code == 400
    assert fetched.get_json()["code"].startswith("media.")
    for number in ("-1", "x", "99999", "²"):
        assert get(client, index, "plain", n=number).get_json()["code"] == "product.no_medium"
    assert get(client, index, "plain", name="images/demo-003-1.jpg").get_json()["code"] == "product.no_medium"
    assert get(client, "nothing-here", "plain").get_json()["code"] == "index.not_found"


def _unchanged(client: FlaskClient, index: str) -> None:
    first = get(client, index, "plain")
    again = get(client, index, "plain", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert get(client, index, "plain", n=1).headers["ETag"] != first.headers["ETag"]


def _after_an_upload(services: Services, filled: Mapping[str, str]) -> None:
    """What a catalogue changed that was sent over HTTP has the folder of no job; the setting gives one."""
    form = {
        "job": json.dumps({"index": filled["index"]}),
        "catalogue": (io.BytesIO(b'{"_op": "update", "id": "..", "price": 2}'), "prices.jsonl"),
    }
    sent = create_app(services).test_client().post("/v1/jobs", data=form)
    assert sent.status_code == 202, sent.text
    wait_for(lambda: services.jobs.get(sent.get_json()["id"]).finished_at is not None, "the end of the upload")
    assert get(client_of(services), filled["index"], "..").get_json()["code"] == "product.no_root"
    given = Services(services.settings.model_copy(update={"media_root": Path(filled["root"])}))
    assert get(client_of(given), filled["index"], "..").status_code == 200


def _without_the_job(services: Services, filled: Mapping[str, str], command: Any) -> None:
    """A job that was forgotten leaves no root; the setting gives one."""
    command("job", "forget", filled["job"])
    assert get(client_of(services), filled["index"], "plain").get_json()["code"] == "product.no_root"
    assert get(client_of(services), filled["index"], "inline").status_code == 200
    given = Services(services.settings.model_copy(update={"media_root": Path(filled["root"])}))
    assert get(client_of(given), filled["index"], "plain").status_code == 200
    assert get(client_of(given), filled["index"], "out").get_json()["code"] == "media.outside_root"
