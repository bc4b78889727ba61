"""Traces, where TRIPTYCH_TRACES names a collector: request -> stages of a search; job -> batch -> requests to Elasticsearch.

The spans go out by OpenTelemetry (the extra `otel`); Elasticsearch's client adds one for each of its requests by itself. All
batches of a job are one trace, whichever worker does them: the trace's id is made of the job's id, so no message carries it.
Where the setting is unset nothing of OpenTelemetry is loaded, and a span is a look at a variable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from triptych import __version__
from triptych.errors import SettingsError
from triptych.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_P = ParamSpec("_P")
_R = TypeVar("_R")

_tracer: Tracer | None = None

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8


def set_up(settings: Settings, *, process: str) -> None:
    """Let this process send its spans as `process`; once, after any fork. Raises SettingsError `traces.not_installed`."""
    global _tracer  # noqa: PLW0603  one per process, as OpenTelemetry's own provider
    if settings.traces is None or _tracer is not None:
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "OpenTelemetry is not installed.",
            code="traces.not_installed",
            field="TRIPTYCH_TRACES",
            remedy="pip install 'triptych[otel]', or unset it.",
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": process, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces.rstrip("/") + "/v1/traces")))
    trace.set_tracer_provider(provider)  # for Elasticsearch's client, which asks for the global one
    _tracer = trace.get_tracer("triptych", __version__)


def on() -> bool:
    """Whether this process sends spans."""
    return _tracer is not None


@contextmanager
def span(name: str, *, job: str | None = None, headers: Mapping[str, str] | None = None, **attributes: Any) -> Iterator[None]:
    """A block as a span: inside of the one at hand, or in the trace of `job`, or in that which the headers of a request name.

    An exception is noted and goes on.
    """
    if _tracer is None:
        yield
        return
    given = {f"triptych.{key}": value for key, value in {"job": job, **attributes}.items() if value is not None}
    context = _of(job) if job is not None else _from(headers) if headers is not None else None
    with _tracer.start_as_current_span(name, context=context, attributes=given):
        yield


def passed(name: str, *, milliseconds: float, **attributes: Any) -> None:
    """A span that ends now and took so long, of what was measured elsewhere; inside of the one at hand."""
    if _tracer is None:
        return
    end = time.time_ns()
    given = {f"triptych.{key}": value for key, value in attributes.items()}
    _tracer.start_span(name, start_time=end - int(milliseconds * 1e6), attributes=given).end(end)


def carried(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """A function for other threads: its spans there lie inside of the span that is at hand here and now."""
    if _tracer is None:
        return function
    from opentelemetry import context  # noqa: PLC0415

    here = context.get_current()

    @wraps(function)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        token = context.attach(here)
        try:
            return function(*args, **kwargs)
        finally:
            context.detach(token)

    return inside


def describe(name: str | None = None, **attributes: Any) -> None:
    """Name the span at hand anew and say more of it; nothing where none is sent."""
    if _tracer is None:
        return
    from opentelemetry import trace  # noqa: PLC0415

    at_hand = trace.get_current_span()
    if name is not None:
        at_hand.update_name(name)
    at_hand.set_attributes(attributes)


def _from(headers: Mapping[str, str]) -> Context:
    """The context that `traceparent` names. https://www.w3.org/TR/trace-context/"""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract(dict(headers))


def _of(job: str) -> Context:
    """The context of a job's trace: its id is that of the trace, so that all workers come to the same."""
    from opentelemetry import trace  # noqa: PLC0415

    trace_id, span_id = ids_of(job)
    parent = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


def ids_of(job: str) -> tuple[int, int]:
    """The ids of a job's trace and of the span that stands for the job itself, which nobody sends. Pure."""
    digest = hashlib.sha256(job.encode()).digest()
    trace_id = int.from_bytes(digest[:_TRACE_BYTES], "big")
    return trace_id or 1, int.from_bytes(digest[_TRACE_BYTES : _TRACE_BYTES + _SPAN_BYTES], "big") or 1
