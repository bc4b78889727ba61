"""Broken and hostile files with the code that each must give. `python tests/hostile/corpus.py FOLDER` writes them to look at.

Made anew at each run, always the same; nothing is downloaded. Needs the extras `dev` (an ffmpeg) and `heif`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from make import Entry
from pictures import pictures
from sounds import sounds


def corpus() -> list[Entry]:
    return [*pictures(), *sounds()]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for entry in corpus():
        name = re.sub(r"\W+", "-", f"{entry.modality} {entry.name} {entry.expected}")
        (folder / name).write_bytes(entry.data)
