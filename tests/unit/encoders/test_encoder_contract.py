"""The contract of encoders: one that keeps it passes, and for each clause one that breaks just that is caught."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from toys import profile_of, space_text

from triptych.domain import Modality, Vectors, Waveform
from triptych.encoders import cli, contract, registry
from triptych.encoders.base import EncoderSpec, Input, unit
from triptych.encoders.contract import Finding
from triptych.errors import TriptychError
from triptych.settings import Settings

pytestmark = pytest.mark.unit

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO
SPEC = EncoderSpec("toy", "tried", TEXT, (TEXT,), 8, "MIT", identity={"version": 1})


def numbers(value: Input) -> np.ndarray[Any, Any]:
    """Eight numbers of an input that say something of it; zeros where it says nothing."""
    if isinstance(value, str):
        data = np.array([letter for letter in value.encode() if letter > ord(".")], dtype=np.float64)
    elif isinstance(value, Image.Image):
        data = 255.0 - np.asarray(value, dtype=np.float64).reshape(-1)
    else:
        data = np.asarray(value.samples, dtype=np.float64)
    steps = np.arange(1, 9)[:, None]
    return np.sin(steps * data + data).sum(axis=1) if data.any() else np.zeros(8)


class Good:
    """Keeps the contract, for any modality."""

    def __init__(self, spec: EncoderSpec = SPEC) -> None:
        self._spec = spec

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return unit(np.array([numbers(value) for value in inputs]).reshape(len(inputs), 8))

    def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:  # noqa: ARG002  as Encoder has it
        return self.embed_documents(inputs)


def broken(findings: list[Finding]) -> set[str]:
    """The clauses that were broken, without the words for what was embedded."""
    return {finding.clause.rpartition(": ")[2] for finding in findings if not finding.ok}


@pytest.mark.parametrize("modality", list(Modality))
def test_a_good_encoder_keeps_every_clause(modality: Modality) -> None:
    findings = contract.check(Good(dataclasses.replace(SPEC, document_modality=modality, query_modalities=(modality,))))
    assert broken(findings) == set()
    assert len(findings) == 2 * 8 + 2
    assert all((finding.space, finding.seen) == ("tried", "") for finding in findings)


def test_every_query_modality_is_tried() -> None:
    findings = contract.check(Good(dataclasses.replace(SPEC, query_modalities=(TEXT, IMAGE, AUDIO))))
    tried = {finding.clause.partition(":")[0] for finding in findings if ":" in finding.clause}
    assert tried == {"documents (text)", "queries (text)", "queries (image)", "queries (audio)"}


# For each clause an encoder that breaks it


class Wide(Good):
    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return np.hstack([super().embed_documents(inputs), np.zeros((len(inputs), 1), np.float32)])


class Doubled(Good):
    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return super().embed_documents(inputs).astype(np.float64)  # type: ignore[return-value]


class Listed(Good):
    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return super().embed_documents(inputs).tolist()  # type: ignore[no-any-return]


class Long(Good):
    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return super().embed_documents(inputs) * np.float32(1.01)


class Nothing(Good):
    """Finds nothing in one of the samples."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        rows = super().embed_documents(inputs)
        return rows * np.array([[value != contract.samples(TEXT)[0]] for value in inputs], np.float32).reshape(-1, 1)


class NotNumbers(Good):
    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        rows = super().embed_documents(inputs)
        rows[:1] = np.nan
        return rows


class Fickle(Good):
    """Never the same twice."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = itertools.count(1)

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        rows = super().embed_documents(inputs)
        rows[:, 0] += 0.01 * next(self._calls)
        return unit(rows) if rows.any() else rows


class Sociable(Good):
    """Another vector in company than alone."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        rows = super().embed_documents(inputs)
        return unit(rows + np.float32(0.2 * (len(inputs) > 1)) * rows.any(axis=1, keepdims=True))


class Sorting(Good):
    """Gives the rows in an order of its own."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return super().embed_documents(sorted(inputs, key=str))


class Unready(Good):
    """Stumbles over no input."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return unit(np.stack([numbers(value) for value in inputs]))


class Empty(Good):
    """One row for no input."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return super().embed_documents(inputs) if inputs else np.zeros((1, 8), np.float32)


class Fearful(Good):
    """Raises for an input that says nothing."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        if any(not str(value).strip() for value in inputs):
            raise ZeroDivisionError("no words")
        return super().embed_documents(inputs)


