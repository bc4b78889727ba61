"""The Elasticsearch versions there are, and every file that is fetched for them: plain data, pinned by size and sha256.

The distribution is Elastic's own packaging for integration tests: bin, lib with the native vector library, and the modules
transport-netty4, x-pack-core and x-pack-security. It is fetched onto the user's machine under Elastic's licences and never
part of this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from triptych.errors import EngineError

DEFAULT_VERSION = "9.5.3"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a Maven repository: coordinates, and what it must be. `size` in bytes, `sha256` in lower-case hex."""

    group: str
    name: str
    version: str
    packaging: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}.{self.packaging}"


@dataclass(frozen=True, slots=True)
class Release:
    """One Elasticsearch version: its files, the least Java it needs, and the bytes its unpacked home takes."""

    version: str
    java: int
    distribution: Artifact
    smartcn: Artifact
    unpacked: int


# Sizes and digests were computed from downloads made twice.
COMPILER = Artifact(
    group="org.eclipse.jdt",
    name="ecj",
    version="3.46.100",
    packaging="jar",
    size=3_384_534,
    sha256="74c93172475fee0cd4e6eefb44233516dd40525642da35d009146d97ea598229",
)

RELEASES = {
    release.version: release
    for release in (
        Release(
            version="9.5.3",
            java=21,
            distribution=Artifact(
                group="org.elasticsearch.distribution.integ-test-zip",
                name="elasticsearch",
                version="9.5.3",
                packaging="zip",
                size=132_390_005,
                sha256="bec49f3b8d00e75c8d1cec85c35298635ec9fbd3ae80ef5aeb6bc05abdb3db2d",
            ),
            smartcn=Artifact(
                group="org.apache.lucene",
                name="lucene-analysis-smartcn",
                version="10.5.0",
                packaging="jar",
                size=3_598_968,
                sha256="0660dfaf2d8e9966116ab0fc805c409a78cc67ac5515676b8bd1887a2dfbbcc1",
            ),
            unpacked=160_000_000,
        ),
        Release(
            version="8.19.21",
            java=17,
            distribution=Artifact(
                group="org.elasticsearch.distribution.integ-test-zip",
                name="elasticsearch",
                version="8.19.21",
                packaging="zip",
                size=106_871_955,
                sha256="215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a",
            ),
            smartcn=Artifact(
                group="org.apache.lucene",
                name="lucene-analysis-smartcn",
                version="9.12.2",
                packaging="jar",
                size=3_597_763,
                sha256="30b4bf85ad0f27f9c5c49e3cd1b3cbcd923f24b8a722f462e5f3e96dba9568c4",
            ),
            unpacked=130_000_000,
        ),
    )
}


def release(version: str) -> Release:
    """The release that `version` means: exact ("9.5.3"), a line ("9.5", "8.19", "8.19.x") or a major ("9", "8").

    Raises EngineError (engine.unknown_version) with the versions there are.
    """
    line = re.sub(r"\.[x*]$", "", version.strip().lower().removeprefix("v"))
    for known in RELEASES.values():
        if known.version == line or known.version.startswith(line + "."):
            return known
    raise EngineError(
        f"There is no local Elasticsearch {version!r}.",
        code="engine.unknown_version",
        remedy=f"Choose one of: {', '.join(RELEASES)}.",
    )
