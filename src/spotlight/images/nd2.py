"""Reading Nikon ND2 files by nd2 (extra ``nd2``)."""

import itertools
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import nd2
import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images.colour import RGB
from spotlight.images.facts import Facts, Scene
from spotlight.images.units import read_lengths, seconds


class Position:
    """The pixel values of one stage position."""

    def __init__(self, path: Path, opened: "OpenFile", number: int) -> None:
        file = opened.file
        self.path, self.opened, self.file, self.number = path, opened, file, number
        self.loops = [axis for axis in file.sizes if axis not in "CYXS"]
        self.axes = "".join(axis for axis in file.sizes if axis != "P")
        self.shape = tuple(n for axis, n in file.sizes.items() if axis != "P")
        self.dtype = np.dtype(file.dtype)

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        return self._planes(dict(zip(self.axes, index, strict=True)))

    def _planes(self, index: dict[str, int | slice]) -> Any:
        """Read whole planes, each with all its channels, and keep what is wanted of them."""
        within = tuple(index[a] for a in self.axes if a in "CYXS")
        steps = []
        for axis in self.loops:
            part: int | slice = self.number if axis == "P" else index[axis]
            steps.append(range(self.file.sizes[axis])[part] if isinstance(part, slice) else [part])
        counts = [self.file.sizes[axis] for axis in self.loops]
        planes = [
            self._frame(int(np.ravel_multi_index(place, counts)) if counts else 0)[within]
            for place in itertools.product(*steps)
        ]
        kept = [len(s) for axis, s in zip(self.loops, steps, strict=True) if isinstance(index.get(axis, 0), slice)]
        return np.stack(planes).reshape(*kept, *planes[0].shape)

    def _frame(self, number: int) -> NDArray[Any]:
        """Read one frame; nd2 gives zeros for those that the file does not hold."""
        frame: NDArray[Any] = self.file.read_frame(number)
        # nd2 says where frames lie by no public name; its reader of the oldest files has none, and fails by itself.
        places: dict[int, int] | None = getattr(getattr(self.file, "_rdr", None), "_frame_offsets", None)
        if places is None or frame.any():
            return frame
        place = places.get(number)
        if place is None or place + frame.nbytes > self.path.stat().st_size:
            raise SpotlightError(
                f"{self.path}: is damaged or incomplete: frame {number} is stated, but not in the file. Copy it again "
                "from its source; if the acquisition was stopped, take the timepoints and positions before (time=, "
                "--time; scene=, --scene)."
            )
        return frame


class OpenFile:
    """An ND2 file that is closed when nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        self.file = nd2.ND2File(path)
        weakref.finalize(self, self.file.close)


def scenes(path: Path) -> list[Scene]:
    """List the stage positions of an ND2 file; see `spotlight.images.scenes`."""
    opened = OpenFile(path)
    return [Scene(str(i), partial(_facts, path, opened, i)) for i in range(opened.file.sizes.get("P", 1))]


def _facts(path: Path, opened: OpenFile, number: int) -> Facts:
    channels = getattr(opened.file.metadata, "channels", None) or []
    stated = {}
    if channels:
        # `ND2File.voxel_size` says 1 where the file says nothing.
        volume = channels[0].volume
        sizes = zip("XYZ", volume.axesCalibrated, volume.axesCalibration, strict=True)
        stated = {axis: (length, "µm") for axis, known, length in sizes if known}
    position = Position(path, opened, number)
    names = tuple(c.channel.name for c in channels)
    samples = RGB[::-1] if opened.file.sizes.get("S") == 3 else ()  # such files have blue first
    periods = [loop.parameters.periodMs for loop in opened.file.experiment if loop.type == "TimeLoop"]
    interval = seconds(periods[0], "ms") if len(periods) == 1 else None
    return Facts(position, position.axes, names, *read_lengths(stated), samples=samples, frame_interval=interval)
