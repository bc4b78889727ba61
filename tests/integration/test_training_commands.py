"""What the options of `triptych train` do, by the command, on a few products and a tiny CLIP of random weights."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from processes import SHOP, Command, wait_for

from training.flow import CHECKPOINT
from triptych.encoders import profiles, registry
from triptych.encoders.models import WEIGHTS
from triptych.settings import Settings

pytestmark = pytest.mark.integration

SPACES = """description: tiny
spaces:
  clip: {{family: image_text, model: {model}, documents: image, queries: [text, image], dims: 24, licence: none}}
"""
SMALL = ("--dims", "16", "--hidden", "16", "--batch", "8")
OVER = ("--over", "text=clip", "--over", "image=clip")
Train = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile whose only encoder is tiny."""
    folder = tmp_path_factory.mktemp("tiny")
    path = folder / "tiny.yaml"
    path.write_text(SPACES.format(model=tiny_models.made(tiny_models.clip, folder / "clip")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory, shop_products: list[dict[str, Any]]) -> tuple[str, ...]:
    """30 products of the shop with a picture, of the widest categories, and where its media are."""
    products = [{**one, "category": one["category"][:1], "audio": []} for one in shop_products if one["images"]][:60:2]
    path = tmp_path_factory.mktemp("some") / "some.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in products), encoding="utf-8")
    return str(path), "--root", str(SHOP)


@pytest.fixture(scope="module")
def trained(command: Command, tiny: Path, some: tuple[str, ...]) -> Train:
    """Trains on these products; returns the card."""

    def run(kind: str, out: Path, *options: str) -> dict[str, Any]:
        found: dict[str, Any] = command.json(
            "train", kind, *some, "--out", str(out), *OVER, *options, TRIPTYCH_PROFILE=str(tiny)
        )
        return found

    return run


def test_a_training_that_is_killed_goes_on_and_gives_the_same_file(
    command: Command, trained: Train, tiny: Path, some: tuple[str, ...], tmp_path: Path
) -> None:
    options = (*SMALL, "--epochs", "150", "--patience", "150", "--validation", "0.2", "--hard-negatives", "2")
    whole = trained("heads", tmp_path / "whole", *options)
    out, log = tmp_path / "killed", tmp_path / "killed.log"
    started = ("train", "heads", *some, "--out", str(out), *OVER, *options)
    process = command.start(*started, log=log, TRIPTYCH_PROFILE=str(tiny))
    state = out / CHECKPOINT / "state.json"
    wait_for(state.is_file, f"an epoch ({log})", alive=process)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert 0 < json.loads(state.read_text(encoding="utf-8"))["epoch"] < 150, "it was killed in between"
    assert not (out / WEIGHTS).exists()
    resumed = trained("heads", out, *options)
    assert resumed["sha256"] == whole["sha256"]
    assert not (out / CHECKPOINT).exists()


def test_copies_fields_and_judged_queries_are_learned_from(trained: Train, some: tuple[str, ...], tmp_path: Path) -> None:
    ids = [json.loads(line)["id"] for line in Path(some[0]).read_text(encoding="utf-8").splitlines()]
    queries, judgements = tmp_path / "queries.jsonl", tmp_path / "qrels.txt"
    queries.write_text('{"qid": "q1", "text": "a bow for strings"}\n{"qid": "q2", "text": "wooden thing"}\n', encoding="utf-8")
    judgements.write_text("".join(f"q{1 + n % 2} 0 {one} {n % 3}\n" for n, one in enumerate(ids)), encoding="utf-8")
    asked = ("--queries", str(queries), "--judgements", str(judgements))
    options = (*SMALL, "--epochs", "3", "--copies", "1", "--positives-by", "category", *asked)
    data = trained("heads", tmp_path / "heads", *options)["data"]
    assert data["positives_by"] == ["category"]
    pictures = sum(len(json.loads(line)["images"]) for line in Path(some[0]).read_text(encoding="utf-8").splitlines())
    assert data["image inputs"] == 2 * pictures
    assert data["queries"] == 2
    assert 2 <= data["products of queries"] <= 20


def test_one_head_for_all_modalities(trained: Train, tmp_path: Path) -> None:
    both = trained("heads", tmp_path / "one", *SMALL, "--epochs", "2", "--siamese", "--queries", str(pairs(tmp_path)))
    apart = trained("heads", tmp_path / "two", *SMALL, "--epochs", "2")
    assert both["bytes"] < 0.6 * apart["bytes"]
    assert both["data"]["queries"] == 1


def pairs(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text('{"query": "cello", "product": "demo-001"}\n', encoding="utf-8")
    return path


def test_what_votes_are_unsure_of_is_not_filled_in(
    command: Command, trained: Train, tiny: Path, some: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "kinds"
    card = trained("classifier", folder, "--join", "vote", "--epochs", "2", "--validation", "0.3", "--test", "0")
    assert "joined by vote" in card["metrics"]["validation"]

    def predicted(*more: str) -> list[Mapping[str, Any]]:
        out = tmp_path / "out.jsonl"
        given = (str(folder), *some, "--every", "--out", str(out), *OVER, *more)
        command.json("train", "predict", *given, TRIPTYCH_PROFILE=str(tiny))
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    lines = predicted()
    assert len(lines) == 30
    unsure = [line for line in lines if max(one["confidence"] for one in line["by"].values()) < 0.8]
    assert unsure, "a classifier over random weights is no judge"
    assert all(line["confidence"] < 0.8 for line in unsure)
    sure = [line["id"] for line in lines if line["confidence"] >= 0.8]
    assert [line["id"] for line in predicted("--fill")] == sure


def test_a_whitening_is_parts_of_a_fused_space(trained: Train, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "white"
    card = trained("whitening", out, "--dims", "16", "--copies", "1", "--validation", "0.3", "--trials", "20")
    assert set(card["training"]["weights"]) == {"text", "image"}
    path = tmp_path / "with_white.yaml"
    path.write_text(tiny.read_text(encoding="utf-8") + card["profile"] + "\n", encoding="utf-8")
    profile = profiles.read(str(path))
    assert profile.spaces["whitened"].dims == 32
    encoders = registry.encoders_of(profile, Settings(device="cpu", dtype="float32"))
    found = encoders["text_white"].embed_documents(["a hat", "a cello"])
    assert found.shape == (2, 16)
    assert float(found[0] @ found[1]) < 0.99
