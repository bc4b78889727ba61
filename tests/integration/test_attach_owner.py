"""An owner who writes all the while: none of his writes is lost, and all of his documents are filled, and left, in the end."""

from __future__ import annotations

import random
import threading
import time
import uuid
from contextlib import AbstractContextManager
from typing import Any

import pytest
from attach_shop import hashes, make, product_of
from processes import SHOP, beside

from indexer.attach import attaching, flow
from indexer.attach.wanted import Wanted
from indexer.attach.watching import look_through
from indexer.work import Target
from triptych.domain import Outcome
from triptych.elastic.lifecycle import read_schema
from triptych.services import Services

pytestmark = pytest.mark.integration

COUNT, AT_ONCE, PAUSE = 60, 6, 0.02
WANTED = Wanted(("title",))


class Owner:
    """Writes to random documents, about 50 a second, and remembers what was acknowledged: some fields, or the whole anew."""

    def __init__(self, services: Services, index: str, documents: dict[str, dict[str, Any]]) -> None:
        self.client, self.index, self.documents = services.elasticsearch, index, documents
        self.writes = 0

    def writing(self) -> AbstractContextManager[None]:
        return beside(self._write)

    def _write(self, over: threading.Event) -> None:
        some = random.Random(1)  # noqa: S311  the same writes each time
        while not over.is_set():
            key = some.choice(sorted(self.documents))
            document = {**self.documents[key], "price": round(some.uniform(1, 999), 2)}
            if some.random() < 0.5:
                self.client.update(index=self.index, id=key, doc={"price": document["price"]}, retry_on_conflict=20)
            else:
                self.client.index(index=self.index, id=key, document=document)
            self.documents[key] = document
            self.writes += 1
            time.sleep(PAUSE)


def sources(services: Services, index: str) -> dict[str, dict[str, Any]]:
    services.elasticsearch.indices.refresh(index=index)
    hits = services.elasticsearch.search(index=index, size=COUNT)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


def test_no_write_of_the_owner_is_lost_while_filling_watching_and_leaving(
    services: Services, shop_products: list[dict[str, Any]]
) -> None:
    index = f"owned-{uuid.uuid4().hex[:8]}"
    records = [shop_products[number % len(shop_products)] for number in range(COUNT)]
    products = [{**product_of(record, number), "blob": {}} for number, record in enumerate(records)]
    for product in products:
        del product["own_vector"]  # searches do not give it back from 9.2 on
    make(services.elasticsearch, index, products)
    owner = Owner(services, index, {f"d{number}": product for number, product in enumerate(products)})
    attaching.attach(services, attaching.planned(services, index, WANTED, tried=0))
    schema = read_schema(services.elasticsearch, index)
    ids = list(attaching.source_of(services, index, schema).records())
    with owner.writing():
        ends = []
        for at in range(0, COUNT, AT_ONCE):
            ends += flow.run(ids[at : at + AT_ONCE], Target(index, schema, SHOP, "job"), services).outcomes
        look_through(services, index)
    assert set(ends) <= {Outcome.WRITTEN, Outcome.UNCHANGED, Outcome.DEAD}
    assert owner.writes > 0
    look_through(services, index)
    found = sources(services, index)
    ours = {key: source.pop("triptych") for key, source in found.items()}
    assert found == owner.documents
    assert {own["outcome"] for own in ours.values()} == {"written"}
    before = hashes(services.elasticsearch, index, services.server, without="triptych")
    assert attaching.detach(services, index) == COUNT
    assert hashes(services.elasticsearch, index, services.server) == before
    services.elasticsearch.indices.delete(index=index)
