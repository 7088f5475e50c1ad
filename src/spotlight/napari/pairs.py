"""Widgets of two images: whether they fit each other, and how far a stain is from the fluorescence."""

from collections.abc import Callable
from typing import Any

import napari
import numpy as np
from napari.layers import Image

import spotlight
from spotlight.foreground import find_foreground
from spotlight.metrics import intensity_scores, score_instances
from spotlight.napari.jobs import Tell
from spotlight.napari.layers import placed_like
from spotlight.napari.panel import Panel


class CheckWidget(Panel):
    """Look for what would spoil training with a pair: shift, focus, foreground, saturation."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, "Check")
        self.input = self.layer_field(Image, "Transmitted light")
        self.target = self.layer_field(Image, "Fluorescence")
        self.fields(self.input, self.target)
        self.follow(self.target)

    def begin(self) -> Callable[[Tell], Any]:
        """See `Panel.begin`."""
        light, target, layer = self.stack(self.input), self.stack(self.target), self.target.value

        def work(tell: Tell) -> tuple[Any, Any, Any]:
            found = spotlight.check([(light, target)])
            tell(1, 2)
            mask = target.data >= find_foreground(target.data, name=layer.name).threshold
            return found, mask, layer

        return work

    def finish(self, result: tuple[Any, Any, Any]) -> None:
        """Show findings, and the foreground as a layer."""
        found, mask, layer = result
        name = f"{layer.name} foreground"
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        self.viewer.add_labels(mask.astype(np.uint8), name=name, opacity=0.4, **placed_like(layer, mask.ndim))
        row = found.pairs.iloc[0]
        lines = [f"{finding.severity}: {finding.found} {finding.remedy}" for finding in found.findings.itertuples()]
        if "shift_y_px" in row:
            lines.append(
                f"Shift of the fluorescence: {row['shift_y_px']:.1f} pixels in Y, {row['shift_x_px']:.1f} in X, known "
                f"to {row['shift_uncertainty_px']:.1f}. Foreground: {100 * row['foreground_fraction']:.1f} %."
            )
        self.say("\n".join(lines))


class CompareWidget(Panel):
    """Compare a stain with the fluorescence: an error map, nuclei of both, and scores."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, "Compare")
        self.stain = self.layer_field(Image, "Stain")
        self.target = self.layer_field(Image, "Fluorescence")
        self.fields(self.stain, self.target)
        self.follow(self.target)

    def begin(self) -> Callable[[Tell], Any]:
        """See `Panel.begin`."""
        stain, target, layer = self.stack(self.stain), self.stack(self.target), self.target.value
        if stain.shape != target.shape:
            raise spotlight.SpotlightError(
                f"stain and fluorescence must be on one grid. Received: {stain.shape} and {target.shape}. Stain the "
                "input of this fluorescence, or use spotlight.images.resample_like."
            )

        def work(tell: Tell) -> tuple[Any, ...]:
            values, truth = np.asarray(stain.data, np.float32), np.asarray(target.data, np.float32)
            scores = intensity_scores(truth, values, None, data_range=float(np.ptp(truth)) or 1.0)
            tell(1, 3)
            found, true = spotlight.segment(stain).data, spotlight.segment(target).data
            tell(2, 3)
            return values - truth, scores, found, true, score_instances(true, found), layer

        return work

    def finish(self, result: tuple[Any, ...]) -> None:
        """Show the error map, matched and missed nuclei, and scores."""
        error, scores, found, true, matched, layer = result
        place = placed_like(layer, error.ndim)
        limit = float(np.abs(error).max()) or 1.0
        for name in ("error", "missed nuclei", "invented nuclei"):
            if f"{layer.name} {name}" in self.viewer.layers:
                self.viewer.layers.remove(f"{layer.name} {name}")
        self.viewer.add_image(
            error, name=f"{layer.name} error", colormap="PiYG", contrast_limits=(-limit, limit), visible=False, **place
        )
        pairs = matched.matches
        missed = np.where(np.isin(true, pairs[:, 0]), 0, true)
        invented = np.where(np.isin(found, pairs[:, 1]), 0, found)
        self.viewer.add_labels(missed, name=f"{layer.name} missed nuclei", **place)
        self.viewer.add_labels(invented, name=f"{layer.name} invented nuclei", **place)
        self.say(
            f"Correlation {scores['pearson']:.3f}; root mean squared error {100 * scores['nrmse']:.1f} % of the "
            f"range.\nNuclei: {matched.true_count} in the fluorescence, {matched.predicted_count} in the stain, "
            f"{len(pairs)} match (IoU of a half or more)."
        )
