"""The tasks, as data: which judged queries, against which catalogue, indexed how.

A *recipe* says what of a catalogue is indexed. Tasks that share one are asked of the same index. docs/evaluation.md explains
each task.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from search_api.query import DEFAULT_WINDOW, LARGEST_WINDOW, AudioAs

ALL: tuple[str, ...] = ()
"""All languages that a catalogue has."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What of `catalogues/<source>.jsonl` is indexed: texts of `languages`, pictures, sounds of a role and language.

    `judged_by` names the task whose judged products are all that is indexed, for measures that look at no others. The
    products of `also` follow in the same index.
    """

    name: str
    source: str
    languages: tuple[str, ...] = ("en",)
    images: bool = True
    sounds: tuple[str, str] | None = None
    judged_by: str | None = None
    also: tuple[Recipe, ...] = ()

    def of_language(self, language: str) -> Recipe:
        """The recipe with the texts of this language beside the English ones, and the names spoken in it as sounds."""
        return dataclasses.replace(self, name=f"{self.name}-{language}", languages=("en", language), sounds=("name", language))


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `folder` holds its queries and judgements (by default that of its name).

    `per_language`: each language's queries are asked of an index of its own (`Recipe.of_language`). `depth` products are asked
    for a query.
    """

    name: str
    asks: str
    recipe: Recipe
    folder: str = ""
    per_language: bool = False
    audio_as: AudioAs = "sound"
    judged_only: bool = False
    depth: int = DEFAULT_WINDOW

    def recipe_for(self, language: str | None) -> Recipe:
        return self.recipe.of_language(language) if self.per_language and language else self.recipe


_STAMPS = Recipe("stamps-en", "stamps", sounds=("effect", ""))
_GROCERY = Recipe("grocery-en", "grocery")
_SPOKEN = Recipe("stamps-spoken", "stamps")
_FIVE = ("en", "zh_CN", "de", "fr", "es")

MIXED = Recipe(
    "mixed",
    "icecat",
    also=(
        Recipe("stamps-en", "stamps"),
        Recipe("grocery-en", "grocery"),
        Recipe("clothing-en", "clothing"),
    ),
)
"""One shop of everything: 22,215 products, of which 2,805 have a picture. evaluation/mixed.py asks it."""

_TASKS = [
    Task("text_multilingual", "words in 5 languages -> stamps with English text only", _STAMPS),
    Task(
        "text_multilingual_own",
        "words in 5 languages -> stamps with the text of these languages",
        dataclasses.replace(_STAMPS, name="stamps-five", languages=_FIVE),
        folder="text_multilingual",
    ),
    Task(
        "text_multilingual_all",
        "words in 5 languages -> stamps with the text of up to 77 languages",
        dataclasses.replace(_STAMPS, name="stamps-all", languages=ALL),
        folder="text_multilingual",
    ),
    Task("text_crosslingual_grocery", "words in 5 languages -> groceries with English text only", _GROCERY),
    Task(
        "text_icecat",
        "English words -> products that people rated",
        Recipe("icecat-judged", "icecat", judged_by="text_icecat"),
        judged_only=True,
        depth=LARGEST_WINDOW,
    ),
    Task("image_grocery", "shop photo -> product picture", _GROCERY),
    Task("image_photo_to_stamp", "shop photo -> stamp", _STAMPS),
    Task("image_clothing_class", "photo -> garments of the class", Recipe("clothing", "clothing")),
    Task("image_changed_copy", "changed picture -> its product", _STAMPS),
    Task("image_same_label", "picture -> another picture of the same thing", _STAMPS),
    Task("image_text_grocery", "photo and a word -> groceries of both", _GROCERY),
    Task("audio_sound_clips", "clip -> clips of the class", Recipe("esc10", "esc10", sounds=("sound", ""))),
    Task("audio_instruments", "played notes -> instrument", Recipe("instruments", "instruments", sounds=("sound", ""))),
    Task("audio_animal_to_stamp", "recording of an animal -> stamp with its own sound", _STAMPS),
    Task("audio_spoken_name", "spoken name, as a sound -> stamps with the name spoken", _SPOKEN, per_language=True),
    Task(
        "audio_spoken_name_words",
        "spoken name, recognised -> the same stamps",
        _SPOKEN,
        folder="audio_spoken_name",
        per_language=True,
        audio_as="words",
    ),
    Task(
        "audio_spoken_name_both",
        "spoken name, as a sound and recognised -> the same stamps",
        _SPOKEN,
        folder="audio_spoken_name",
        per_language=True,
        audio_as="both",
    ),
]

TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}
"""All tasks by name, in the order they are shown."""
