"""Where what is between input and stain is kept: in memory, or in files from which a killed prediction goes on."""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spotlight.files import explained_writing, write_text
from spotlight.images.lazy import LazyArray, Source
from spotlight.images.plates import beside
from spotlight.images.slabs import Allocate, Array, in_files, in_memory

Make = Callable[[Allocate], NDArray[Any]]
"""Computes an array, in what it allocates."""


class Workspace(Protocol):
    """Keeps arrays by name."""

    def once(self, name: str, make: Make) -> NDArray[Any]:
        """Give the array of a name; make it where it is not there yet."""

    def noted(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Give the facts of a name; find them out where they are not there yet."""

    def deliver(self, result: Source) -> Array:
        """Give a result: its values, or a view from which regions are computed when they are asked for."""

    def remove(self) -> None:
        """Remove all of it."""


class InMemory:
    """For stacks that fit."""

    def once(self, name: str, make: Make) -> NDArray[Any]:
        """Make an array."""
        return make(in_memory)

    def noted(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Find out facts."""
        return make()

    def deliver(self, result: Source) -> Array:
        """Compute a result."""
        return np.asarray(result[()])

    def remove(self) -> None:
        """There is nothing to remove."""


class InFolder:
    """For stacks that do not fit into memory: arrays in mapped files, each there whole or not at all.

    Parameters
    ----------
    folder : Path
        Made if needed. It belongs to one prediction alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remove_if_idle(self) -> None:
        """Remove the folder where it holds no work that could be taken up, and no stain is waiting for its record."""
        if self.known("finishing") is None and not any(self.folder.glob("*.npy")):
            self.remove()

    def once(self, name: str, make: Make) -> NDArray[Any]:
        """Open the array of a name, or make it in a temporary folder that is renamed when it is whole."""
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            temporary = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.part"
            with explained_writing(self.folder):
                try:
                    temporary.mkdir(parents=True)
                    made = make(in_files(temporary))
                    assert isinstance(made, np.memmap)
                    made.flush()
                    Path(str(made.filename)).replace(path)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    def noted(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Read the facts of a name, or find them out and write them."""
        found = self.known(name)
        if found is None:
            write_text(self.folder / f"{name}.json", json.dumps(make()))
            found = self.known(name)
            assert found is not None
        return found

    def known(self, name: str) -> dict[str, Any] | None:
        """Read the facts of a name, if they are there."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def deliver(self, result: Source) -> Array:
        """Give a view of a result, from whose regions it is written."""
        return LazyArray.of(result)

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def workspace_of(path: Path) -> InFolder:
    """Where what a stain is made of is kept until it is whole."""
    place = beside(path)
    return InFolder(place.with_name(f".{place.name}.part"))
