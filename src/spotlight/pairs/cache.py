"""The cache of prepared pairs: each pair is prepared once, and its files are memory-mapped from then on."""

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spotlight.files import explained_writing
from spotlight.fingerprint import fingerprint
from spotlight.foreground import Foreground
from spotlight.images.slabs import Allocate, in_files, in_memory
from spotlight.pairs.pair import Pair
from spotlight.pairs.prepare import prepare_pair
from spotlight.pairs.prepared import PreparationSettings, PreparedPair
from spotlight.progress import Progress, tracked

LAYOUT = 3
ARRAYS = ("input", "target", "mask", "cells")
FACTS = "facts.json"

Prepare = Callable[[Pair, PreparationSettings, Allocate], PreparedPair]
"""Prepares a pair, in arrays that it allocates."""


def prepare_pairs(
    pairs: Sequence[Pair],
    settings: PreparationSettings,
    cache: str | Path | None = None,
    progress: Progress | None = None,
    prepare: Prepare = prepare_pair,
    kind: str = "",
) -> list[PreparedPair]:
    """Prepare several pairs, in memory or in the files of a cache; see `prepare_pair`.

    Parameters
    ----------
    pairs : sequence of Pair
        The files.
    settings : PreparationSettings
        How they become input and target.
    cache : path, optional
        Folder of the cache.
    progress : callable, optional
        Called with what is being done and how far it is.
    prepare : callable
        What prepares one; `prepare_pair` or that of another task.
    kind : str
        Fingerprint of what it does, if it is another one.

    Returns
    -------
    list of PreparedPair
        In the order of `pairs`.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import PreparationSettings, prepare_pairs, read_pairs
    >>> light, dna = np.random.default_rng(0).random((2, 4, 16, 16), np.float32)
    >>> pairs = read_pairs([tuple(Stack(image, "ZYX", (0.29, 0.29, 0.29)) for image in (light, dna))])
    >>> (prepared,) = prepare_pairs(pairs, PreparationSettings(), "cache")
    >>> (again,) = prepare_pairs(pairs, PreparationSettings(), "cache")  # read from its files
    >>> bool((prepared.input == again.input).all())
    True
    """
    prepared = []
    for pair in tracked(pairs, "preparing", len(pairs), progress):
        made = prepare_cached(pair, settings, cache, prepare, kind) if cache else prepare(pair, settings, in_memory)
        prepared.append(made)
    return prepared


def prepare_cached(
    pair: Pair, settings: PreparationSettings, folder: str | Path, prepare: Prepare = prepare_pair, kind: str = ""
) -> PreparedPair:
    """Do what `prepare` does, or load the result of an earlier call.

    Entries are named after the state of the files, the row of the manifest, and the settings; a change of any of them
    makes a new entry. An entry appears only when it is complete, so several processes can share a folder.

    Parameters
    ----------
    pair : Pair
        The files.
    settings : PreparationSettings
        How they become input and target.
    folder : path
        The cache.
    prepare, kind
        See `prepare_pairs`.

    Returns
    -------
    PreparedPair
        Its arrays stay on the disk until they are used.
    """
    entry = Path(folder) / f"{_key(pair, settings, kind)}.prepared"
    if not (entry / FACTS).is_file():
        _make(pair, settings, entry, prepare)
    facts = json.loads((entry / FACTS).read_text(encoding="utf-8"))
    names = ARRAYS if settings.cells else ARRAYS[:-1]
    arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in names}
    size = facts["voxel_size"]
    return PreparedPair(
        name=pair.name,
        input=arrays["input"],
        target=arrays["target"],
        mask=arrays["mask"],
        cells=arrays.get("cells"),
        threshold=facts["threshold"],
        foreground=Foreground(**facts["foreground"], warnings=tuple(facts["warnings"])),
        intensity_range=tuple(facts["intensity_range"]),
        voxel_size=None if size is None else tuple(size),
        channels=(facts["channels"][0], pair.target_name or facts["channels"][1]),
        statistics=tuple(facts["statistics"]),
        percentiles=None if facts["limits"] is None else tuple(facts["limits"]),
        modality=pair.modality,
        own_channel=facts["channels"][1],
        further_inputs=tuple(map(tuple, facts.get("further_inputs", []))),
    )


def clear_cache(folder: str | Path) -> int:
    """Remove all entries of a cache, and nothing else; return their number.

    Parameters
    ----------
    folder : path
        The cache of `prepare_pairs` or ``spotlight train --cache``.

    Returns
    -------
    int
        How many entries were removed.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import PreparationSettings, clear_cache, prepare_pairs, read_pairs
    >>> light, dna = np.random.default_rng(0).random((2, 4, 16, 16), np.float32)
    >>> pairs = read_pairs([tuple(Stack(image, "ZYX", (0.29, 0.29, 0.29)) for image in (light, dna))])
    >>> prepared = prepare_pairs(pairs, PreparationSettings(), "cache")
    >>> clear_cache("cache")
    1
    """
    entries = [entry for entry in Path(folder).glob("*.prepared") if entry.is_dir()]
    with explained_writing(folder):
        for entry in entries:
            shutil.rmtree(entry)
    return len(entries)


def _key(pair: Pair, settings: PreparationSettings, kind: str) -> str:
    return fingerprint(LAYOUT, pair.digest(), pair.fingerprints(), settings, *filter(None, [kind]))[:24]


def _make(pair: Pair, settings: PreparationSettings, entry: Path, prepare: Prepare) -> None:
    """Prepare a pair directly in files, so it does not have to fit into memory."""
    temporary = entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}.part")

    with explained_writing(entry):
        try:
            temporary.mkdir(parents=True)
            prepared = prepare(pair, settings, in_files(temporary))
            facts = {
                "threshold": prepared.threshold,
                "foreground": {"threshold": prepared.foreground.threshold, "fraction": prepared.foreground.fraction},
                "warnings": prepared.foreground.warnings,
                "intensity_range": prepared.intensity_range,
                "voxel_size": prepared.voxel_size,
                "channels": (prepared.channels[0], prepared.own_channel),
                "statistics": prepared.statistics,
                "limits": prepared.percentiles,
                "further_inputs": prepared.further_inputs,
            }
            for array in (prepared.input, prepared.target, prepared.mask, prepared.cells):
                if isinstance(array, np.memmap):
                    array.flush()
            for scratch in temporary.glob("_*.npy"):
                scratch.unlink()
            (temporary / FACTS).write_text(json.dumps(facts), encoding="utf-8")
            if not entry.exists():  # another process may have been faster
                temporary.replace(entry)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
