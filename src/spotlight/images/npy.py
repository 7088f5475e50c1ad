"""Reading NumPy files; they state neither axes nor voxel size."""

from pathlib import Path

import numpy as np

from spotlight.errors import SpotlightError
from spotlight.images.facts import Facts, Scene


def scenes(path: Path) -> list[Scene]:
    """List the one array of a file; see `spotlight.images.scenes`."""

    def load() -> Facts:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.memmap) and path.stat().st_size != array.offset + array.nbytes:
            raise SpotlightError(
                f"{path}: is damaged, or holds more than one array: the first ends at byte "
                f"{array.offset + array.nbytes}, the file at {path.stat().st_size}. Write one array per file."
            )
        return Facts(array, "?" * array.ndim)

    return [Scene(path.stem, load)]
