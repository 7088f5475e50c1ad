"""What all widgets share: a choice of layers, the voxel size, a button, progress, and what happened in words."""

from collections.abc import Callable
from typing import Any

import napari
from magicgui.widgets import Container, Label, LineEdit, ProgressBar, PushButton, create_widget
from napari.layers import Image, Layer

import spotlight
from spotlight.napari.jobs import Job, Tell
from spotlight.napari.layers import stack_of, values_of, voxel_size_of


class Panel(Container):
    """A widget with a job: subclasses add their fields and say in `begin` what happens when the button is pressed."""

    def __init__(self, viewer: "napari.viewer.Viewer", action: str) -> None:
        super().__init__()
        self.viewer = viewer
        self.job = Job()
        self.voxel_size = LineEdit(
            label="Voxel size (µm)", tooltip="Edge lengths of Z, Y and X; from the layer, if it states them."
        )
        self.button = PushButton(text=action)
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.bar = ProgressBar(value=0, max=1, visible=False)
        self.status = Label(value="")
        self.status.native.setWordWrap(True)
        self.status.native.setTextInteractionFlags(self.status.native.textInteractionFlags().TextSelectableByMouse)
        self.button.clicked.connect(self._press)
        self.cancel.clicked.connect(self.job.stop)
        self.job.progressed.connect(self._progress)
        self.job.returned.connect(self.finish)
        self.job.failed.connect(self.say)
        self.job.ended.connect(self._rest)

    def begin(self) -> Callable[[Tell], Any]:
        """Read the fields and return the work; a `SpotlightError` is shown."""
        raise NotImplementedError

    def finish(self, result: Any) -> None:
        """Show a result."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.status.value = text

    def fields(self, *fields: Any) -> None:
        """Lay out the fields of a widget, then what all have."""
        self.extend([*fields, self.voxel_size, self.button, self.cancel, self.bar, self.status])

    def layer_field(self, kind: type[Layer], label: str) -> Any:
        """A choice among the layers of a kind, which follows the viewer's list."""
        return create_widget(annotation=kind, label=label)

    def follow(self, field: Any) -> None:
        """Take the voxel size from the layer that a field names."""

        def take(layer: Any) -> None:
            size = None if layer is None else voxel_size_of(layer)
            self.voxel_size.value = "" if size is None else " ".join(f"{edge:.6g}" for edge in size)

        field.changed.connect(take)
        take(field.value)

    def stack(self, field: Any) -> spotlight.Stack:
        """The stack of the layer that a field names.

        Raises
        ------
        SpotlightError
            If there is no layer, or the voxel size is not one.
        """
        layer = field.value
        if layer is None:
            raise spotlight.SpotlightError(f"{field.label}: there is no such layer. Open an image first.")
        if isinstance(layer, Image) and layer.rgb:
            raise spotlight.SpotlightError(f"{layer.name}: is a colour image. Split its channels, and choose one.")
        return stack_of(layer, self.size(min(3, values_of(layer).ndim)), self.viewer.dims.current_step)

    def size(self, dims: int) -> tuple[float, ...]:
        """The voxel size as typed.

        Raises
        ------
        SpotlightError
            If it is not `dims` positive lengths.
        """
        words = self.voxel_size.value.replace(",", " ").split()
        try:
            lengths = tuple(float(word) for word in words)
        except ValueError:
            lengths = ()
        if len(lengths) != dims or min(lengths) <= 0:
            raise spotlight.SpotlightError(
                f"the voxel size must be {dims} positive lengths in µm ({'ZYX'[-dims:]}), such as "
                f"{' '.join(('0.29', '0.108', '0.108')[-dims:])}. Received: {self.voxel_size.value!r}."
            )
        return lengths

    def _press(self) -> None:
        if self.job.runs:
            return
        try:
            work = self.begin()
        except spotlight.SpotlightError as error:
            self.say(str(error))
            return
        self.say("")
        self.button.enabled, self.cancel.enabled, self.bar.visible = False, True, True
        self.bar.max = 0
        self.job.start(work)

    def _progress(self, done: int, total: int) -> None:
        self.bar.max = max(total, 1)
        self.bar.value = done

    def _rest(self) -> None:
        self.button.enabled, self.cancel.enabled, self.bar.visible = True, False, False
