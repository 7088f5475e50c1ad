"""`Pair`: files that show the same field, and the reading of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spotlight.addresses import located
from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.fingerprint import state_of
from spotlight.images import Selection, Stack, parse_region, read_like, read_selected, scenes
from spotlight.images.arrays import ArrayAddress, as_stack
from spotlight.images.belonging import files_of
from spotlight.images.joining import join, take
from spotlight.images.same_field import require_match
from spotlight.images.selection import FurtherInput

SHOWN = ("input", "target", "foreground")
FILES = (*SHOWN, "labels", "repeat")
USES = ("name", "split", "group", "labels", "repeat", "target_name", "modality", "focus_offset")
"""Columns that do not change which data a pair shows, only how they are used or described."""
SPLITS = ("train", "val", "test")

Image: TypeAlias = str | Path | Stack | NDArray[Any]
Listed: TypeAlias = "str | Path | Sequence[Pair | tuple[Image, Image]]"
"""What functions take as pairs: a manifest, a folder of stacks with both channels, or a list."""


@dataclass(frozen=True)
class Pair:
    """One row of a manifest: files that show the same field.

    Attributes
    ----------
    name : str
        Unique among the pairs of a call; outputs are named after it.
    input, target, labels, foreground, repeat : Path or None
        The files.
    split : str
        "train", "val" or "test"; empty if not stated.
    input_channel : str, tuple of str, or None
        Name or index of a channel, or of several in order; see `spotlight.images.joining.take`.
    target_channel : str or None
        Name or index of a channel.
    group : str
        Rows that belong together, such as those of a plate; empty if not stated.
    region, axes, mask_axes, voxel_size, scene, time
        See `spotlight.pairs.manifest.COLUMNS`.
    target_name : str
        Name of the target in a manifest with several targets; otherwise empty.
    modality : str
        "brightfield", "phase" or "dic"; empty if not stated.
    focus_offset : int or None
        Planes between the input and the best focus; the sign says on which side.
    planes : tuple of Path or None
        More planes of the input, one file each; see `spotlight.pairs.fields.join_planes`.
    further_inputs : tuple of FurtherInput or None
        Further channels of the input, one file each, after those of `input`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spotlight.pairs import Pair
    >>> pair = Pair("a1", Path("a1_bf.tif"), Path("a1_dna.tif"), split="train", voxel_size=(0.29, 0.1, 0.1))
    >>> pair.input.name, pair.labels
    ('a1_bf.tif', None)
    """

    name: str
    input: Path
    target: Path
    labels: Path | None = None
    foreground: Path | None = None
    split: str = ""
    input_channel: str | tuple[str, ...] | None = None
    target_channel: str | None = None
    region: str | None = None
    axes: str | None = None
    voxel_size: tuple[float, ...] | None = None
    group: str = ""
    scene: str | None = None
    time: int | None = None
    target_name: str = ""
    repeat: Path | None = None
    modality: str = ""
    focus_offset: int | None = None
    planes: tuple[Path, ...] | None = None
    mask_axes: str | None = None
    further_inputs: tuple[FurtherInput, ...] | None = None

    @property
    def in_channels(self) -> int:
        """Number of channels of the input."""
        own = len(self.input_channel) if isinstance(self.input_channel, tuple) else 1
        return own + len(self.further_inputs or ())

    @classmethod
    def of_arrays(
        cls,
        name: str,
        input: Stack | NDArray[Any],
        target: Stack | NDArray[Any],
        *,
        axes: str | None = None,
        voxel_size: tuple[float, ...] | None = None,
        labels: Stack | NDArray[Any] | None = None,
        foreground: Stack | NDArray[Any] | None = None,
        repeat: Stack | NDArray[Any] | None = None,
        **columns: Any,
    ) -> "Pair":
        """Make a pair of arrays in memory; see `spotlight.images.as_stack` for axes and voxel size.

        Parameters
        ----------
        name : str
            Unique among the pairs of a call.
        input, target, labels, foreground, repeat : ndarray or Stack
            In place of files. A fingerprint of their values stands where those of files do.
        axes, voxel_size : optional
            Of all of them; labels and masks that have fewer dimensions than `axes` letters are YX or ZYX.
        **columns
            Other attributes, such as ``split="test"``.

        Raises
        ------
        SpotlightError
            If axes or voxel size are not stated or do not fit.

        Examples
        --------
        >>> import numpy as np
        >>> field = np.zeros((8, 64, 64), np.float32)
        >>> Pair.of_arrays("a", field, field, voxel_size=(0.5, 0.2, 0.2), split="test").read_target().axes
        'ZYX'
        """
        given = {"input": input, "target": target, "labels": labels, "foreground": foreground, "repeat": repeat}
        placed: dict[str, Any] = {}
        for column, image in given.items():
            if image is None:
                continue
            fits = axes is not None and (column in ("input", "target") or len(axes) == np.ndim(image))
            stack = as_stack(image, axes if fits else None, voxel_size, source=f"{name} ({column})")
            placed[column] = ArrayAddress.of(stack)
        return cls(name, **placed, **columns)

    def selection(self, name: str) -> Selection:
        """Return what is taken of one of the row's images, and what the row states of it.

        Labels and masks have no channel. The column ``voxel_size`` describes the images alone: a mask that states no
        voxel size itself is on their grid.

        Parameters
        ----------
        name : str
            "input", "target", "labels", "foreground" or "repeat".
        """
        if name in ("labels", "foreground"):
            axes = self.axes if self.mask_axes is None else self.mask_axes
            return Selection(scene=self.scene, time=self.time, axes=axes)
        return Selection(
            channel=self.input_channel if name == "input" else self.target_channel,
            scene=self.scene,
            time=self.time,
            axes=self.axes,
            voxel_size=self.voxel_size,
            modality=(self.modality or None) if name == "input" else None,
        )

    def read_input(self) -> Stack:
        """Read the input's channel and region; finite or an error. Of several channels, C is the first axis."""
        channels = self.read_channels()
        return join(channels) if len(channels) > 1 else channels[0]

    def read_channels(self) -> list[Stack]:
        """Read the input's channels one by one, in order, and make sure that they match."""
        return self._read_channels(self._open(self.input, "input"))

    def _read_channels(self, opened: Stack) -> list[Stack]:
        first, *others = (self._part(channel) for channel in self._open_channels(opened))
        for other in others:
            require_match(first, other)
        return [first, *others]

    def read_target(self) -> Stack:
        """Read the target's channel and region; finite or an error."""
        return self._read("target")

    def read_both(self) -> tuple[Stack, Stack]:
        """Read input and target and make sure that they match in axes, shape and voxel size."""
        channels, target = self._read_both()
        return join(channels) if len(channels) > 1 else channels[0], target

    def _read_both(self) -> tuple[list[Stack], Stack]:
        opened = self._open(self.input, "input")
        channels = self._read_channels(opened)
        target = opened if self.input == self.target else self._open(self.target, "target")
        target = self._part(take(target, self.target_channel))
        require_match(channels[0], target)
        return channels, target

    def read_names(self) -> Stack:
        """Open the input's channels without reading pixel values, to get their names."""
        channels = self._open_channels(self._open(self.input, "input"))
        return join(channels) if len(channels) > 1 else channels[0]

    def _open_channels(self, opened: Stack) -> list[Stack]:
        """The channels of the input, of which the first file has been opened."""
        which = self.input_channel if isinstance(self.input_channel, tuple) else (self.input_channel,)
        found = [take(opened, one) for one in which]
        opened_too = [(one, self._open(one.path, "input")) for one in self.further_inputs or ()]
        return found + [replace(take(stack, one.channel), channels=(one.name,)) for one, stack in opened_too]

    def read_planes(self) -> tuple[list[Stack], Stack]:
        """Read the planes of the input one by one, and the single plane of the target that all of them match.

        A region is one of the plane: it has a range for Y and one for X.

        Raises
        ------
        SpotlightError
            If the target has several planes, or a plane does not match it.
        """
        if self.in_channels > 1:
            raise SpotlightError(
                f"{self.input}: preparation.planes is 'one', for inputs of one channel, but {self.in_channels} are "
                "named. Set it to 'together', and name a plane of each channel, as in 'Brightfield z=3;Phase z=3'."
            )
        whole = take(self._open(self.target, "target"), self.target_channel)
        if whole.axes == "ZYX" and whole.shape[0] > 1:
            raise SpotlightError(
                f"{whole.source}: has {whole.shape[0]} planes, but preparation.planes is 'one', for targets of a "
                "single plane. Set it to 'together', or give targets in focus or projected."
            )
        target = self._part(whole.plane(0))
        stacks = [take(self._open(file, "input"), self.input_channel) for file in (self.input, *(self.planes or ()))]
        found = [
            self._part(stack.plane(z)) for stack in stacks for z in range(stack.shape[0] if stack.axes == "ZYX" else 1)
        ]
        for plane in found:
            require_match(plane, target)
        return found, target

    def read_pair(self, planes: Literal["together", "one"]) -> tuple[list[Stack], Stack]:
        """Read the input, as its channels or as its planes, and the target that goes with it.

        Raises
        ------
        SpotlightError
            If they do not match, or the input is in several files and its planes are to be seen together.
        """
        if planes == "one":
            return self.read_planes()
        if self.planes:
            raise SpotlightError(
                f"{self.target}: is the target of {len(self.planes) + 1} inputs, one plane each, but "
                "preparation.planes is 'together'. Set it to 'one', or give the planes as one stack."
            )
        return self._read_both()

    def read_labels(self, like: Stack) -> Stack | None:
        """Read the instance labels on the grid of `like`, or None if the row has none."""
        return self._read_mask("labels", like)

    def read_foreground(self, like: Stack) -> Stack | None:
        """Read the foreground mask on the grid of `like`, or None if the row has none."""
        return self._read_mask("foreground", like)

    def read_mask(self, like: Stack) -> Stack:
        """Read the target as a mask on the grid of `like`; it has no channel, and may state no voxel size."""
        found = self._read_mask("target", like)
        assert found is not None
        return found

    def read_repeat(self, like: Stack) -> Stack | None:
        """Read the second image of the target on the grid of `like`, or None if the row has none."""
        if self.repeat is None:
            return None
        stack = self._read("repeat")
        require_match(like, stack)
        return stack

    def digest(self) -> str:
        """Return a fingerprint of the data that the pair shows: its files with their sizes, channels and region.

        Models keep it, to tell what they were trained on, so it is written as in the first version.
        """
        # Empty columns are left out, so that a new column in a later version changes no fingerprint.
        facts = {name: str(value) for name, value in asdict(self).items() if name not in USES and value is not None}
        for name in FILES:
            file = getattr(self, name)
            if file is not None and name in facts:
                facts[name] = _named(file)
        if self.planes:
            facts["planes"] = " ".join(map(_named, self.planes))
        if self.further_inputs:
            facts["further_inputs"] = str([(one.name, _named(one.path), one.channel) for one in self.further_inputs])
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def files(self, names: Sequence[str] = SHOWN) -> list[list[Path]]:
        """Of each of the named images that the row has, its planes and channels, all files from which it is read."""
        images = [file for name in names if (file := getattr(self, name)) is not None]
        further = [one.path for one in self.further_inputs or ()]
        return [files_of(file, self.scene) for file in (*images, *(self.planes or ()), *further)]

    def fingerprints(self, names: Sequence[str] = SHOWN) -> list[str]:
        """What changes with the files of the named images; see `spotlight.fingerprint`."""
        return [state_of(file).fingerprint for files in self.files(names) for file in files]

    def _read_mask(self, name: str, like: Stack) -> Stack | None:
        path, chosen = getattr(self, name), self.selection(name)
        if path is None:
            return None
        if self.mask_axes is None:
            mask = read_like(path, like, chosen.axes, self.scene)
        else:
            mask = read_selected(path, chosen.only("scene", "axes") if len(scenes(path)) > 1 else chosen.only("axes"))
        mask = self._part((mask.timepoint(chosen.time) if "T" in mask.axes else mask).channel())
        if mask.voxel_size is None or like.voxel_size is None:
            mask = replace(mask, voxel_size=like.voxel_size if mask.shape == like.shape else None)
        require_match(like, mask, mask=True)
        return mask

    def _open(self, path: Path, name: str) -> Stack:
        """Open a file with all its channels, at the timepoint that is selected of the named image."""
        chosen = self.selection(name)
        stack = read_selected(path, chosen.only("scene", "axes")).timepoint(chosen.time)
        if chosen.voxel_size is None:
            return stack
        size = chosen.voxel_size[-len(stack.spatial_axes) :]  # of a single plane, such as a flat target, without Z
        return replace(stack, voxel_size=size, unit="", unread="")

    def _read(self, name: str) -> Stack:
        return self._part(take(self._open(getattr(self, name), name), self.selection(name).channel))

    def cut(self, stack: Stack) -> Stack:
        """Cut out the region that the pair shows, of a stack of the whole field; that itself if there is no region.

        Raises
        ------
        SpotlightError
            If the region does not go with the stack's axes or lies outside of it.

        Examples
        --------
        >>> import numpy as np
        >>> from spotlight.images import Stack
        >>> from spotlight.pairs import Pair
        >>> left = Pair("left", "a.ome.tif", "b.ome.tif", region=":, 0:8")
        >>> left.cut(Stack(np.zeros((16, 16)), "YX", (0.5, 0.5))).shape
        (16, 8)
        """
        if self.region is None:
            return stack
        return stack.crop(parse_region(self.region, stack.spatial_axes, f"{stack.source} (row {self.name!r})"))

    def _part(self, stack: Stack) -> Stack:
        """Cut out the region; finite or an error."""
        stack = self.cut(stack)
        stack.load_if_small()
        stack.require_finite()
        return stack


