"""The fields of a simulated set: studies of one modality each, and the stains of their fields."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.errors import SpotlightError
from spotlight.settings import Settings
from spotlight.simulation.organelles import STAINS

ABBREVIATIONS = {"brightfield": "BF", "phase": "PC", "dic": "DIC"}
"""Names of the modalities in the file and channel names of Light My Cells."""


class StudySettings(Settings):
    """A study: fields of one modality with the same kinds of stains.

    Examples
    --------
    >>> from spotlight.simulation import StudySettings
    >>> StudySettings(modality="dic", fields=1, nucleus=1, tubulin=0.25).shares
    {'Nucleus': 1.0, 'Mitochondria': 0.0, 'Tubulin': 0.25, 'Actin': 0.0}
    """

    modality: Literal["brightfield", "phase", "dic"] = Field(description="Modality of the transmitted light.")
    fields: float = Field(gt=0, description="Number of fields, relative to other studies.")
    nucleus: float = Field(0.0, ge=0, le=1, description="Share of fields with this target.")
    mitochondria: float = Field(0.0, ge=0, le=1, description="Share of fields with this target.")
    tubulin: float = Field(0.0, ge=0, le=1, description="Share of fields with this target.")
    actin: float = Field(0.0, ge=0, le=1, description="Share of fields with this target.")

    @property
    def shares(self) -> dict[str, float]:
        """Share of fields with each of `STAINS`."""
        return {stain: float(getattr(self, stain.lower())) for stain in STAINS}


CHALLENGE_STUDIES = (
    StudySettings(modality="brightfield", fields=1364, nucleus=1, mitochondria=1),
    StudySettings(modality="brightfield", fields=591, nucleus=1),
    StudySettings(modality="brightfield", fields=24, nucleus=1, tubulin=1),
    StudySettings(modality="brightfield", fields=8, nucleus=1, mitochondria=0.875, actin=0.875),
    StudySettings(modality="phase", fields=217, nucleus=1, mitochondria=1),
    StudySettings(modality="phase", fields=16, nucleus=0.5, mitochondria=1),
    StudySettings(modality="phase", fields=48, nucleus=1, tubulin=1),
    StudySettings(modality="phase", fields=20, nucleus=1, actin=1),
    StudySettings(modality="dic", fields=102, nucleus=1, mitochondria=1),
    StudySettings(modality="dic", fields=77, nucleus=1, mitochondria=1, tubulin=1),
    StudySettings(modality="dic", fields=74, nucleus=1, tubulin=1),
    StudySettings(modality="dic", fields=33, mitochondria=1),
)
"""The 30 studies of the challenge; studies of equal modality and stains are merged. By its lists of files, 2533 of the
2574 fields have a nuclear target, 1816 mitochondria, 223 tubulin and 27 actin."""

MILD_STUDIES = (
    StudySettings(modality="brightfield", fields=1, nucleus=1, mitochondria=1),
    StudySettings(modality="brightfield", fields=1, nucleus=1, tubulin=0.5, actin=0.5),
    StudySettings(modality="phase", fields=1, nucleus=1, mitochondria=1),
    StudySettings(modality="phase", fields=1, nucleus=1, tubulin=0.5, actin=0.5),
    StudySettings(modality="dic", fields=1, nucleus=1, mitochondria=1),
    StudySettings(modality="dic", fields=1, mitochondria=0.5, tubulin=1),
)
"""Studies for sets of two or three dozen fields: modalities are equally frequent, and no stain is too rare to be
learnt. As in the challenge, DIC has no actin."""


@dataclass(frozen=True)
class PlannedField:
    """A field to simulate.

    Attributes
    ----------
    number : int
        Number of the field, unique over all studies.
    study : int
        Number of its study, from 1, in the order of the settings.
    modality, split : str
        "brightfield", "phase" or "dic"; "train", "val" or "test".
    stains : tuple of str
        Those of `STAINS` that are written.
    focus : int
        Index of the plane in best focus, from 0.
    """

    number: int
    study: int
    modality: str
    split: str
    stains: tuple[str, ...]
    focus: int


def plan_fields(
    counts: Mapping[str, int],
    studies: Sequence[StudySettings],
    focus_planes: tuple[int, int],
    complete: Collection[str],
    seed: int,
) -> list[PlannedField]:
    """Divide fields among studies, and draw the stains and the plane in focus of each.

    In every split, the number of fields of each study is proportional to the study's size; every modality occurs if
    there are enough fields. The training split has at least one field of every stain. Every field has at least one
    stain.

    Parameters
    ----------
    counts : mapping
        Number of fields per split.
    studies : sequence of StudySettings
        The studies.
    focus_planes : (int, int)
        First and last plane that may be in best focus.
    complete : collection of str
        Splits in which every field has every stain.
    seed : int
        Seed of the random draws.

    Raises
    ------
    SpotlightError
        If training has too few fields to contain every modality and every stain.
    """
    # Separate random streams, so `complete` changes only the stains.
    rng, for_stains = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    planned: list[PlannedField] = []
    for split, count in counts.items():
        if not count:
            continue
        needed: set[str] = {study.modality for study in studies}
        if split == "train":
            needed |= {stain for study in studies for stain, share in study.shares.items() if share}
        first = _cover(studies, needed)
        if len(first) > count and split == "train" and split not in complete:
            raise SpotlightError(
                f"simulate needs {len(first)} training fields to include every modality and every stain of these "
                f"studies. Received: {count}. Ask for more fields, or give studies with fewer modalities and stains."
            )
        members = rng.permutation(_divide(count, [study.fields for study in studies], first[:count]))
        stains = [STAINS] * count if split in complete else _stained(members, studies, split, for_stains)
        for number, written in zip(members, stains, strict=True):
            focus = int(rng.integers(focus_planes[0], focus_planes[1] + 1))
            planned.append(
                PlannedField(len(planned) + 1, int(number) + 1, studies[number].modality, split, written, focus)
            )
    return planned


def _cover(studies: Sequence[StudySettings], needed: set[str]) -> list[int]:
    """Choose a few studies that together have all that is needed; of equal ones, the larger study."""
    chosen: list[int] = []
    missing = set(needed)
    while missing:
        shown = [missing & {study.modality, *(s for s, share in study.shares.items() if share)} for study in studies]
        best = max(range(len(studies)), key=lambda n: (len(shown[n]), studies[n].fields))
        chosen.append(best)
        missing -= shown[best]
    return chosen


def _divide(count: int, weights: Sequence[float], first: Sequence[int]) -> list[int]:
    """Give each of `count` fields the index of a study: first those in `first`, then the most underrepresented one."""
    members = list(first)
    due = np.array(weights) / sum(weights) * count
    while len(members) < count:
        members.append(int(np.argmax(due - np.bincount(members, minlength=len(weights)))))
    return members


def _stained(
    members: NDArray[np.int_], studies: Sequence[StudySettings], split: str, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Draw the stains of each field, by the shares of its study."""
    has = {stain: np.zeros(len(members), bool) for stain in STAINS}
    for number, study in enumerate(studies):
        own = np.flatnonzero(members == number)
        for stain, share in study.shares.items():
            # The number of fields is the share times their count; a fractional rest is drawn.
            has[stain][rng.permutation(own)[: int(share * len(own) + rng.uniform())]] = True
    share_of = {stain: np.array([studies[number].shares[stain] for number in members]) for stain in STAINS}
    for stain in STAINS:
        if split == "train" and share_of[stain].any() and not has[stain].any():
            has[stain][rng.choice(np.flatnonzero(share_of[stain]))] = True
    for field in np.flatnonzero(~np.any(list(has.values()), axis=0)):
        has[max(STAINS, key=lambda stain: share_of[stain][field])][field] = True
    return [tuple(stain for stain in STAINS if has[stain][n]) for n in range(len(members))]
