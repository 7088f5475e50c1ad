"""Where the results of images go: into a folder, each under its own name, or into the fields of one plate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spotlight.errors import SpotlightError
from spotlight.images import Part
from spotlight.images.plates import Plate, fields_of, names_a_zarr, zarr_around

Form = Literal["ome.tif", "ome.zarr"]


@dataclass(frozen=True)
class Places:
    """Where the results of images go.

    Attributes
    ----------
    to : Path
        The folder, or the plate.
    plate : Plate or None
        The plate in the making.
    listed : sequence of Part
        The images.
    suffix : str
        What is added to their names in a folder; fields of a plate have the names of theirs.
    form : "ome.tif" or "ome.zarr"
        File format of the results.
    """

    to: Path
    plate: Plate | None
    listed: Sequence[Part]
    suffix: str
    form: Form

    @classmethod
    def of(cls, listed: Sequence[Part], to: str | Path, suffix: str, form: Form) -> "Places":
        """Decide by the name of `to`: one that ends in ``.zarr`` is a plate, whose fields are OME-Zarr in any case.

        Raises
        ------
        SpotlightError
            If it lies in an OME-Zarr, or names a plate and the images are not those of one, or something else is there.
        """
        to = Path(to)
        if zarr_around(to) is not None:
            raise SpotlightError(
                f"{to}: lies in an OME-Zarr, where other programs do not expect it. Name a folder outside of it. "
                "To have results in the image, add them when they are finished: spotlight add."
            )
        if not names_a_zarr(to):
            return cls(to, None, listed, suffix, form)
        fields = fields_of(listed)
        return cls(to, Plate(to, fields[0].path), fields, suffix, "ome.zarr")

    def path_of(self, part: Part) -> Path:
        """Give the path of an image's result."""
        return self.to / (f"{part.name}{self.suffix}.{self.form}" if self.plate is None else str(part.scene))

    def list(self, part: Part) -> None:
        """List a result that is in its place."""
        if self.plate is not None:
            self.plate.list_field(str(part.scene))
