"""A task."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from spotlight.tasks import TargetDescription, Task, on_grid, with_input


class DenoiseTask(Task):
    """From a noisy stack to a clean one of the same channel."""

    kind: Literal["outside_denoise"] = "outside_denoise"
    column: ClassVar[str] = "clean"
    scores: ClassVar[Mapping[str, str]] = {"correlation": "correlation with the clean stack"}
    title: ClassVar[str] = "Denoised stack"
    mark: ClassVar[str] = " (denoised)"
    suffix: ClassVar[str] = "-denoised"

    def defaults(self):
        return {"loss": {"kind": "mse"}, "patches": {"least_foreground": 0.0}, "flatten_background": False}

    def prepare(self, pair, settings, allocate):
        noisy, clean = self.read(pair, settings)
        center, scale = clean.data.mean(), clean.data.std()
        target = on_grid(clean, settings, "target", lambda part: np.float32((part - center) / scale), allocate)
        extent = float(clean.data.min()), float(clean.data.max())
        return with_input(pair, noisy, settings, allocate, target=target, intensity_range=extent)

    def score(self, output, pair):
        return {"correlation": float(np.corrcoef(output.ravel(), np.ravel(pair.target))[0, 1])}

    def describe(self, pairs, settings):
        lows, highs = zip(*(pair.intensity_range for pair in pairs), strict=True)
        values = [value for pair in pairs for value in (float(pair.target.min()), float(pair.target.max()))]
        return TargetDescription(normalised_range=(min(values), max(values)), intensity_range=(min(lows), max(highs)))
