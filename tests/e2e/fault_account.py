"""What became of a trial's records: the jobs' counters, their dead letters and the index, compared with the catalogues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fault_shop import OUTCOMES, Catalogue, Circumstances, Differences, bounds, compare
from fault_world import World

from triptych.domain import Outcome


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a trial's records. `faults` are sentences; none: all is as it should be."""

    lost: int
    doubled: int
    faults: tuple[str, ...]
    codes: tuple[str, ...]
    states: tuple[str, ...]


def account(
    world: World, *, codes: tuple[str, ...] = (), at_once: bool = False, sick: bool = False, poisoned: bool = False
) -> Account:
    """The account of the world's jobs, after which its shelf is what they left.

    `codes` begin the codes of dead letters that may be. The jobs ran one after the other, or `at_once`. Pictures may be missing
    where the server was `sick`, and are where they were `poisoned`.
    """
    lost = doubled = 0
    faults: list[str] = []
    found: set[str] = set()
    states = []
    shelf = world.shelf
    catalogues = list(world.jobs.values())
    for place, (job, catalogue) in enumerate(world.jobs.items()):  # in order: of a product the newest job's record counts
        older, newer = (catalogues[:place], catalogues[place + 1 :]) if at_once else ([], [])
        met = Circumstances(shelf, world.half, older, newer, sick=sick, poisoned=poisoned)
        shown = world.command("job", "show", job)
        states.append(shown["state"])
        ends = sum(shown.get(name, 0) for name in OUTCOMES)
        lost += max(0, len(catalogue) - ends)
        doubled += max(0, ends - len(catalogue), shown["read"] - len(catalogue))
        faults += [*_faults_of(shown, len(catalogue), codes), *_miscounted(shown, catalogue, met)]
        found |= {letter["code"] for letter in shown["letters"]}
        shelf = catalogue.after(shelf)
    documents = list(world.documents())
    half = {hit["_id"] for hit in documents if hit["_source"]["triptych"]["outcome"] == Outcome.PARTIAL}
    differ = compare(documents, shelf, half)
    faults += [f"{name}: {len(ids)}, {ids[0]}" for name, ids in _named(differ).items() if ids]
    if not world.shelf and len(catalogues) == 1 and len(half) != shown["partial"]:
        faults.append(f"of {len(half)} products the index says that they lack pictures, of {shown['partial']} the job")
    lost += len(differ.missing) + len(differ.wrong)
    world.shelf, world.half = shelf, half
    return Account(lost, doubled + len(differ.surplus), tuple(faults), tuple(sorted(found)), tuple(states))


def _named(differ: Differences) -> dict[str, Sequence[str]]:
    return {"missing": differ.missing, "too many": differ.surplus, "wrong content": differ.wrong}


def _miscounted(shown: Mapping[str, Any], catalogue: Catalogue, met: Circumstances) -> Iterator[str]:
    """Outcomes that more or fewer records ended with than can be."""
    for name, (least, most) in bounds(catalogue, met).items():
        if not least <= shown.get(name, 0) <= most:
            right = f"{least}" if least == most else f"{least} to {most}"
            yield f"{name} are {shown.get(name, 0)} instead of {right} of {len(catalogue)}"


def _faults_of(shown: Mapping[str, Any], records: int, codes: tuple[str, ...]) -> Iterator[str]:
    """What a job says that cannot be."""
    counts = {name: shown.get(name, 0) for name in ("read", *OUTCOMES, "pending")}
    if shown["read"] != records or sum(counts[name] for name in OUTCOMES) != records or shown["pending"]:
        yield f"counters do not add up to {records}: {counts}"
    letters = shown["letters"]
    wanted = "completed_with_dead_letters" if letters else "completed"
    if shown["state"] != wanted:
        yield f"state {shown['state']} instead of {wanted}: {shown['error']}"
    strange = sorted({letter["code"] for letter in letters if not letter["code"].startswith(codes or ("none",))})
    if strange:
        yield f"dead letters of {', '.join(strange)}"
    keys = {(letter["line"], letter["modality"], letter["reference"], letter["code"]) for letter in letters}
    if len(keys) != len(letters) or len({letter["line"] for letter in letters}) != counts["partial"] + counts["dead"]:
        yield f"{len(letters)} dead letters on {len({letter['line'] for letter in letters})} lines, but {counts}"
