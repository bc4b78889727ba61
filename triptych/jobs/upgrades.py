"""The ledger's upgrades: which index has a second version beside the one that serves, and how far the two are alike.

    open -> held (writes wait, the last changes are carried over) -> swapping -> open, with the other version serving
    open -> closed (the version that did not serve is dropped)

The record says which version serves and which moment of each version the other one has seen; whoever writes looks at it before
each batch. `_id` is the alias. Every change of state names the state it was decided on, so two processes never both win.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from triptych.errors import ElasticsearchError, InputError, NotFoundError
from triptych.jobs.ledger import Ledger, every, now, term

MOST_FORMER: Final = 50
"""Versions that were dropped and whose late jobs still find their way."""

_MOST: Final = 1000


class UpgradeState(StrEnum):
    OPEN = "open"
    HELD = "held"
    SWAPPING = "swapping"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Two versions of an index. Times are ISO 8601 in UTC.

    `serving` is the version behind the alias. `learned` is the sha256 of what the new version's encoders learned, by space.
    `seen`: up to which sequence number the changes of each version's shards were carried to the other one. `job` carries
    documents over at the moment, and will have looked through `pending` when it has ended. `holder` is the process for which
    writes wait, and `beat` counts its signs of life. `root` is the folder of media that no job of the ledger tells of. `former`
    are versions of earlier upgrades, which are gone. `settings` is what the new version had of those that are changed while
    it is filled (triptych.elastic.building); None: nothing was changed.
    """

    alias: str
    old: str
    new: str
    serving: str
    profile: str
    started_at: str
    state: UpgradeState = UpgradeState.OPEN
    learned: Mapping[str, str] = field(default_factory=dict)
    root: str | None = None
    seen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    job: str | None = None
    pending: Mapping[str, int] | None = None
    holder: str | None = None
    beat: int = 0
    swapped_at: str | None = None
    former: tuple[str, ...] = ()
    settings: Mapping[str, str | None] | None = None

    @property
    def waiting(self) -> str:
        """The version that does not serve."""
        return self.old if self.serving == self.new else self.new

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions whose jobs write to the one that serves."""
        return tuple(dict.fromkeys((self.old, self.new, *self.former)))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "state": str(self.state), "former": list(self.former), "versions": list(self.versions)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Upgrade:
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**known, "state": UpgradeState(data["state"]), "former": tuple(data.get("former", ()))})


class UpgradeStore(Ledger):
    """Reads and writes upgrades."""

    @property
    def _upgrades(self) -> str:
        return f"{self._settings.system_prefix}upgrades"

    def get(self, alias: str) -> Upgrade | None:
        """The newest upgrade of an alias as it is now, open or closed; None where there never was one."""
        try:
            return Upgrade.from_dict(self._read(self._upgrades, alias).source)
        except ElasticsearchError as error:
            if error.code == "elasticsearch.not_found":
                return None
            raise

    def open_of(self, alias: str) -> Upgrade:
        """The upgrade of an alias. Raises NotFoundError `upgrade.not_found` where none is open."""
        found = self.get(alias)
        if found is None or found.state is UpgradeState.CLOSED:
            raise NotFoundError(
                f"No upgrade of {alias!r} is open.",
                code="upgrade.not_found",
                field="index",
                remedy=f"Begin one: triptych reindex start {alias} --profile NAME",
            )
        return found

    def of_job(self, alias: str, index: str) -> Upgrade | None:
        """The upgrade that concerns a job which writes to the version `index`; `alias` may be the version's own name."""
        found = self.get(alias)
        if found is None and alias == index:
            hits = self._search(self._upgrades, term("versions", index), size=1, sort="_doc", source_includes=["alias"])
            found = self.get(str(hits[0]["_source"]["alias"])) if hits else None
        return found if found is not None and index in found.versions else None

    def all_open(self) -> list[Upgrade]:
        """The upgrades that are not closed."""
        hits = self._search(self._upgrades, every(but=[term("state", UpgradeState.CLOSED)]), size=_MOST, sort="_doc")
        return [Upgrade.from_dict(hit["_source"]) for hit in hits]

    def open(self, upgrade: Upgrade) -> Upgrade:
        """Enter an upgrade. Raises InputError `upgrade.open` where one of the alias is open."""
        self.prepare()
        if self._create(self._upgrades, upgrade.alias, upgrade.to_dict(), refresh=True):
            return upgrade

        def instead(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            before = Upgrade.from_dict(entry)
            if before.state is not UpgradeState.CLOSED:
                return None
            former = tuple(name for name in before.versions if name not in (upgrade.old, upgrade.new))
            return replace(upgrade, former=former[:MOST_FORMER]).to_dict()

        if not self._change(self._upgrades, upgrade.alias, instead, refresh=True):
            raise already_open(upgrade.alias)
        return self.open_of(upgrade.alias)

    def update(self, upgrade: Upgrade, **changes: Any) -> Upgrade:
        """Change fields that leave the state as it is."""
        return self._turn(upgrade.alias, lambda now_: replace(now_, **changes))

    def saw(self, upgrade: Upgrade, version: str, shards: Mapping[str, int], **changes: Any) -> Upgrade:
        """Keep up to where a version's changes were carried to the other one."""
        return self._turn(upgrade.alias, lambda now_: replace(now_, seen={**now_.seen, version: dict(shards)}, **changes))

    def keep_settings(self, upgrade: Upgrade, settings: Mapping[str, str | None]) -> Upgrade:
        """Keep what the new version's settings are before it is filled; what another process kept first stays."""
        return self._turn(upgrade.alias, lambda now_: replace(now_, settings=dict(settings)) if now_.settings is None else now_)

    def hold(self, seen: Upgrade) -> Upgrade | None:
        """Let all writes wait for this process; None if the upgrade changed since it was `seen`, or its holder gave a sign."""
        mine = uuid.uuid4().hex

        def held(found: Upgrade) -> Upgrade | None:
            if (found.state, found.serving, found.holder, found.beat) != (seen.state, seen.serving, seen.holder, seen.beat):
                return None
            if found.state not in (UpgradeState.OPEN, UpgradeState.HELD):
                return None
            return replace(found, state=UpgradeState.HELD, holder=mine, beat=0)

        return self._won(seen.alias, held)

    def beat(self, mine: Upgrade) -> None:
        """The holder's sign of life; none if another process holds now."""
        self._won(mine.alias, lambda found: replace(found, beat=found.beat + 1) if _holds(found, mine) else None)

    def release(self, seen: Upgrade) -> bool:
        """Let writes go on as before; False if another process holds, or the swap has begun."""
        return self._won(seen.alias, lambda found: _released(found) if _holds(found, seen) else None) is not None

    def release_lost(self, seen: Upgrade) -> bool:
        """Let writes go on whose holder gave no sign of life since it was `seen`."""

        def lost(found: Upgrade) -> Upgrade | None:
            return _released(found) if _holds(found, seen) and found.beat == seen.beat else None

        return self._won(seen.alias, lost) is not None

    def begin_swap(self, mine: Upgrade, shards: Mapping[str, int]) -> Upgrade | None:
        """From here on the swap is finished by whoever finds it; None if this process holds no more.

        `shards`: the sequence numbers of the version that will serve, which the other one has seen.
        """

        def swapping(found: Upgrade) -> Upgrade | None:
            if not _holds(found, mine):
                return None
            return replace(found, state=UpgradeState.SWAPPING, seen={**found.seen, found.waiting: dict(shards)})

        return self._won(mine.alias, swapping)

    def end_swap(self, seen: Upgrade) -> Upgrade:
        """The other version serves, and writes go on. Nothing happens if that was written down already."""

        def done(found: Upgrade) -> Upgrade:
            if found.state is not UpgradeState.SWAPPING or found.serving != seen.serving:
                return found
            return replace(_released(found), serving=found.waiting, swapped_at=now())

        return self._turn(seen.alias, done)

    def close(self, seen: Upgrade) -> Upgrade:
        """The version that does not serve is to go. Raises InputError `upgrade.busy` if the upgrade changed since."""
        changed = self._won(
            seen.alias,
            lambda found: (
                replace(found, state=UpgradeState.CLOSED, job=None, pending=None)
                if (found.state, found.serving) == (UpgradeState.OPEN, seen.serving)
                else None
            ),
        )
        if changed is None:
            raise busy(seen.alias)
        return changed

    def _won(self, alias: str, decide: Callable[[Upgrade], Upgrade | None]) -> Upgrade | None:
        """The upgrade as `decide` made it; None if it said so."""
        made: list[Upgrade] = []

        def changes(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
            new = decide(Upgrade.from_dict(entry))
            made[:] = [] if new is None else [new]
            return None if new is None else new.to_dict()

        return made[0] if self._change(self._upgrades, alias, changes, refresh=True) else None

    def _turn(self, alias: str, decide: Callable[[Upgrade], Upgrade]) -> Upgrade:
        turned = self._won(alias, decide)
        if turned is None:  # decide always gives one
            raise busy(alias)
        return turned


def _holds(found: Upgrade, mine: Upgrade) -> bool:
    return found.state is UpgradeState.HELD and found.holder == mine.holder


def _released(found: Upgrade) -> Upgrade:
    return replace(found, state=UpgradeState.OPEN, holder=None, beat=0)


def already_open(alias: str) -> InputError:
    """The error of who begins a second upgrade."""
    return InputError(
        f"An upgrade of {alias!r} is open already.",
        code="upgrade.open",
        field="index",
        remedy=f"See `triptych reindex status {alias}`; end it with `triptych reindex drop {alias}`.",
    )


def busy(alias: str) -> InputError:
    """The error of who comes while another process swaps."""
    return InputError(
        f"Another process changes the upgrade of {alias!r} at this moment.",
        code="upgrade.busy",
        field="index",
        retryable=True,
        remedy=f"See `triptych reindex status {alias}`, and try again.",
    )
