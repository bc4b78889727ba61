"""What benchmarks/capacity.py indexes: catalogues of one modality each, and a large index grown from the demo shop's."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from indexer import documents, records
from indexer.calibrate import calibrate
from search_api.pages.previews import wav
from triptych.domain import Product, Waveform
from triptych.elastic.bulk import bulk_index
from triptych.elastic.client import translated
from triptych.elastic.engine import unpack
from triptych.elastic.lifecycle import create_version, current_version, read_mapping_file, read_schema
from triptych.elastic.products import vectors_of
from triptych.media.decode import decode_audio
from triptych.services import Services
from triptych.settings import Settings

SHOP = Path(__file__).parents[1] / "examples" / "shop"
MAPPING = Path(__file__).parents[1] / "mappings" / "products.json"
WITH_SOUND = 10
"""Every tenth product of the large index has a sound; all have words and a picture."""

_CHUNK = 250
_WRITERS = 2
_OWN, _OTHER, _NOISE = 0.8, 0.4, 0.3

Vectors = Mapping[str, npt.NDArray[np.float32]]


def shop_records() -> list[dict[str, Any]]:
    with (SHOP / "catalogue.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def index_for(services: Services, alias: str) -> str:
    """A new, empty index: its version."""
    return create_version(services.elasticsearch, alias, read_mapping_file(MAPPING), services.schema())


def words(folder: Path, count: int) -> Path:
    """Products of the shop's texts, each with a number of its own."""
    given = zip(itertools.cycle(shop_records()), range(count), strict=False)
    return _written(folder / "words.jsonl", ({**_texts(one, n), "id": f"w-{n}"} for one, n in given))


def pictures(folder: Path, count: int) -> Path:
    """Products of a short title and one picture, each brightened differently so that no two are the same."""
    files = [SHOP / picture_of(one) for one in shop_records() if one.get("images")]
    made = []
    for number, file in zip(range(count), itertools.cycle(files), strict=False):
        name = f"picture-{number}.jpg"
        (folder / name).write_bytes(brightened(file, number))
        made.append({"id": f"p-{number}", "title": f"Picture {number}", "images": [name]})
    return _written(folder / "pictures.jsonl", made)


def sounds(folder: Path, count: int, settings: Settings) -> Path:
    """Products of a short title and one sound, each with noise of its own."""
    files = [SHOP / one["audio"][0]["path"] for one in shop_records() if one.get("audio")]
    chance = np.random.default_rng(1)
    heard = [decode_audio(file.read_bytes(), settings) for file in files[:count]]
    made = []
    for number, sound in zip(range(count), itertools.cycle(heard), strict=False):
        noise = chance.standard_normal(len(sound.samples)).astype(np.float32) * 1e-3
        name = f"sound-{number}.wav"
        (folder / name).write_bytes(wav(Waveform(np.clip(sound.samples + noise, -1, 1), sound.rate)))
        made.append({"id": f"s-{number}", "title": f"Sound {number}", "audio": [name]})
    return _written(folder / "sounds.jsonl", made)


def picture_of(record: Mapping[str, Any]) -> str:
    return str(record["images"][0])


def brightened(file: Path, number: int) -> bytes:
    """A picture as JPEG, a little brighter for each number."""
    with Image.open(file) as picture:
        changed = ImageEnhance.Brightness(picture.convert("RGB")).enhance(0.8 + (number % 97) / 200)
    data = io.BytesIO()
    changed.save(data, "JPEG", quality=90)
    return data.getvalue()


def fill(services: Services, shop: str, alias: str, count: int, say: Callable[[str], None]) -> str:
    """An index of `count` products whose vectors are mixtures of two of the shop's, with noise; its version."""
    client = services.elasticsearch
    base = _base(services, shop)
    texts = {one["id"]: one for one in shop_records()}
    version = index_for(services, alias)
    chance = np.random.default_rng(2)
    with translated():
        client.indices.put_settings(index=version, settings={"refresh_interval": "-1", "number_of_replicas": 0})

    def send(made: Mapping[str, Mapping[str, Any]]) -> None:
        failed = [one.reason for one in bulk_index(client, version, made).values() if one.reason]
        if failed:
            raise RuntimeError(f"{len(failed)} documents were refused: {failed[0]}")

    def chunk(numbers: Sequence[int]) -> dict[str, Mapping[str, Any]]:
        found: dict[str, Mapping[str, Any]] = {}
        for number in numbers:
            product, vectors = _grown(base, texts, number, chance)
            own = documents.bookkeeping(digest=product.id, job="benchmark", line=number, failed=())
            found[product.id] = documents.build(product, vectors, own=own, server=services.server)
        return found

    with ThreadPoolExecutor(_WRITERS) as pool:
        for begin in range(0, count, _CHUNK * _WRITERS):
            parts = [range(at, min(at + _CHUNK, count)) for at in range(begin, min(begin + _CHUNK * _WRITERS, count), _CHUNK)]
            list(pool.map(send, [chunk(part) for part in parts]))
            if begin % 5000 < _CHUNK * _WRITERS:
                say(f"{begin} of {count} products written")
    with translated():
        client.indices.put_settings(index=version, settings={"refresh_interval": None})
        client.indices.refresh(index=version)
        client.indices.flush(index=version)
    calibrate(services, version)
    return version


def _base(services: Services, shop: str) -> list[tuple[str, Vectors]]:
    """The shop's products that have vectors: id, and the vector of each space."""
    client = services.elasticsearch
    with translated():
        client.indices.refresh(index=shop)
    schema = read_schema(client, current_version(client, shop))
    found = vectors_of(client, shop, [one["id"] for one in shop_records()], schema, services.server)
    return [(key, {space: np.asarray(unpack(one), np.float32) for space, one in some.items()}) for key, some in found.items()]


def _grown(
    base: Sequence[tuple[str, Vectors]], texts: Mapping[str, Mapping[str, Any]], number: int, chance: np.random.Generator
) -> tuple[Product, Vectors]:
    key, mine = base[number % len(base)]
    vectors = {}
    for space in ("text", "image", "image_words", *(("audio",) if number % WITH_SOUND == 0 else ())):
        having = [one for _, one in base if space in one]
        own = mine[space] if space in mine else having[number % len(having)][space]
        other = having[int(chance.integers(len(having)))][space]
        noise = chance.standard_normal(len(own)).astype(np.float32) / np.sqrt(len(own))
        mixed = _OWN * own + _OTHER * other + _NOISE * noise
        vectors[space] = (mixed / np.linalg.norm(mixed)).astype(np.float32)
    text = json.dumps({**_texts(texts[key], number), "id": f"c-{number}"})
    product = records.parse({"line": number, "text": text})
    if not isinstance(product, Product):
        raise TypeError(product.message)
    return product, vectors


def _texts(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The record without its media, with a number in its title and a price of its own."""
    plain = {name: value for name, value in record.items() if name not in {"images", "audio", "id"}}
    title = {language: f"{text} {number}" for language, text in record["title"].items()}
    return {**plain, "title": title, "price": round(1 + number % 997 * 1.5, 2)}


def _written(path: Path, made: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made), encoding="utf-8")
    return path
