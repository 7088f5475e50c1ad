"""What `check` finds in pairs, and from when on it is reported."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.foreground import ForegroundSettings
from spotlight.settings import Settings

Severity = Literal["error", "warning", "note"]


class CheckSettings(Settings):
    """From when on a finding is reported.

    Examples
    --------
    >>> from spotlight.pairs import CheckSettings
    >>> CheckSettings(shift_px=1.5).large_shift_px
    20.0
    """

    foreground: ForegroundSettings = Field(ForegroundSettings(median_px=3, gaussian_px=0), description="Its threshold.")
    shift_px: float = Field(
        3.0, gt=0, description="Lateral shift between input and target, beyond 1.25 times its uncertainty; warning."
    )
    large_shift_px: float = Field(20.0, gt=0, description="The same; error.")
    shift_uncertainty_px: float = Field(
        6.0,
        gt=0,
        description="Uncertainty, by the agreement of parts of the field, up to which a shift is believed; of "
        "far ones a fifth of their length.",
    )
    focus_um: float = Field(1.5, gt=0, description="Deviation of the focus in Z from that of the other pairs.")
    saturated: float = Field(0.005, gt=0, description="Share of voxels at the greatest value that the type can hold.")
    illumination: float = Field(0.5, gt=0, description="Darkest over brightest region of the blurred input.")
    similarity: float = Field(
        0.95, gt=0, lt=1, description="Correlation of two pairs, in input and target, that are one field."
    )


@dataclass(frozen=True)
class Finding:
    """Something to be said about a pair, or about several.

    Attributes
    ----------
    pair : str
        Its name.
    severity : str
        "error" spoils training or evaluation, "warning" may, "note" is good to know.
    subject : str
        What it is about, in a word.
    found, remedy : str
        Sentences.
    """

    pair: str
    severity: Severity
    subject: str
    found: str
    remedy: str


@dataclass(frozen=True, eq=False)
class PairReport:
    """What one pair is like.

    Attributes
    ----------
    figures : dict
        One row of the table.
    findings : list of Finding
        What is to be said about this pair alone.
    digest : str
        What identifies the data.
    likeness : ndarray or None
        Small pictures of input and target by which near-duplicates are known.
    pictures : dict of str to uint8 ndarray
        Input, target and mask in one plane; empty if the pair could not be read.
    """

    figures: dict[str, Any]
    findings: list[Finding]
    digest: str
    likeness: NDArray[np.float32] | None
    pictures: dict[str, NDArray[np.uint8]]
