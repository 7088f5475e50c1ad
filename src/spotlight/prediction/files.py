"""Staining files: one after another, each kept whole, taken up where a kill left it, and not done twice."""

import datetime
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spotlight.errors import SpotlightError
from spotlight.files import atomic_file, atomic_folder, write_text
from spotlight.fingerprint import State, changed, fingerprint, recorded
from spotlight.images import Part, Selection, Stack
from spotlight.images.plates import OWN, beside, put, read_attributes, write_attributes, zarr_around
from spotlight.images.slabs import SLAB_VOXELS, in_files, in_memory
from spotlight.locks import Busy, share_out, working_on
from spotlight.prediction.acceptance import tell_doubts
from spotlight.prediction.former import is_former
from spotlight.prediction.listing import read_part, reason_of, states_of_image
from spotlight.prediction.options import Stained, StainOptions
from spotlight.prediction.places import Places
from spotlight.prediction.records import doubts_of, key_of, made_from, made_from_others, read_record, record_of
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.stain import Model
from spotlight.prediction.steps import Steps
from spotlight.prediction.time_lapse import stain_frames
from spotlight.prediction.workspace import InFolder, InMemory, workspace_of
from spotlight.progress import Progress
from spotlight.tasks import StainTask
from spotlight.version import __version__

if TYPE_CHECKING:
    from spotlight.prediction.tasks import PreparedStack

log = logging.getLogger("spotlight")

SUFFIX = StainTask.suffix
"""What is added to the name of the input, for a stain."""


def stain_files(
    model: Model,
    listed: Sequence[Part],
    to: str | Path,
    options: StainOptions = StainOptions(),  # noqa: B008 - frozen
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Stained]:
    """Stain images of files; what fails, for whatever reason, does not stop the rest.

    A stain is there whole or not at all, with a JSON file beside it that says how it was made. One that is there,
    from the same model, input and options, is kept. What a killed call had finished of a large stack is taken up.
    Several processes that make the same call share the images, and each ends when all are done.

    Parameters
    ----------
    model : Model
        The model.
    listed : sequence of Part
        From `find_parts`.
    to : path
        Folder for the stains, ``NAME-stain.ome.tif`` or ``.ome.zarr``; or, for the fields of one OME-Zarr plate, a path
        that ends in ``.ome.zarr``: a plate whose wells and fields are named as there, with the stain as image of each.
    options : StainOptions
        What is to become of them.
    overwrite : bool
        Replace stains that are there already, whatever made them.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    list of Stained
        In the order of `listed`. Tracebacks of failures are logged at the level "debug".

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> from spotlight.prediction import find_parts, stain_files
    >>> light = np.random.default_rng(0).random((8, 16, 16), np.float32)
    >>> for name in ("a1", "a2"):
    ...     path = spotlight.Stack(light, "ZYX", (0.29, 0.29, 0.29)).save(f"new/{name}.ome.tif")
    >>> model, listed = spotlight.load_model("demo-nuclei"), find_parts(["new"])
    >>> [one.path.as_posix() for one in stain_files(model, listed, "stains")]
    ['stains/a1-stain.ome.tif', 'stains/a2-stain.ome.tif']
    >>> [one.state for one in stain_files(model, listed, "stains")]  # the same call again
    ['kept', 'kept']
    """
    look = lru_cache(maxsize=1)(states_of_image)  # of the timepoints of one file, once
    results: dict[str, Stained] = {}
    places = Places.of(listed, to, model.description.task.suffix, options.form)
    listed, options = places.listed, replace(options, form=places.form)

    def stain(part: Part) -> None:
        path = places.path_of(part)
        try:
            states = None if part.fault else look(part.path, part.scene, part.further)
            state = stain_file(model, part, path, options, overwrite, progress, states)
            places.list(part)
            results[part.name] = Stained(part, path, state, doubts=doubts_of(path))
        except Exception as error:  # even a fault of a reader or of the machine is no reason to leave the others undone
            if isinstance(error, Busy):
                raise
            log.debug("%s", part.name, exc_info=True)
            reason = reason_of(error)
            log.error("%s: %s", part.name, reason)
            results[part.name] = Stained(part, path, "failed", reason)

    share_out(listed, stain)
    tell_doubts(model.name, {name: one.doubts for name, one in results.items()})
    return [results[part.name] for part in listed]


