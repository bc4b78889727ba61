"""An error in a profile is named by its line, whatever kind it is. Each text marks the line at fault with `# here`."""

from __future__ import annotations

import re
import textwrap

import pytest
from toys import profile_of, space_text

from triptych.encoders import profiles
from triptych.encoders.profile_checks import legs_of
from triptych.errors import ProfileError

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("toy_families")]

LETTERS = "{family: letters, dims: 26, licence: MIT, documents: text, queries: [text]}"
OTHER = "{family: letters, dims: 26, licence: MIT, documents: text, queries: [text], label: other}"
PARTS = f"a: {LETTERS}\n  b: {OTHER}"


def fault(text: str) -> ProfileError:
    """The error of a profile's text, which must name the line that says `# here`, and the file."""
    with pytest.raises(ProfileError) as caught:
        profiles.parse(text, name="mine.yaml")
    error = caught.value
    wanted = next(number for number, line in enumerate(text.splitlines(), start=1) if "# here" in line)
    assert error.message.startswith(f"mine.yaml, line {wanted}:"), error.message
    assert error.field
    return error


def whole(spaces: str) -> str:
    return f"description: mine\nspaces:\n  {spaces}\n"


def one(text: str) -> str:
    """A profile whose space `text` has these keys, one a line."""
    return "description: mine\nspaces:\n" + textwrap.indent(textwrap.dedent(text).strip("\n"), "  ") + "\n"


# The file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("description: mine\nspaces: [unclosed\n# here", "not YAML"),
        ("description: a: b  # here\n", "not YAML"),
        ("description: mine\n\tspaces: x  # here\n", "not YAML"),
        ("description: mine\ndescription: yours  # here\nspaces: {}\n", "description stands twice"),
        (whole(f"text: {LETTERS}\n  text: {LETTERS}  # here"), "text stands twice"),
        (one("text:\n  dims: 3\n  licence: MIT\n  dims: 4  # here"), "dims stands twice"),
        ("- text  # here\n", "mapping"),
        ("just words  # here\n", "mapping"),
        ("description: mine  # here\n", "spaces"),
        ("description: mine\nspaces: {}  # here\n", "spaces"),
        ("description: mine\nspaces:  # here\n", "spaces"),
        (f"description: mine\ncolour: red  # here\nspaces:\n  text: {LETTERS}\n", "colour"),
        (f"description: 5  # here\nspaces:\n  text: {LETTERS}\n", "description"),
        (f"description: mine\nspaces:\n  text: {LETTERS}\nspeech: whisper-base  # here\n", "speech"),
        (f"description: mine\nspaces:\n  text: {LETTERS}\nspeech:\n  model: m\n  licence: ''  # here\n", "speech.licence"),
        (f"description: mine\nspaces:\n  text: {LETTERS}\nspeech:  # here\n  model: m\n", "speech.licence"),
    ],
)
def test_a_fault_of_the_file(text: str, words: str) -> None:
    assert words in fault(text).message


def test_an_empty_file_is_no_profile() -> None:
    for text in ("", "\n", "# nothing yet\n", "---\n"):
        with pytest.raises(ProfileError, match=r"mine\.yaml, line [12]:"):
            profiles.parse(text, name="mine.yaml")


@pytest.mark.parametrize("text", ["a: &x [*x]", "spaces: &x\n  text: *x\n", "[" * 2_000, "\x00", "? [1]\n: 2\n", "1: 2\n"])
def test_strange_yaml_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(ProfileError):
        profiles.parse(text, name="mine.yaml")


# A space's keys


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ("dims: 0  # here", "dims"),
        ("dims: 4097  # here", "dims"),
        ("dims: many  # here", "dims"),
        ("dims: 2.5  # here", "dims"),
        ("licence: ''  # here", "licence"),
        ("licence: 5  # here", "licence"),
        ("documents: smell  # here", "documents"),
        ("documents: image  # here", "documents"),
        ("documents:  # here", "documents"),
        ("queries: text  # here", "queries"),
        ("queries: []  # here", "queries"),
        ("queries: [image]  # here", "queries"),
        ("queries: [text, audio]  # here", "queries"),
        ("queries:\n    - text\n    - smell  # here", "queries.1"),
        ("similarity: cosin  # here", "similarity"),
        ("index: int2_hnsw  # here", "index"),
        ("label: Two Words  # here", "label"),
        ("label: a.b  # here", "label"),
        ("colour: red  # here", "colour"),
        ("fingerprint: mine-v1  # here", "fingerprint"),
        ("parts: {a: 1}  # here", "parts"),
        ("options: [1]  # here", "options"),
        ("options:\n    shift: 26  # here", "options.shift"),
        ("options:\n    shift: far  # here", "options.shift"),
        ("options:\n    shift: 1\n    shfit: 1  # here", "options.shfit"),
        ("index: int4_hnsw\n  dims: 25  # here", "dims"),
        ("index: int4_flat\n  dims: 25  # here", "dims"),
        ("index: bbq_hnsw\n  dims: 63  # here", "dims"),
        ("dims: 63  # here\n  index: bbq_flat", "dims"),
    ],
)
def test_a_fault_of_a_key(changed: str, field: str) -> None:
    keys = {"family": "family: letters", "dims": "dims: 26", "licence": "licence: MIT"}
    keys |= {"documents": "documents: text", "queries": "queries: [text]"}
    given = set(re.findall(r"(?m)^(?:  )?(\w+):", changed))
    lines = [line for key, line in keys.items() if key not in given]
    error = fault(one("text:\n  " + "\n  ".join([*lines, changed])))
    assert error.field == f"spaces.text.{field}"
    assert f"spaces.text.{field}" in error.message


