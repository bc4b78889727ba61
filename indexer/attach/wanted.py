"""What a user asks of an index, and what is found about it. Values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from triptych.errors import InputError
from triptych.schema import FIELD, Attachment

_BOOST: Final = re.compile(r"(?P<name>[^\s^,]+)(?:\^(?P<boost>\d{1,6}(?:\.\d{1,6})?))?")
_OBJECT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asks for. `text` may have boosts (`title^2`); `object_field` is the name of our object field."""

    text: tuple[str, ...] = ()
    image: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    id: str | None = None
    object_field: str = FIELD
    root: str | None = None
    most_per_second: float | None = None

    @property
    def attachment(self) -> Attachment:
        names = tuple(name_of(one) for one in self.text)
        return Attachment(
            text=names, image=self.image, audio=self.audio, id=self.id, root=self.root, most_per_second=self.most_per_second
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know of: a refusal (`remedy` says what to do), a risk, or a note."""

    code: str
    message: str
    remedy: str | None = None


def name_of(text: str) -> str:
    """A field without its boost. Raises InputError `attach.bad_option`."""
    found = _BOOST.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is no field, or its boost no number.", code="attach.bad_option", field="text")
    return found["name"]


def fields_in(text: str | None) -> tuple[str, ...]:
    """The fields of an option, `title^2,description`."""
    return tuple(dict.fromkeys(one.strip() for one in (text or "").split(",") if one.strip()))


def check(wanted: Wanted) -> None:
    """Raise InputError `attach.bad_option` for a wish that no index could follow."""
    if not wanted.text and not wanted.image and not wanted.audio:
        raise InputError("No field is named to be searched.", code="attach.bad_option", field="text", remedy="Give --text.")
    if not _OBJECT.fullmatch(wanted.object_field):
        message = f"{wanted.object_field[:80]!r} cannot name our object field."
        remedy = "Give lower-case letters, digits and _, beginning with a letter."
        raise InputError(message, code="attach.bad_option", field="name", remedy=remedy)
    if wanted.most_per_second is not None and wanted.most_per_second <= 0:
        raise InputError("No documents a second is nothing.", code="attach.bad_option", field="max_docs_per_second")
