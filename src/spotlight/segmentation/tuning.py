"""Tuning: settings that segment real fluorescence best, to be used unchanged on target and stains (paper, A.3)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.pieces import doubt_pieces
from spotlight.metrics.instances import score_instances
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.progress import Progress
from spotlight.segmentation.cleaning import clean_truth
from spotlight.segmentation.methods import find_instances
from spotlight.segmentation.settings import InstanceSettings, rounded
from spotlight.segmentation.watershed import SegmentationSettings
from spotlight.settings import commented_yaml

log = logging.getLogger("spotlight")

HOLE = 0.02
"""Holes that are filled, in sizes of a nucleus, where settings in µm do not apply."""
ROUNDS = 3
"""Passes over the settings, unless one changes nothing."""


@dataclass(frozen=True, eq=False)
class Tuning:
    """What tuning found.

    Attributes
    ----------
    settings : InstanceSettings
        The best that were tried.
    score, first_score : float
        Mean over stacks of the mean average precision, with these settings and with those that it began with (but for
        sizes, which the curated labels give).
    tried : DataFrame
        One row per trial: the settings that are tuned, and ``mean_ap``.
    stacks : tuple of str
        Names of the stacks that were used.
    nuclei : int
        Curated nuclei in them that borders and sizes leave.
    """

    settings: InstanceSettings
    score: float
    first_score: float
    tried: pd.DataFrame
    stacks: tuple[str, ...]
    nuclei: int

    def to_yaml(self) -> str:
        """Write the settings as commented YAML, headed by what they were tuned on."""
        return (
            f"# Tuned on {self.nuclei} curated nuclei of {', '.join(self.stacks)}:\n"
            f"# mean average precision {self.score:.3f}, before {self.first_score:.3f}.\n"
            f"{commented_yaml(self.settings)}"
        )


def tune(
    pairs: Listed,
    settings: InstanceSettings | None = None,
    *,
    split: str = "train",
    complete: bool = True,
    most_stacks: int = 8,
    finer: bool = False,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Choose the settings with which the targets of a split are segmented most like their curated labels.

    The greatest mean average precision over an IoU of 0.5 to 0.95 wins. Settings are tried one after the other (see
    `InstanceSettings.candidates`), over and over until none gets better.

    Size limits are not chosen by score, which would be best without what is difficult. They follow from the curated
    sizes: half of the 5th percentile and one and a half times the 99th. So does the diameter that some segmenters
    need, that of a ball (a disk) of the median size. Holes and borders stay as they were given.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A manifest with a column ``labels``, a folder of stacks, or pairs.
    settings : InstanceSettings
        The method and where to begin.
    split : str
        Rows of the manifest to use; the training rows, since what settings were tuned on says little of them.
    complete : bool
        Whether every nucleus is labelled; see `spotlight.metrics.score_instances`.
    most_stacks : int
        If there are more, so many are used, evenly chosen over the manifest.
    finer : bool
        Also try a working grid twice as fine, where the stacks are as fine. It keeps narrow gaps between nuclei, and
        takes eight times as long, also when it is used afterwards.
    input_channel : str or sequence of str, optional
        Channel of the input, name or index, or several in order; for a folder.
    target_channel : str, optional
        Channel of the target, for a folder.
    axes, voxel_size : optional
        Of arrays, and of files that do not state them or state them wrongly; see `spotlight.pairs.read_pairs`.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Raises
    ------
    SpotlightError
        If no row of the split has curated labels: there is nothing else to tune against.
    """
    start = settings or SegmentationSettings()
    listed = read_pairs(pairs, input_channel, target_channel, axes=axes, voxel_size=voxel_size)
    chosen = _labelled(listed, split, most_stacks)
    targets, labels = zip(*(_read(pair) for pair in chosen), strict=True)
    start, diameter = fit_sizes(start, labels)
    truth = [clean_truth(stack, start).data for stack in labels]
    trials: dict[InstanceSettings, float] = {}

    def score(trial: InstanceSettings) -> float:
        if trial not in trials:
            values = [_mean_ap(target, t, trial, complete) for target, t in zip(targets, truth, strict=True)]
            # None found where there is none is right; left out, a trial would be judged on fewer stacks than another.
            trials[trial] = float(np.mean(np.nan_to_num(values, nan=1.0)))
        return trials[trial]

    options = dict(start.candidates(diameter))
    if not finer:
        options.pop("voxel_um", None)
    if "voxel_um" in options:
        finest = min(min(target.require_voxel_size()) for target in targets)
        options["voxel_um"] = tuple(v for v in options["voxel_um"] if v >= 0.99 * finest)
    total = 1 + ROUNDS * sum(map(len, options.values()))
    if progress is not None:
        progress("tuning", 0, total, {})
    first, best = score(start), start
    for _ in range(ROUNDS):
        before = best
        for name, values in options.items():
            for value in values:
                trial = best.model_copy(update={name: value})
                if score(trial) > score(best):
                    best = trial
                if progress is not None:
                    progress("tuning", len(trials), total, {"mean_ap": score(best)})
        if best == before:
            break
    rows = [{**{name: getattr(trial, name) for name in options}, "mean_ap": ap} for trial, ap in trials.items()]
    return Tuning(
        best,
        score(best),
        first,
        pd.DataFrame(rows),
        tuple(pair.name for pair in chosen),
        sum(len(np.unique(t[t > 0])) for t in truth),
    )