def pair_of(
    item: Pair | tuple[Image, Image], name: str, axes: str | None, voxel_size: tuple[float, ...] | None
) -> Pair:
    """Give a pair with what is stated of its images; a tuple of input and target gets a name."""
    if isinstance(item, Pair):
        stated = {"axes": axes, "voxel_size": voxel_size}
        return replace(item, **{fact: value for fact, value in stated.items() if value is not None})  # type: ignore[arg-type]
    if not isinstance(item, (tuple, list)) or len(item) != 2:  # type: ignore[redundant-expr]
        raise SpotlightError(
            f"pairs are a list of tuples of input and target, or of spotlight.pairs.Pair. Received: "
            f"{type(item).__name__}. Give [(input, target), ...]."
        )
    image, target = item
    if isinstance(image, (str, Path)) and isinstance(target, (str, Path)):
        return Pair(name, located(image), located(target), axes=axes, voxel_size=voxel_size)
    if isinstance(image, (str, Path)) or isinstance(target, (str, Path)):
        raise SpotlightError(
            f"{name}: one of input and target is a path and the other is not. Read it: spotlight.read."
        )
    return Pair.of_arrays(name, image, target, axes=axes, voxel_size=voxel_size)


def _named(file: Path) -> str:
    if isinstance(file, ArrayAddress):
        return str(file)
    return f"{file.resolve()} {require_path(file, 'Correct the path.').stat().st_size}"