def stain_file(
    model: Model,
    part: Part,
    path: Path,
    options: StainOptions,
    overwrite: bool = False,
    progress: Progress | None = None,
    states: list[State] | None = None,
) -> Literal["made", "kept"]:
    """Stain one image; see `stain_files`.

    Raises
    ------
    Busy
        If another process is at work on the stain.
    SpotlightError
        If the input cannot be read or is not what the model was made for, another stain is in the way, or the stain
        cannot be written.
    """
    work = FileStain(model, part, path, options, states)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(f"staining {part.name}", done, total, {})

    if work.is_made(overwrite):
        if work.folder.folder.exists():  # of who was killed before removing it, or is at work on it anew
            with suppress(Busy), working_on(beside(path)):
                work.folder.remove()
        return "kept"
    with working_on(beside(path)):
        if work.is_made(overwrite):  # by the process that was at work until now
            return "kept"
        try:
            work.take_up()
            work.finish(report)
        except BaseException:
            work.folder.remove_if_idle()
            raise
    return "made"


class FileStain:
    """The stain of one image in the making, by one process or by several that see the same files.

    Parameters
    ----------
    model, part, path, options
        See `stain_file`.
    states : list of State, optional
        Of the files from which the image is read, as they were found before; see `states_of_image`.
    prepared : PreparedStack, optional
        What another process has found out and prepared.

    Raises
    ------
    SpotlightError
        If the file could not be listed, or is not there any more.
    """

    def __init__(
        self,
        model: Model,
        part: Part,
        path: Path,
        options: StainOptions,
        states: list[State] | None = None,
        prepared: "PreparedStack | None" = None,
    ) -> None:
        self.given = model
        self.part = part
        self.path = path
        self.options = options
        if part.fault:
            raise SpotlightError(part.fault)
        if options.kind != "float32" and model.description.task.learns == "masks":
            raise SpotlightError(
                f"a probability as {options.kind} would be 0 or 1. Leave --dtype out; NAME-labels has whole numbers."
            )
        if prepared is None:
            self.states = states or states_of_image(part.path, part.scene, part.further)
            self.key = key_of(model, part, options)
            self.fingerprint = fingerprint(self.key, [state.fingerprint for state in self.states])
        else:
            self.inputs, self.key, self.fingerprint = prepared.inputs, prepared.key, prepared.fingerprint
        self.folder = workspace_of(path)

    @cached_property
    def inputs(self) -> dict[str, dict[str, str]]:
        """States of the files from which the image is read, to be recorded; found before it is read."""
        return recorded(self.states)

    def is_made(self, overwrite: bool) -> bool:
        """Whether the stain is there, from this model, input and options.

        Raises
        ------
        SpotlightError
            If there is another in its place that must not be overwritten.
        """
        if not self.path.exists() or overwrite:
            return False
        found = read_record(self.path)
        remedy = "Choose another folder, or --overwrite."
        if found.get("key") == self.key:
            differing = changed(found.get("inputs", {}), self.states)
            if not differing:
                return True
            raise SpotlightError(
                f"{self.path}: is there already, but {differing[0]} has changed since it was made. {remedy}"
            )
        if is_former(found, self.given, self.part, self.options, self.states):
            return True
        if not found and self.folder.known("finishing") == {"mark": self.fingerprint}:  # killed before the record
            return False
        others = made_from_others(found, made_from(self.given, self.part, self.options))
        raise SpotlightError(f"{self.path}: is there already, {others}. {remedy}")

    def take_up(self) -> None:
        """Go on from what was kept of this very stain; what was kept of another for the same place is removed."""
        mark = {"mark": self.fingerprint}
        if self.folder.known("mark") != mark:
            self.folder.remove()
            self.folder.noted("mark", lambda: mark)

    @cached_property
    def image(self) -> Stack:
        """What the file holds."""
        part, options = self.part, self.options
        self.inputs  # noqa: B018 - as they are before any value is read
        return read_part(part, options.axes, options.voxel_size)

    @cached_property
    def model(self) -> Model:
        """The model for the modality in which it was seen."""
        if self.part.frames:
            return self._frame(0).model
        stated = self.options.modality
        if stated is None and not self.given.needs_modality:
            return self.given
        return self.given.suited(self.image, stated or self.part.modality, self.options.channel_of(self.part))

    @cached_property
    def stack(self) -> Stack:
        """The input."""
        chosen = Selection(channel=self.options.channel_of(self.part), plane=self.options.plane)
        return self.model.accept(self.image, chosen, self.options.any_voxel_size)

    def path_of(self, suffix: str) -> Path:
        """Where what is written beside the result goes."""
        return self.path.with_name(f"{self.part.name}{suffix}.{self.options.form}")

    @property
    def is_large(self) -> bool:
        """Whether it is stained in files, layer by layer; a time-lapse is stained frame by frame."""
        return not self.part.frames and self.stack.array.size > SLAB_VOXELS

    @cached_property
    def steps(self) -> Steps:
        """What is to be done."""
        return self.model.steps(self.stack, self.options.settings, self.folder if self.is_large else InMemory())

    def steps_of(self, shape: tuple[int, ...], settled: PredictionSettings) -> Steps:
        """Give the steps of a large stack as another process settled them; its file is not read for that."""
        return self.model.steps_of(lambda: self.stack, shape, settled, self.folder)

    def finish(self, progress: Callable[[int, int], None] | None = None, steps: Steps | None = None) -> None:
        """Do what is left of the steps, and write the stain and how it was made."""
        options, path = self.options, self.path
        if self.part.frames:
            like = read_part(replace(self.part, further=()), options.axes, options.voxel_size)
            results, facts = stain_frames(self.part.frames, self._stain_frame, like, self.folder, progress)
        else:
            results, facts = self._results(self.steps if steps is None else steps, self.folder, progress)
        stain = results.pop("")
        described: dict[str, Any] = {
            "key": self.key,
            "made_from": made_from(self.given, self.part, options),
            "input": str(self.part.path),
            "inputs": self.inputs,
            "model": self.model.name,
            "model_digest": self.model.digest,
            "spotlight": __version__,
            "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "settings": options.settings.model_dump(mode="json"),
            **facts,
        }
        # Written in the folder and moved, so that what a kill leaves half written is removed with the folder.
        in_plate = zarr_around(path) is not None
        written = stain.save(self.folder.folder / f"{path.name}{'.ome.zarr' if in_plate else ''}", options.kind)
        for suffix, stack in results.items():
            # Before the result, so that whoever finds that finds these.
            stack.save(written / "labels" / suffix.strip("-") if in_plate else self.path_of(suffix))
        if in_plate:
            attributes = read_attributes(written)
            write_attributes(written, attributes | {OWN: attributes.get(OWN, {}) | described})
            put(written, path)
            self.folder.remove()
            return
        self.folder.noted("finishing", lambda: {"mark": self.fingerprint})
        record_of(path).unlink(missing_ok=True)  # beside a new stain, an old record would be taken for its own
        with atomic_folder(path) if written.is_dir() else atomic_file(path) as temporary:
            written.replace(temporary)
        write_text(record_of(path), json.dumps(described, indent=2) + "\n")
        self.folder.remove()

    def _results(
        self, steps: Steps, folder: InFolder, progress: Callable[[int, int], None] | None = None
    ) -> tuple[dict[str, Stack], dict[str, Any]]:
        """Do what is left of the steps: the stain, what else is written beside it, and how they were made."""
        options = self.options
        stain, facts = self.model.finish(
            self.stack, steps, normalised=options.normalised, flatten=options.flatten, progress=progress
        )
        allocate = in_files(folder.folder) if self.is_large else in_memory
        return {"": stain} | self.model.further(stain, allocate), facts

    def _stain_frame(self, number: int, folder: InFolder) -> tuple[dict[str, Stack], dict[str, Any]]:
        """Give the results of a frame of a time-lapse, which are kept in a folder of its own."""
        frame = self._frame(number)
        frame.folder = folder
        # Tiles and arithmetic are chosen once, so that frames do not differ by them.
        if (chosen := self.folder.known("choice")) is not None:
            settings = PredictionSettings.parse(self.options.settings.model_dump() | chosen, "choice for all frames")
            frame.options = replace(self.options, settings=settings)
        results = frame._results(frame.steps, folder)
        settled = frame.steps.settled
        self.folder.noted("choice", lambda: {"tile": settled.tile, "precision": settled.precision})
        return results

    def _frame(self, number: int) -> "FileStain":
        return FileStain(self.given, self.part.each_frame()[number], self.path, self.options, self.states)
