"""Commands that look at what an index is made of: `triptych index diff|template`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.job_cli import as_json as _as_json

if TYPE_CHECKING:  # it loads elasticsearch; --help must not
    from triptych.elastic.difference import Difference

LANGUAGES = ("en", "zh", "de", "fr", "es", "ja", "neutral")
"""Those of triptych.elastic.templates."""

DIFFERS = 5
"""The exit code where an index is not as its file."""

_LONGEST = 60


@click.command()
@click.argument("name")
@click.option(
    "--mapping",
    type=click.Path(path_type=Path),
    help="Index body or index template to compare with; default: mappings/products.json, which is installed.",
)
@_as_json
def diff(name: str, mapping: Path | None, *, as_json: bool) -> None:
    """Compare the settings and the mapping of the index NAME with a file and the profile in force.

    Exit code 0: it is as the file would make it; 5: it differs.
    """
    from indexer.cli import default_mapping  # noqa: PLC0415
    from triptych.elastic.bodies import index_body  # noqa: PLC0415
    from triptych.elastic.difference import compare  # noqa: PLC0415
    from triptych.elastic.lifecycle import current_version, read_mapping_file, read_schema  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    version = current_version(services.elasticsearch, name)
    schema = read_schema(services.elasticsearch, version)
    if schema.attachment is not None and mapping is None:
        raise click.UsageError("The mapping of an attached index is its owner's: give --mapping FILE.")
    wanted = read_mapping_file(mapping or default_mapping())
    if schema.attachment is None:
        learned = {space.name: space.fitted for space in schema.spaces if space.fitted is not None}
        wanted = index_body(wanted, services.schema(learned))
    own = schema.object_fields if schema.attachment is not None else ()
    found = compare(services.elasticsearch, version, wanted, without=own)
    if as_json:
        click.echo(json.dumps({"index": version, "differences": [asdict(one) for one in found]}, ensure_ascii=False))
    else:
        _show(version, found)
    if found:
        raise SystemExit(DIFFERS)


@click.command()
@click.argument("language", type=click.Choice(LANGUAGES), metavar="LANGUAGE")
@click.option("--name", default="shop", show_default=True, help="The index whose versions the template is for: NAME-*.")
def template(language: str, name: str) -> None:
    """Print an index template for a shop of LANGUAGE, with the vector fields of the profile in force.

    Its analyzer is the best that the server has: of Chinese smartcn, of Japanese kuromoji, of no language in particular icu,
    each where the plugin is there. LANGUAGE is en, zh, de, fr, es, ja or neutral.
    """
    from indexer.cli import default_mapping  # noqa: PLC0415
    from triptych.elastic import templates  # noqa: PLC0415
    from triptych.elastic.lifecycle import check_name, read_mapping_file  # noqa: PLC0415
    from triptych.services import build  # noqa: PLC0415

    services = build()
    check_name(name, reserved=services.settings.system_prefix)
    there = templates.analyzers(services.elasticsearch, language)
    base = read_mapping_file(default_mapping())
    made = templates.template(base, language, name=name, there=there, schema=services.schema())
    click.echo(json.dumps(made, indent=2, ensure_ascii=False))


def _show(version: str, found: Sequence[Difference]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    if not found:
        click.echo(f"{version} is as the file says.")
        return
    table = Table("part", "place", "what", "file", "index", title=version)
    for one in found:
        table.add_row(one.part, escape(one.path), one.kind, escape(_short(one.file)), escape(_short(one.index)))
    Console().print(table)


def _short(value: Any) -> str:
    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