@pytest.mark.parametrize("missing", ["family", "dims", "licence", "documents", "queries"])
def test_a_key_that_is_missing_is_named_at_its_space(missing: str) -> None:
    lines = space_text().splitlines()
    lines = [lines[0] + "  # here", *(line for line in lines[1:] if not line.strip().startswith(missing))]
    assert missing in (fault("description: mine\nspaces:\n" + "\n".join(lines)).field or "")


@pytest.mark.parametrize(
    "name", ["Text", "1st", "a-b", "a.b", "_a", "key", "hash", "job", "line", "outcome", "missing", "x" * 64]
)
def test_a_name_that_cannot_be_a_field_is_refused(name: str) -> None:
    assert repr(name) in fault(whole(f"{name}: {LETTERS}  # here")).message


def test_a_space_named_by_a_number_is_an_error_of_ours() -> None:
    fault(whole(f"1: {LETTERS}  # here"))


@pytest.mark.parametrize(("given", "meant"), [("leters", "letters"), ("fusd", "fused"), ("Precomputed", "precomputed")])
def test_an_unknown_family_is_told_with_the_one_meant(given: str, meant: str) -> None:
    error = fault(one(f"text:\n  family: {given}  # here\n  dims: 3\n  licence: MIT"))
    assert f"Did you mean {meant!r}?" in str(error.remedy)


def test_an_unknown_family_like_none_lists_those_there_are() -> None:
    remedy = str(fault(one("text:\n  family: zzzzz  # here\n  dims: 3\n  licence: MIT")).remedy)
    assert all(name in remedy for name in ("letters", "transformers_text", "fused", "precomputed"))


def test_a_family_that_wants_a_model_is_told_so() -> None:
    error = fault(one("text:  # here\n  family: weighty\n  dims: 3\n  licence: MIT\n  documents: text\n  queries: [text]"))
    assert "model" in error.message
    assert error.remedy


# Spaces made over others


@pytest.mark.parametrize(
    "over",
    [
        "over: {words: nosuch}  # here", "over: {words: carried}  # here", "over: {words: own}  # here",
        "over: {words: both}  # here", "over: {pictures: text}  # here", "over: {words: text, more: text}  # here",
        "over:\n    words: text2  # here",
    ],
)  # fmt: skip
def test_a_space_is_made_over_spaces_with_encoders_of_their_own_in_the_familys_roles(over: str) -> None:
    text = f"""
    text: {LETTERS}
    own: {{family: precomputed, dims: 26, licence: MIT, fingerprint: v1}}
    both: {{family: fused, dims: 52, licence: MIT, parts: {{text: 1, own: 1}}}}
    carried:
      family: carried
      dims: 26
      licence: MIT
      documents: text
      queries: [text]
      label: carried
      """
    fault(one(text + over.replace("\n  ", "\n      ")))


def test_over_cannot_be_left_out_and_cannot_be_given_to_others() -> None:
    without = "text:  # here\n  family: carried\n  dims: 3\n  licence: MIT\n  documents: text\n  queries: [text]"
    assert "words" in fault(one(without)).message
    fault(whole(f"a: {LETTERS}\n  b:\n    over: {{words: a}}  # here\n" + space_text("b", more="label: b").partition("\n")[2]))


def test_what_learns_cannot_carry_another() -> None:
    text = f"text: {LETTERS.replace('letters', 'learned')}\n  carried:\n    over: {{words: text}}  # here\n"
    error = fault(whole(text + space_text("carried", "carried", more="label: carried").partition("\n")[2]))
    assert "learns" in error.message


# Fused and precomputed spaces


