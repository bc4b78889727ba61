"""Spans where none are sent: nothing is loaded and nothing is changed; ids of a job's trace."""

from __future__ import annotations

import subprocess
import sys

import pytest

from triptych import traces
from triptych.settings import Settings

pytestmark = pytest.mark.unit


def test_off_by_default() -> None:
    traces.set_up(Settings(), process="of a test")
    assert not traces.on()
    with traces.span("a span", job="20260131-a", batch=1):
        traces.describe("another name", status=200)
    with pytest.raises(ZeroDivisionError), traces.span("a span"):
        raise ZeroDivisionError


def test_nothing_of_the_sender_is_loaded_where_no_collector_is_named() -> None:
    script = (
        "import sys; from triptych import traces; from triptych.settings import Settings;"
        "traces.set_up(Settings(), process='x');"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_job_has_one_trace_and_another_job_another() -> None:
    trace_id, span_id = traces.ids_of("20260131t025959-a1b2c3")
    assert traces.ids_of("20260131t025959-a1b2c3") == (trace_id, span_id)
    assert 0 < trace_id < 2**128
    assert 0 < span_id < 2**64
    assert traces.ids_of("20260131t025959-a1b2c4")[0] != trace_id


def test_the_trace_of_a_job_can_be_found_from_its_id_as_the_docs_say() -> None:
    """printf %s ID | sha256sum | cut -c 1-32"""
    import hashlib

    assert f"{traces.ids_of('abc')[0]:032x}" == hashlib.sha256(b"abc").hexdigest()[:32]
