"""The settings of an index version while it is filled and nobody searches it: no copies, a refresh each second.

A copy makes every vector's graph a second time, where copying the files afterwards makes none. Without refreshing, which is
also what Elasticsearch's default comes to where nobody searches for 30 s, all vectors go into one graph in memory, by the
thread that writes: 100,000 of 384 numbers took 74 s so, and 36 s in segments of a second each, which other threads merge
(docs/adr/0028-refresh-while-filling.md). Whoever changes them keeps what was there before first (`before`), and gives it back
with it.
https://www.elastic.co/docs/deploy-manage/production-guidance/optimize-performance/indexing-speed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from triptych.elastic.client import Client, translated
from triptych.errors import ElasticsearchError

Values = Mapping[str, str | None]
"""Settings by name, without `index.`; None where an index has none of its own and the server's default holds."""

BUILDING: Final[Values] = {"number_of_replicas": "0", "auto_expand_replicas": "false", "refresh_interval": "1s"}
_ABSENT: Final[Values] = {"auto_expand_replicas": "false"}
"""What no setting means, where that is as good as the value for building."""


def before(client: Client, version: str) -> dict[str, str | None]:
    """What an index version has of the settings that building changes, but those that are so already."""
    now = _of(client, version)
    return {name: now.get(name) for name, value in BUILDING.items() if now.get(name, _ABSENT.get(name)) != value}


def tune(client: Client, version: str, kept: Values) -> None:
    """Change the settings of `kept` to those for building."""
    _put(client, version, {name: BUILDING[name] for name in kept})


def restore(client: Client, version: str, kept: Values) -> bool:
    """Give an index version back what it had before; whether there was anything to give back.

    What is not as building made it was changed by somebody since, and stays. An index that is gone is no error.
    """
    now = _of(client, version)
    back = {name: value for name, value in kept.items() if now.get(name) == BUILDING[name]}
    _put(client, version, back)
    return bool(back)


def wait_for_copies(client: Client, version: str, *, seconds: float) -> None:
    """Wait until no copy of an index version is on its way. One for which there is no room or node is not waited for.

    Raises ElasticsearchError, retryable, after `seconds`.
    """
    patient = client.options(ignore_status=408, request_timeout=seconds + 30)
    with translated():
        health = patient.cluster.health(
            index=version, wait_for_events="languid", wait_for_no_initializing_shards=True, timeout=f"{max(int(seconds), 0)}s"
        )
    if health["timed_out"]:
        raise ElasticsearchError(
            f"The copies of {version!r} are not made after {seconds:g} s.",
            code="elasticsearch.unavailable",
            retryable=True,
            remedy="See its health, and try again.",
        )


def _of(client: Client, version: str) -> dict[str, str]:
    with translated():
        found = client.indices.get_settings(index=version, flat_settings=True, ignore_unavailable=True)
    settings = found.body.get(version, {}).get("settings", {})
    return {name: str(settings[f"index.{name}"]) for name in BUILDING if f"index.{name}" in settings}


def _put(client: Client, version: str, values: Values) -> None:
    if values:
        with translated():
            client.indices.put_settings(index=version, settings={f"index.{name}": value for name, value in values.items()})