@pytest.mark.parametrize(
    "keys",
    [
        "dims: 52\n    parts: {a: 1}  # here",
        "dims: 52\n    parts:\n      a: 1\n      c: 1  # here",
        "dims: 52\n    parts:\n      a: 1\n      all: 1  # here",
        "dims: 52\n    parts:\n      a: 1\n      b: 0  # here",
        "dims: 52\n    parts:\n      a: 1\n      b: -1  # here",
        "dims: 52\n    parts:\n      a: 1\n      b: .inf  # here",
        "dims: 52\n    parts:\n      a: 1\n      b: .nan  # here",
        "dims: 51  # here\n    parts: {a: 1, b: 1}",
        "dims: 26  # here\n    parts: {a: 1, b: 1}",
        "dims: 52  # here\n    parts: {a: 1, b: 1}\n    combine: sum",
        "dims: 52\n    parts: {a: 1, b: 1}\n    combine: average  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    documents: text  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    queries: [text]  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    model: m/m  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    combine: sum\n    model: ./m  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    over: {words: a}  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    options: {x: 1}  # here",
        "dims: 52\n    parts: {a: 1, b: 1}\n    fingerprint: x  # here",
    ],
)
def test_a_fault_of_a_fused_space(keys: str) -> None:
    fault(whole(f"{PARTS}\n  all:\n    family: fused\n    licence: MIT\n    {keys}"))


@pytest.mark.parametrize(
    "keys", ["parts: {a: 1, looks: 1}", "model: ./m\n    parts: {a: 1, looks: .5}", "model: ./m\n    parts: {a: 1, b: 1}"]
)
def test_a_network_joins_modalities_by_a_model_and_weighs_itself(keys: str) -> None:
    looks = (
        f"{LETTERS}\n  looks:\n    family: precomputed\n    dims: 8\n    documents: image\n    fingerprint: x\n    licence: MIT"
    )
    space = f"all:  # here\n    family: fused\n    licence: MIT\n    dims: 9\n    combine: network\n    {keys}"
    assert "train fusion" in str(fault(whole(f"a: {looks}\n  b: {OTHER}\n  {space}")).remedy)


def test_spaces_of_different_dims_are_not_summed() -> None:
    text = f"a: {LETTERS}\n  b: {OTHER.replace('26', '27')}\n  all:\n    family: fused\n    licence: MIT\n"
    error = fault(whole(text + "    dims: 26  # here\n    combine: sum\n    parts: {a: 1, b: 1}"))
    assert "[26, 27]" in error.message


def test_a_fused_space_without_parts_is_told_how_to_name_them() -> None:
    error = fault(whole(f"{PARTS}\n  all:  # here\n    family: fused\n    licence: MIT\n    dims: 52"))
    assert "parts:" in str(error.remedy)


def test_a_fused_space_is_searched_for_it_cannot_be_a_part_itself() -> None:
    """`none` says that a space is only a part of another, and a fused one cannot be."""
    fused = "family: fused\n    licence: MIT\n    dims: 52\n    parts: {a: 1, b: 1}"
    fault(whole(f"{PARTS}\n  all:\n    {fused}\n    index: none  # here"))


@pytest.mark.parametrize(
    "keys",
    [
        "queries: [text]  # here",
        "model: m/m  # here",
        "over: {words: a}  # here",
        "options: {x: 1}  # here",
        "parts: {a: 1}  # here",
        "fingerprint: 1.0  # here",
        "fingerprint: ''  # here",
    ],
)
def test_a_fault_of_a_precomputed_space(keys: str) -> None:
    declared = "" if "fingerprint" in keys else "    fingerprint: mine-v1\n"
    fault(whole(f"a: {LETTERS}\n  own:\n    family: precomputed\n    licence: MIT\n    dims: 3\n{declared}    {keys}"))


def test_a_precomputed_space_declares_a_fingerprint() -> None:
    error = fault(whole("own:  # here\n    family: precomputed\n    licence: MIT\n    dims: 3"))
    assert "fingerprint" in error.message
    assert "fingerprint:" in str(error.remedy)


# Legs


def test_two_spaces_of_one_leg_are_told_apart_by_a_label() -> None:
    error = fault(whole(f"a: {LETTERS}\n  b: {LETTERS}  # here"))
    assert "text.text" in error.message
    assert "label" in str(error.remedy)
    cured = profile_of(space_text("a") + space_text("b", more="label: again"))
    assert [legs_of(name, entry) for name, entry in cured.spaces.items()] == [("text.text",), ("text.again",)]


def test_a_fused_space_may_not_take_anothers_leg() -> None:
    fused = "{family: fused, licence: MIT, dims: 52, parts: {a: 1, b: 1}, label: whole}"
    fault(whole(f"{PARTS}\n  one: {fused}\n  two: {fused}  # here"))


@pytest.mark.parametrize("head", ["lexical: {", "all: {label: lexical, "])
def test_a_fused_space_may_not_take_the_name_of_the_lexical_leg(head: str) -> None:
    fault(whole(f"{PARTS}\n  {head}family: fused, licence: MIT, dims: 52, parts: {{a: 1, b: 1}}}}  # here"))


def test_a_space_without_a_field_makes_no_leg_and_so_takes_none() -> None:
    profile = profile_of(space_text("a", more="index: none") + space_text("b"))
    assert profile.spaces["a"].index == "none"
