"""The card of something trained: its data, split, metrics and identity. JSON for machines, Markdown for people.

After Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.vectors import unwritable
from triptych.encoders.models import CARD

PAGE = "card.md"

Card = Mapping[str, Any]


def write(folder: Path, card: Card) -> None:
    """Write card.json and card.md. Raises InputError `training.folder`."""
    try:
        (folder / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(page(card), encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from error


def page(card: Card) -> str:
    """The card as Markdown. Pure."""
    parts = [f"# {card['kind']}: {card['name']}", f"Trained on {card['date']} by Triptych {card['versions']['triptych']}."]
    parts += _section("What it is", _pairs({name: card[name] for name in ("fingerprint", "sha256", "bytes") if name in card}))
    parts += _section("Stands on", _table(card["bases"], "modality"))
    parts += _section("Data", _pairs(card["data"]))
    parts += _section("Split", [*_table(card["split"]["sides"], "side"), "", f"- seed: {card['split']['seed']}"])
    for side, measures in card["metrics"].items():
        parts += _section(f"Measured: {side}", _table(measures, "direction") if measures else ["Nothing was held out."])
    if card.get("compression"):
        parts += _section("Compression", _pairs(card["compression"]))
    parts += _section("Training", _pairs(card["training"]))
    parts += _section("Options", _pairs(card["options"]))
    if card.get("profile"):
        parts += _section(f"In a profile, under {card['section']}", ["```yaml", card["profile"].rstrip(), "```"])
    return "\n".join(parts) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {_shown(value)}" for name, value in values.items()]


def _table(rows: Mapping[str, Mapping[str, Any]], first: str) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = [f"| {' | '.join([first, *columns])} |", "|" + "---|" * (len(columns) + 1)]
    return head + [f"| {' | '.join([name, *(_shown(row.get(c, '')) for c in columns)])} |" for name, row in rows.items()]


def _shown(value: Any) -> str:
    """On one line, and no cell of a table is broken by it."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | tuple) else str(value)
    return text.replace("\n", " ").replace("|", "\\|")
