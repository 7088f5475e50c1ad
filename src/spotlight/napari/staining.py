"""The widget that stains a layer with a trained model."""

from collections.abc import Callable
from typing import Any

import napari
from magicgui.widgets import CheckBox, ComboBox, FileEdit
from napari.layers import Image

import spotlight
from spotlight.catalogue import list_models
from spotlight.napari.jobs import Tell
from spotlight.napari.layers import layers_of, placed_like
from spotlight.napari.panel import Panel

OWN = "one of my folders"


class StainWidget(Panel):
    """Choose a model and a layer of transmitted light; the stain becomes a layer on the same grid."""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, "Stain")
        self.shipped = ComboBox(label="Model", choices=[OWN, *list_models().models], value=OWN)
        self.model = FileEdit(label="Model folder", mode="d", value="")
        self.layer = self.layer_field(Image, "Transmitted light")
        self.flatten = CheckBox(text="Flat background", value=False)
        self.unlike = CheckBox(text="Accept another voxel size or channel name", value=False)
        self.shipped.changed.connect(self._tell_model)
        self.fields(self.shipped, self.model, self.layer, self.flatten, self.unlike)
        self.follow(self.layer)

    def begin(self) -> Callable[[Tell], Any]:
        """See `Panel.begin`."""
        folder = str(self.model.value) if self.shipped.value == OWN else self.shipped.value
        if folder in ("", "."):
            raise spotlight.SpotlightError(
                "Choose a model of the list, or a model folder, as spotlight train writes it."
            )
        stack, layer = self.stack(self.layer), self.layer.value
        flatten, unlike = self.flatten.value or None, self.unlike.value

        def work(tell: Tell) -> tuple[spotlight.Stack, Any]:
            model = spotlight.load_model(folder)
            channel = stack.channels[0] if unlike and stack.channels else None
            stain = model.predict(stack, channel=channel, flatten=flatten, any_voxel_size=unlike, progress=tell)
            return stain, layer

        return work

    def _tell_model(self, name: str) -> None:
        """Ask for a folder only where one is needed, and say what a model of the list is."""
        self.model.enabled = name == OWN
        self.say("" if name == OWN else list_models().models[name].summary)

    def finish(self, result: tuple[spotlight.Stack, Any]) -> None:
        """Add the stain."""
        stain, layer = result
        place = placed_like(layer, len(stain.spatial_axes))
        for values, facts, kind in layers_of(stain, **place):
            facts["name"] = f"{layer.name} {facts['name']}"
            getattr(self.viewer, f"add_{kind}")(values, **facts)
        self.say(stain.origin)
