"""Stains of time-lapses: frame by frame, each kept in files until all are there, then joined."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from spotlight.images import Stack
from spotlight.images.frames import doubts_of_frames, join_frames
from spotlight.images.slabs import copy_values
from spotlight.prediction.workspace import InFolder

KEPT = ("axes", "channels", "origin", "colors", "labels")
"""What is noted of a result, besides its values and the voxel size, which is that of the input."""

StainFrame = Callable[[int, InFolder], tuple[dict[str, Stack], dict[str, Any]]]
"""Gives the results of a frame, by what is added to the input's name, and how they were made."""


def stain_frames(
    count: int,
    stain: StainFrame,
    like: Stack,
    workspace: InFolder,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, Stack], dict[str, Any]]:
    """Stain frame after frame; those that a killed call had finished are taken up.

    Memory is that of one frame.

    Parameters
    ----------
    count : int
        Number of frames.
    stain : callable
        Stains the frame of a number; what it needs for that is kept in a folder of its own.
    like : Stack
        The time-lapse, with its voxel size and frame interval.
    workspace : InFolder
        Where frames are kept.
    progress : callable, optional
        Called with the number of frames done and `count`.

    Returns
    -------
    (dict of Stack, dict)
        The results with the axis T, whose values are in the workspace's files until they are asked for; and how they
        were made.
    """
    notes = []
    for number in range(count):
        name = f"frame-{number}"
        note = workspace.known(name)
        if note is None:
            own = InFolder(workspace.folder / name)
            results, facts = stain(number, own)
            for suffix, stack in results.items():
                workspace.once(f"{name}{suffix}", partial(copy_values, stack.values))
            about = {suffix: {key: getattr(stack, key) for key in KEPT} for suffix, stack in results.items()}
            note = workspace.noted(name, lambda facts=facts, about=about: {"facts": facts, "results": about})  # type: ignore[misc]
            own.remove()
        notes.append(note)
        if progress is not None:
            progress(number + 1, count)
    joined = {}
    for suffix, about in notes[0]["results"].items():
        frames = [np.load(workspace.folder / f"frame-{number}{suffix}.npy", mmap_mode="r") for number in range(count)]
        facts = about | {key: tuple(about[key]) for key in ("channels", "colors")}
        joined[suffix] = join_frames(frames, replace(like, array=frames[0], **facts), like.frame_interval)
    doubts = doubts_of_frames([note["facts"].get("doubts", ()) for note in notes])
    return joined, notes[0]["facts"] | {"frames": count, "doubts": doubts}
