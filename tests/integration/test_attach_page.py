"""docs/existing-index.md, followed command by command on an index as a shop makes it."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from attach_shop import hashes, make, product_of, state
from PIL import Image
from processes import ROOT, SHOP, Command

from indexer.sources.source import open_source
from indexer.sources.spec import SourceSpec
from indexer.submit import submit
from search_api.app import create_app
from triptych.elastic import attached
from triptych.errors import InputError
from triptych.services import Services

pytestmark = pytest.mark.integration

COUNT = 4


@pytest.fixture
def owned(services: Services, shop_products: list[dict[str, Any]]) -> Iterator[str]:
    """The page's index `products`, by another name; its pictures are `data:` URIs."""
    index = f"owned-{uuid.uuid4().hex[:8]}"
    products = [{**product_of(record, n), "image_url": picture(n)} for n, record in enumerate(shop_products[:COUNT])]
    make(services.elasticsearch, index, products, settings={"number_of_shards": 1})
    yield index
    services.elasticsearch.indices.delete(index=index)


def picture(number: int) -> str:
    file = io.BytesIO()
    Image.effect_noise((48, 48), 20 + 10 * number).save(file, "JPEG", quality=30)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def commands(index: str) -> list[list[str]]:
    """The page's commands with the index's name in place of `products`; of what waits for ever one round."""
    page = (ROOT / "docs" / "existing-index.md").read_text(encoding="utf-8")
    text = "\n".join(re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL))
    found = [
        shlex.split(line.replace("products", index)) for line in re.findall(r"(?m)^(?:triptych|curl)(?:[^\n']|'[^']*')*", text)
    ]
    return [[*words, "--once"] if words[1:3] == ["attached", "watch"] else words for words in found]


def test_the_page_can_be_followed(command: Command, worker: subprocess.Popen[bytes], services: Services, owned: str) -> None:
    client = services.elasticsearch
    before, mapping = hashes(client, owned, services.server), state(services, owned)[0]
    words = commands(owned)
    assert [one[1] for one in words] == ["attach", "worker", "attach", "attached", "search", "-s", "detach"]
    dry, _, attach, watch, search, curl, detach = words

    plan = json.loads(command(*dry[1:], "--json").stdout)
    assert plan["refusals"] == []
    assert plan["cost"]["documents"] == plan["cost"]["timed"] == COUNT
    assert plan["cost"]["seconds"] > 0
    assert (hashes(client, owned, services.server), state(services, owned)[0]) == (before, mapping)
    job = json.loads(command(*attach[1:], "--json").stdout)
    assert (job["state"], job["written"]) == ("completed", COUNT)
    assert owned in attached.names(client, attached.home_of(services.settings.system_prefix))
    with pytest.raises(InputError) as refused:
        submit(open_source(SourceSpec(str(SHOP / "catalogue.jsonl")), services), owned, services)
    assert refused.value.code == "attach.no_catalogue"

    title = client.get(index=owned, id="d1")["_source"]["title"]
    client.update(index=owned, id="d1", doc={"title": "Red guitar"})
    assert "written" in command(*watch[1:]).stdout
    client.update(index=owned, id="d1", doc={"brand": "Tonhain"}, refresh=True)
    assert "SKU-001" in command(*search[1:]).stdout

    body = json.loads(curl[curl.index("-d") + 1])
    assert create_app(services).test_client().post("/v1/search", json=body).get_json()["code"] == "query.lexical_query_off"
    trusting = Services(services.settings.model_copy(update={"api_lexical_queries": True}))
    answer = create_app(trusting).test_client().post("/v1/search", json=body).get_json()
    assert answer["hits"][0]["id"] == "SKU-001"
    assert "triptych" not in answer["hits"][0]["product"]

    client.update(index=owned, id="d1", doc={"title": title})
    assert f"{COUNT} documents" in command(*detach[1:]).stdout
    now = hashes(client, owned, services.server)
    assert {key for key in before if now[key] == before[key]} >= set(before) - {"d1"}
