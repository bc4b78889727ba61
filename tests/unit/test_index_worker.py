"""What the worker chooses, which queue a batch goes to, and how logs look."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from celery import Task

from indexer.tasks import _again
from indexer.worker import concurrency_for, cores, free_bytes, kinds_of, pool_for, threads_for
from triptych import logs
from triptych.domain import DeadLetter
from triptych.encoders.device import kind_of_device
from triptych.errors import InputError
from triptych.jobs import letters
from triptych.jobs.queue import KINDS, make_queue
from triptych.jobs.routing import holds as held
from triptych.jobs.routing import opened, priority_of
from triptych.settings import Settings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('{"id": "a", "title": "A"}', {"text"}),
        ('{"images": [], "category": ["B"]}', {"text"}),
        ('{"audio": ["a.ogg"], "images": ["a.jpg"]}', {"image", "audio"}),
        ('{"audio": null}', set()),
        ('{"id": "a", "_op": "delete", "title": "A"}', set()),
        ('{"id": "a", "_op": {"a": 1}, "title": "A"}', {"text"}),
        ("{broken", set()),
        ("[1]", set()),
        ("", set()),
    ],
)
def test_what_a_record_has_to_be_embedded(text: str, holds: set[str]) -> None:
    assert held(opened({"line": 1, "text": text})) == holds


def test_a_line_that_could_not_be_read_has_nothing() -> None:
    assert not held(opened({"line": 1, "code": "record.too_long", "message": "too long"}))


def test_priorities() -> None:
    assert [priority_of(text) for text in ("low", "normal", "high", "0", "9")] == [2, 5, 8, 0, 9]
    for text in ("urgent", "10", "-1", ""):
        with pytest.raises(InputError):
            priority_of(text)


def test_queues_are_named_in_order_and_each_once() -> None:
    assert kinds_of(" sounds, words,sounds") == ["sounds", "words"]
    assert set(kinds_of("words,pictures,sounds")) == set(KINDS)
    for text in ("", ",", "words,images"):
        with pytest.raises(click.BadParameter):
            kinds_of(text)


def test_pool_and_threads_fit_the_device() -> None:
    assert [pool_for(device) for device in ("cpu", "cuda", "mps")] == ["prefork", "threads", "threads"]
    assert threads_for("prefork", 1) == threads_for("threads", 8) >= 1
    assert threads_for("prefork", 1000) == 1
    assert kind_of_device(Settings(device="cuda:1")) == "cuda"


@pytest.mark.parametrize(
    ("pool", "cores", "gigabytes", "at_once"),
    [
        ("prefork", 1, 100, 1),
        ("prefork", 2, 100, 2),
        ("prefork", 2, 5.9, 1),
        ("prefork", 2, 0.1, 1),
        ("prefork", 64, 10, 3),
        ("prefork", 64, 1000, 4),
        ("prefork", 8, None, 1),
        ("threads", 8, 100, 1),
        ("solo", 8, 100, 1),
    ],
)
def test_so_many_batches_at_once_as_cores_and_memory_allow(
    pool: str, cores: int, gigabytes: float | None, at_once: int
) -> None:
    assert concurrency_for(pool, cores, None if gigabytes is None else int(gigabytes * 1e9)) == at_once


def test_the_memory_that_is_free_is_the_systems_or_the_containers(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert free_bytes(tmp_path, tmp_path / "none") == 8_192_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_bytes(tmp_path, tmp_path) == 8_192_000
    (tmp_path / "memory.max").write_text("3000000\n")
    assert free_bytes(tmp_path, tmp_path) == 2_000_000
    (tmp_path / "memory.current").write_text("4000000\n")
    assert free_bytes(tmp_path, tmp_path) == 0
    assert free_bytes(tmp_path / "none", tmp_path) is None
    assert cores() >= 1


def test_a_message_stays_invisible_for_longer_than_its_task_may_take() -> None:
    conf = make_queue(Settings(redis_url="redis://127.0.0.1:9/0", task_seconds=9000)).conf
    assert conf.task_soft_time_limit < conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]
    assert conf.accept_content == ["json"]
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier) == (True, True, 1)


@pytest.mark.parametrize(
    ("request_of", "again"),
    [
        ({"retries": 0, "delivery_info": {"redelivered": False}}, False),
        ({"retries": 0, "delivery_info": None}, False),
        ({"retries": 1, "delivery_info": {"redelivered": False}}, True),
        ({"retries": 0, "delivery_info": {"redelivered": True}}, True),  # its pool process was killed
    ],
)
def test_which_message_may_find_its_own_earlier_try(request_of: dict[str, Any], *, again: bool) -> None:
    assert _again(cast("Task", SimpleNamespace(request=SimpleNamespace(**request_of)))) == again


@pytest.fixture
def root() -> Iterator[None]:
    """The root logger is afterwards as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("root")
def test_logs_as_json_name_job_and_batch_and_hide_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(elasticsearch_password="Geheim-1", redis_url="redis://:other@127.0.0.1:9/0")
    logs.set_up(settings, level="INFO", kind="json")
    log = logging.getLogger("test.logs")
    with logs.about(job="j-1"), logs.about(batch=3):
        log.warning("cannot log in with %s at https://me:pw@host/x", "Geheim-1")
        try:
            int("Geheim-1 and redis://:other@127.0.0.1:9/0")
        except ValueError:
            log.exception("no\nluck")
    log.info("outside")
    written = capsys.readouterr().err
    first, second, third = [json.loads(line) for line in written.splitlines()]
    assert (first["job"], first["batch"], first["level"], first["logger"]) == ("j-1", 3, "WARNING", "test.logs")
    assert first["message"] == "cannot log in with *** at https://***@host/x"
    assert "ValueError" in second["exception"]
    assert "job" not in third
    assert not any(secret in written for secret in ("Geheim", "other@", ":pw"))


@pytest.mark.usefixtures("root")
def test_a_dead_letter_is_a_line_of_the_log_that_names_its_product(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings(log_format="json"), level="INFO")
    with logs.about(job="j-1", batch=3):
        letters._say(DeadLetter("media.not_found", "There is\nno file.", "fetch", 7, "p-1"))
        letters._say(DeadLetter("record.not_json", "No JSON.", "parse", 8))
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert {name: first[name] for name in ("job", "batch", "product", "line")} == {
        "job": "j-1", "batch": 3, "product": "p-1", "line": 7,
    }  # fmt: skip
    assert first["message"] == "dead letter: There is no file. (media.not_found)"
    assert (second["line"], "product" in second) == (8, False)
    logs.set_up(Settings(), level="INFO")
    letters._say(DeadLetter("a.b", "No.", "parse", 9, "p\n2026 forged"))
    assert capsys.readouterr().err.count("\n") == 1


def test_logs_as_text_name_job_and_batch(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings(), level=logging.INFO)
    with logs.about(job="j-1", batch=3):
        logging.getLogger("test.logs").info("hello")
    assert capsys.readouterr().err.rstrip().endswith("INFO test.logs: hello (job j-1, batch 3)")