class Halved(Good):
    """Half a vector for an input that says nothing."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        rows = super().embed_documents(inputs)
        rows[~rows.any(axis=1), 0] = 0.5
        return rows


class Dull(Good):
    """Everything is the same to it."""

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        return unit(np.ones((len(inputs), 8)))


class Drifting(Good):
    """Another fingerprint after it was used."""

    used = 0

    @property
    def spec(self) -> EncoderSpec:
        return dataclasses.replace(self._spec, identity={"used": self.used})

    def embed_documents(self, inputs: Sequence[Input]) -> Vectors:
        self.used += 1
        return super().embed_documents(inputs)


class _Fixed(EncoderSpec):
    @property
    def fingerprint(self) -> str:
        return "always the same"


FIXED = _Fixed("toy", "tried", TEXT, (TEXT,), 8, "MIT")
SHAPE, ONE = "one float32 row of the promised dims per input", "rows of length 1"
SAME, COMPANY, ORDER = "the same each time", "the same alone and in company", "the order of inputs is kept"
NO_INPUT, SILENT = "no input, no row", "inputs that say nothing give rows of length 1 or zeros"
DIFFER, STILL, DIMS = (
    "different inputs have different vectors",
    "the fingerprint stands still",
    "other dims have another fingerprint",
)


@pytest.mark.parametrize(
    ("encoder", "clauses"),
    [
        (Wide(), {SHAPE, NO_INPUT}),
        (Doubled(), {SHAPE, NO_INPUT}),
        (Long(), {ONE}),
        (Fickle(), {SAME}),
        (Sociable(), {COMPANY}),
        (Sorting(), {COMPANY, ORDER}),
        (Unready(), {NO_INPUT}),
        (Empty(), {NO_INPUT}),
        (Fearful(), {SILENT}),
        (Halved(), {SILENT}),
        (Dull(), {DIFFER}),
        (Drifting(), {STILL}),
        (Good(FIXED), {DIMS}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Good) else "",
)
def test_an_encoder_that_breaks_a_clause_is_caught_at_that_and_nothing_else(encoder: Good, clauses: set[str]) -> None:
    assert broken(contract.check(encoder)) == clauses


@pytest.mark.parametrize("encoder", [NotNumbers(), Nothing(), Listed()], ids=lambda value: type(value).__name__)
def test_an_encoder_that_is_wrong_all_through_is_caught(encoder: Good) -> None:
    assert broken(contract.check(encoder)) & {SHAPE, ONE}


def test_every_clause_has_an_encoder_that_breaks_it() -> None:
    """A check that cannot fail is none."""
    every = {finding.clause.rpartition(": ")[2] for finding in contract.check(Good())}
    assert every == {SHAPE, ONE, SAME, COMPANY, ORDER, NO_INPUT, SILENT, DIFFER, STILL, DIMS}


def test_what_an_encoder_raises_is_what_was_seen() -> None:
    seen = [finding.seen for finding in contract.check(Fearful()) if not finding.ok]
    assert seen
    assert all("ZeroDivisionError: no words" in text for text in seen)


def test_a_fault_of_queries_alone_is_told_as_that() -> None:
    class Half(Good):
        def embed_queries(self, inputs: Sequence[Input], modality: Modality) -> Vectors:  # noqa: ARG002  as Encoder has it
            return super().embed_documents(inputs) / 2

    assert {f.clause.partition(":")[0] for f in contract.check(Half()) if not f.ok} == {"queries (text)"}


# The samples


@pytest.mark.parametrize("modality", list(Modality))
def test_samples_differ_and_are_the_same_each_time(modality: Modality) -> None:
    def plain(value: Input) -> object:
        if isinstance(value, Waveform):
            return value.rate, value.samples.tobytes()
        return value if isinstance(value, str) else (value.size, value.tobytes())

    first, second = contract.samples(modality), contract.samples(modality)
    assert list(map(plain, first)) == list(map(plain, second))
    assert len(set(map(plain, first))) == len(first) >= 3
    assert contract.empties(modality)


# Of a profile


@pytest.mark.usefixtures("toy_families")
def test_a_profiles_encoders_are_checked_and_what_learns_learns_first(settings: Settings) -> None:
    profile = profile_of(space_text() + space_text("more", "learned", more="label: more"))
    findings = contract.check_profile(profile, settings)
    assert {finding.space for finding in findings} == {"text", "more"}
    assert {finding.space for finding in contract.check_profile(profile, settings, only="more")} == {"more"}
    assert registry.learning(profile) == ["more"]


@pytest.mark.usefixtures("toy_families")
def test_a_space_that_is_not_there_is_not_checked_in_silence(settings: Settings) -> None:
    """A check of nothing must not look like one that was passed."""
    with pytest.raises(TriptychError):
        contract.check_profile(profile_of(space_text()), settings, only="txet")


@pytest.mark.usefixtures("toy_families", "clean_environment")
def test_the_command_ends_with_one_where_a_clause_is_broken(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_DATA_DIR", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(f"description: mine\nspaces:\n{space_text()}", encoding="utf-8")
    args = ["check", "--profile", str(tmp_path / "mine.yaml")]
    result = CliRunner().invoke(cli.encoders, args)  # letters know no Chinese: a row of zeros for a sample
    assert (result.exit_code, "rows of length 1" in result.output) == (1, True)
    rows = CliRunner().invoke(cli.encoders, [*args, "--json"]).output
    assert '"ok": false' in rows