def _labelled(pairs: Sequence[Pair], split: str, most: int) -> list[Pair]:
    """Pairs of a split that have curated labels, so many of them as are wanted."""
    rows = [pair for pair in pairs if pair.split == split]
    if not rows:
        raise SpotlightError(
            f"no pair has the split {split!r} to tune on. Found: {sorted({p.split or 'no split' for p in pairs})}."
        )
    labelled = [pair for pair in rows if pair.labels is not None]
    if not labelled:
        raise SpotlightError(
            f"none of the {len(rows)} pairs of split {split!r} has curated labels, which tuning compares with. Name "
            "them in the manifest's column labels, or write the settings by hand."
        )
    if len(labelled) > most:
        log.warning("tuning on %d of %d labelled stacks of split %s.", most, len(labelled), split)
        labelled = [labelled[i] for i in np.linspace(0, len(labelled) - 1, most).round().astype(int)]
    return labelled


def _read(pair: Pair) -> tuple[Stack, Stack]:
    target = pair.read_target()
    labels = pair.read_labels(target)
    assert labels is not None  # `_labelled` saw to it
    if doubt := doubt_pieces(labels):
        log.warning("%s: %s", pair.name, doubt)
    return target, labels


def fit_sizes(settings: InstanceSettings, labels: Sequence[Stack]) -> tuple[InstanceSettings, float]:
    """Give settings the size limits of curated nuclei, and their diameter.

    Parameters
    ----------
    settings : InstanceSettings
        What else is set stays; `clear_border` says whether cut nuclei count.
    labels : sequence of Stack
        Curated labels.

    Returns
    -------
    InstanceSettings
        With the new limits, see `tune`.
    float
        Diameter of a ball (a disk) of the median size, in µm; in pixels if no stack has a voxel size, and then so are
        the settings.
    """
    units = {settings.unit == "px" or stack.voxel_size is None for stack in labels}
    if len(units) > 1:
        raise SpotlightError(
            "some of the stacks to tune on state a voxel size, and some do not. State it for all, in a voxel_size "
            "column of the manifest."
        )
    in_pixels = units.pop()
    everything = settings.model_copy(update={"min_size": 0.0, "max_size": np.inf})
    sizes = np.concatenate(
        [
            _sizes(clean_truth(stack, everything), 1.0 if in_pixels else float(np.prod(stack.require_voxel_size())))
            for stack in labels
        ]
    )
    if not sizes.size:
        raise SpotlightError(
            "the curated labels have no nucleus"
            + (" that does not touch a border. Tune with clear_border: false." if settings.clear_border else ".")
        )
    low, middle, high = np.percentile(sizes, [5, 50, 99])
    diameter = 2 * np.sqrt(middle / np.pi) if labels[0].data.ndim == 2 else 2 * np.cbrt(middle * 3 / (4 * np.pi))
    update: dict[str, Any] = {"min_size": rounded(0.5 * low), "max_size": rounded(1.5 * high)}
    if in_pixels:
        # What is not chosen by score is scaled, too.
        update |= {"unit": "px", "voxel_um": None, "max_hole": rounded(HOLE * middle)}
    return settings.model_copy(update=update).sized(float(diameter)), float(diameter)


def _sizes(labels: Stack, voxel: float) -> NDArray[np.float64]:
    return np.asarray(np.bincount(labels.data.ravel())[1:] * voxel)


def _mean_ap(target: Stack, truth: NDArray[Any], settings: InstanceSettings, complete: bool) -> float:
    # Not `segment`, which would warn of trials that find nothing: most of them are there to be rejected.
    found = find_instances(target, settings).labels.data
    return score_instances(truth, found, complete=complete).mean_average_precision
