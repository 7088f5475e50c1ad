"""What the preparation of a pair is asked for, and what it gives: settings, and the pair on the network's grid."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from spotlight.foreground import Foreground, ForegroundSettings
from spotlight.images.normalise import Grid
from spotlight.images.scaling import Scaling
from spotlight.settings import Settings


def _renamed_scaling(value: object) -> object:
    """Accept 'standard', the former name of 'mean/std'."""
    return "mean/std" if value == "standard" else value


class PreparationSettings(Settings):
    """How stacks become the network's input and target.

    Examples
    --------
    >>> from spotlight.pairs import PreparationSettings
    >>> PreparationSettings(grid="native").scaling
    'mean/std'
    """

    grid: Grid = Field(
        0.29,
        description="Edge in µm of the cubic voxels to which stacks are resampled (Ounkomol et al. 2018: 0.29), "
        "or 'native' for no resampling.",
    )
    planes: Literal["together", "one"] = Field(
        "together",
        description="Input of the network: all planes 'together' as a stack, for a target with the same number of "
        "planes; or 'one' plane of the stack at a time, for a target of a single plane (Light My Cells).",
    )
    scaling: Annotated[Scaling, BeforeValidator(_renamed_scaling)] = Field(
        "mean/std",
        description="Scaling of the input. By statistics of the whole stack: 'mean/std' subtracts the mean and divides "
        "by the standard deviation (Ounkomol et al. 2018); 'median/iqr' uses median and interquartile range (Liu et "
        "al. 2025); 'percentiles' makes the 1st and 99th percentile 0 and 1. 'uint16' maps 0 to 65535 onto -1 to 1, "
        "for input and target (Liu et al. 2024). 'log' takes ln((v + 1) / 1000) of the values v of 16-bit inputs.",
    )
    target_center: Literal["threshold", "mean", "offset"] = Field(
        "threshold",
        description="Value subtracted from a target before division by its standard deviation: its foreground "
        "threshold (Spotlight), its mean (F-net), or its offset, the intensity without dye (see `find_offset`). The "
        "loss uses the same threshold.",
    )
    mask_median_px: int = Field(
        1,
        ge=1,
        description="Median filter of the target, in voxels of the network's grid, before it is compared with the "
        "threshold. 1: no filter, as in the paper; noise then makes the mask ragged, which raises the masked error.",
    )
    foreground: ForegroundSettings = Field(ForegroundSettings(), description="How the threshold is chosen.")
    cells: bool = Field(
        False,
        description="Also compute the nearest component of the mask for every voxel. Losses that need it set this.",
    )
    percentiles: tuple[float, float] | None = Field(
        None, description="Also compute these percentiles of every target. Losses that need them set this."
    )


@dataclass(frozen=True, eq=False)
class PreparedPair:
    """A pair on the network's grid.

    Attributes
    ----------
    name : str
        The pair's name.
    input : (Z, Y, X) or (Y, X) float32
        Normalised. If the network sees one plane at a time, (P, Y, X): P planes that can be the input. If there are
        several input channels, (C, [Z,] Y, X).
    target : (Z, Y, X) or (Y, X) float32
        What the network learns; of a stain, normalised.
    mask : bool
        Foreground of the target, same shape; for other tasks, what they say.
    threshold : float
        The foreground threshold in the target's normalised units; 0 if the target is centred on it.
    foreground : Foreground
        The threshold in the target's own units, with warnings.
    intensity_range : (float, float)
        Least and greatest target value before normalisation.
    voxel_size : tuple of float or None
        Voxel size of the original stack, in µm.
    channels : (str, str)
        Names of the first input channel and of the target's; empty if the files have none.
    statistics : (float, float)
        Mean and standard deviation of the first input channel before normalisation.
    cells : int32 or None
        Number of the nearest component of the mask, same shape, 0 if the mask is empty; None if not requested.
    own_channel : str
        Name of the channel in the target's file, which may differ from the name in the manifest.
    percentiles : (float, float) or None
        Percentiles of the whole target in normalised units; None if not requested.
    modality : str
        "brightfield", "phase" or "dic"; empty if not stated.
    further_inputs : tuple of (str, float, float)
        Name, mean and standard deviation of every further input channel.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import PreparationSettings, prepare_pair, read_pairs
    >>> rng = np.random.default_rng(0)
    >>> light, dna = (Stack(rng.random((4, 16, 16), np.float32), "ZYX", (0.58, 0.29, 0.29)) for _ in range(2))
    >>> prepared = prepare_pair(read_pairs([(light, dna)])[0], PreparationSettings())
    >>> prepared.input.shape, prepared.voxel_size  # on the network's grid; of the files
    ((8, 16, 16), (0.58, 0.29, 0.29))
    """

    name: str
    input: NDArray[np.float32]
    target: NDArray[np.float32]
    mask: NDArray[np.bool_]
    threshold: float
    foreground: Foreground
    intensity_range: tuple[float, float]
    voxel_size: tuple[float, ...] | None
    channels: tuple[str, str]
    statistics: tuple[float, float]
    cells: NDArray[np.int32] | None = None
    percentiles: tuple[float, float] | None = None
    modality: str = ""
    own_channel: str = ""
    further_inputs: tuple[tuple[str, float, float], ...] = ()

    @property
    def planes(self) -> int:
        """Number of planes that can be the input; 0 if the network sees them together."""
        return self.input.shape[0] if self.input.ndim > self.target.ndim and not self.further_inputs else 0

    @property
    def inputs(self) -> list[NDArray[np.float32]]:
        """The input's channels."""
        return list(self.input) if self.further_inputs else [self.input]

    @property
    def judged_input(self) -> NDArray[np.float32]:
        """The input to evaluate: the whole stack, or the middle plane if planes are seen one at a time."""
        return np.asarray(self.input[self.planes // 2] if self.planes else self.input)

    @property
    def shown_input(self) -> NDArray[np.float32]:
        """The input to show: the first channel of `judged_input`."""
        return np.asarray(self.input[0]) if self.further_inputs else self.judged_input
