"""`check`: what would spoil training or evaluation, found before a minute is wasted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.pairs.check_masks import check_mask, find_unlearnable, names_masks
from spotlight.pairs.check_pairs import check_pair
from spotlight.pairs.check_sets import find_duplicates, find_leaks, find_planes, find_strangers
from spotlight.pairs.findings import CheckSettings, Finding, PairReport
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed
from spotlight.processes import BrokenProcessPool, processes
from spotlight.progress import Progress, tracked

MOST_PICTURED = 100
"""Pairs with pictures; beyond them only those with findings of their own have some, so that the page can be opened."""


@dataclass(frozen=True, eq=False)
class Check:
    """What was found in all pairs.

    Attributes
    ----------
    pairs : DataFrame
        One row per pair: sizes, intensities, foreground, shift, focus.
    findings : DataFrame
        One row per `Finding`, the worst first.
    pictures : dict
        By the pairs' names; see `PairReport`.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> rng = np.random.default_rng(0)
    >>> light, dna = (spotlight.Stack(rng.random((8, 48, 48), np.float32), "ZYX", (0.5, 0.2, 0.2)) for _ in range(2))
    >>> result = spotlight.check([(light, dna)])
    >>> result.failed, len(result.pairs)
    (False, 1)
    >>> result.findings.loc[0, "remedy"]
    'Look at the mask; choose another threshold (preparation.foreground) or give a mask file.'
    """

    pairs: pd.DataFrame
    findings: pd.DataFrame
    pictures: dict[str, dict[str, NDArray[np.uint8]]]

    @property
    def failed(self) -> bool:
        """Whether something would spoil training or evaluation."""
        return bool((self.findings["severity"] == "error").any())


def check(
    pairs: Listed,
    to: str | Path | None = None,
    settings: CheckSettings | None = None,
    *,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target: str | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Check:
    """Read every pair once, and say what is wrong with it.

    Parameters
    ----------
    pairs : path or sequence
        A manifest, a folder of stacks with both channels, or pairs: each a `Pair`, or a tuple of input and target
        (NumPy arrays, stacks or paths). Of a manifest that has columns ``mask`` or ``mask:NAME``, and no target, the
        masks are checked.
    to : path, optional
        Folder for ``check-pairs.csv`` and ``check-findings.csv``.
    settings : CheckSettings
        Limits.
    input_channel : str or sequence of str, optional
        Channel of the input, name or index, or several in order; for a folder.
    target_channel : str, optional
        Channel of the target, for a folder.
    target : str, optional
        Which target to check, for a manifest of several; left out: all of them.
    axes, voxel_size : optional
        Of arrays, and of files that do not state them or state them wrongly; see `spotlight.pairs.read_pairs`.
    workers : int
        Processes. More than one need a script to guard its main part, as `multiprocessing` documents.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    Check
        Figures of every pair, findings and pictures; nothing is raised for a finding.

    Raises
    ------
    SpotlightError
        If nothing can be checked: as `spotlight.pairs.read_pairs`.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> light = np.random.default_rng(0).random((8, 48, 48), np.float32)
    >>> field = spotlight.Stack(light, "ZYX", (0.5, 0.2, 0.2))
    >>> result = spotlight.check([(field, field)])
    >>> list(result.findings)
    ['pair', 'severity', 'subject', 'found', 'remedy']
    >>> result.findings["severity"].tolist()  # half of the noise is foreground, too much for nuclei
    ['warning']
    """
    settings = settings or CheckSettings()
    column = "mask" if names_masks(pairs) else "target"
    listed = read_pairs(pairs, input_channel, target_channel, target, True, axes, voxel_size, column)
    reports: list[PairReport] = []
    try:
        with processes(min(workers, len(listed))) as run:
            results = run(check_pair if column == "target" else check_mask, listed, repeat(settings))
            for report in tracked(results, "checking", len(listed), progress):
                kept = len(reports) < MOST_PICTURED or report.findings
                reports.append(report if kept else replace(report, pictures={}))
    except BrokenProcessPool as error:
        raise SpotlightError(
            f"a checking process died after {len(reports)} pairs, for lack of memory or of a guard around the script's "
            "main part. Use fewer workers (--workers 1)."
        ) from error
    findings = [finding for report in reports for finding in report.findings]
    findings += [*find_leaks(listed), *find_planes(listed)]
    findings += [
        *find_duplicates(listed, reports, settings),
        *find_strangers(reports, settings),
    ]
    findings += find_unlearnable(listed, reports) if column == "mask" else []
    order = {"error": 0, "warning": 1, "note": 2}
    table = pd.DataFrame(
        [vars(finding) for finding in sorted(findings, key=lambda f: order[f.severity])],
        columns=list(Finding.__dataclass_fields__),
    )
    result = Check(
        pd.DataFrame([report.figures for report in reports]),
        table,
        {report.figures["pair"]: report.pictures for report in reports},
    )
    if to is not None:
        for name, rows in (("pairs", result.pairs), ("findings", result.findings)):
            write_csv(rows, Path(to) / f"check-{name}.csv", "%.6g")
    return result
