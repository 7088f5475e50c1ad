"""The widget that finds and measures nuclei."""

from collections.abc import Callable
from typing import Any

import napari
import pandas as pd
from magicgui.widgets import CheckBox, ComboBox, FloatSlider, PushButton
from napari.layers import Image
from napari.utils import DirectLabelColormap
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QAbstractItemView, QFileDialog, QTableWidget, QTableWidgetItem

import spotlight
from spotlight.napari.jobs import Tell
from spotlight.napari.layers import layers_of, placed_like
from spotlight.napari.panel import Panel
from spotlight.segmentation import Segmentation, SegmentationSettings, find_instances

WAIT_MS = 300
"""After the last move of a slider until the nuclei are found anew."""
PLAIN = "one colour each"


class NucleiWidget(Panel):
    """Find nuclei in a stain or in fluorescence, measure them, and save labels and table.

    With "Live" on, moving a slider finds them anew.
    """

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__(viewer, "Find nuclei")
        usual = SegmentationSettings()
        self.layer = self.layer_field(Image, "Stain or fluorescence")
        self.threshold = FloatSlider(label="Threshold (times Otsu's)", min=0.2, max=3, value=usual.otsu_factor)
        self.smallest = FloatSlider(label="Smallest (µm³, µm²)", min=0, max=1000, value=usual.min_size)
        self.largest = FloatSlider(label="Largest (µm³, µm²)", min=1, max=6000, value=usual.max_size)
        self.border = CheckBox(text="Leave out nuclei at the border", value=usual.clear_border)
        self.live = CheckBox(text="Live", value=True)
        self.colour = ComboBox(label="Colour by", choices=[PLAIN], value=PLAIN)
        self.save = PushButton(text="Save labels and table", enabled=False)
        self.fields(self.layer, self.threshold, self.smallest, self.largest, self.border, self.live)
        self.extend([self.colour, self.save])
        self.rows = QTableWidget()
        self.rows.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.rows.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.native.layout().addWidget(self.rows)
        self.follow(self.layer)
        self.labels: Any = None
        self.found: Segmentation | None = None
        self.nuclei = pd.DataFrame()
        self.timer = QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(WAIT_MS)
        self.timer.timeout.connect(self._again)
        for field in (self.threshold, self.smallest, self.largest, self.border):
            field.changed.connect(self._moved)
        self.colour.changed.connect(self._paint)
        self.save.clicked.connect(self._ask_where)
        self.rows.itemSelectionChanged.connect(self._row_chosen)

    def begin(self) -> Callable[[Tell], Any]:
        """See `Panel.begin`."""
        stack, layer = self.stack(self.layer), self.layer.value
        settings = SegmentationSettings.parse(
            {
                "otsu_factor": self.threshold.value,
                "min_size": self.smallest.value,
                "max_size": max(self.largest.value, self.smallest.value + 1),
                "clear_border": self.border.value,
            },
            "the widget",
        )

        def work(tell: Tell) -> tuple[Segmentation, pd.DataFrame, Any]:
            found = find_instances(stack, settings)
            tell(1, 2)
            return found, spotlight.measure(found.labels, stack), layer

        return work

    def finish(self, result: tuple[Segmentation, pd.DataFrame, Any]) -> None:
        """Show labels and table."""
        self.found, self.nuclei, layer = result
        values = self.found.labels.data
        if self.labels is not None and self.labels in self.viewer.layers and self.labels.data.shape == values.shape:
            self.labels.data = values
        else:
            place = placed_like(layer, values.ndim)
            facts = layers_of(self.found.labels, **place)[0][1] | {"name": f"{layer.name} nuclei"}
            self.labels = self.viewer.add_labels(values, **facts)
            self.labels.events.selected_label.connect(self._label_chosen)
        self.labels.features = pd.concat([pd.DataFrame({"label": [0]}), self.nuclei], ignore_index=True).assign(
            index=lambda table: table["label"]
        )
        chosen = self.colour.value
        self.colour.choices = [PLAIN, *(name for name in self.nuclei if name != "label")]
        self.colour.value = chosen if chosen in self.colour.choices else PLAIN
        self._paint()
        self._fill()
        self.save.enabled = True
        self.say("\n".join([f"Nuclei: {len(self.nuclei)}.", *self.found.doubts]))

    def write(self, path: str) -> list[str]:
        """Save the labels as OME-TIFF and the table beside them as CSV.

        Parameters
        ----------
        path : str
            Of the labels, ending in .ome.tif or not.
        """
        stem = path.removesuffix(".tif").removesuffix(".ome")
        if self.found is None:
            raise spotlight.SpotlightError("Find nuclei first.")
        files = [f"{stem}.ome.tif", f"{stem}.csv"]
        self.found.labels.save(files[0])
        self.nuclei.to_csv(files[1], index=False)
        self.say("Written: " + ", ".join(files))
        return files

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self.native, "Save labels and table", "nuclei.ome.tif")
        if path:
            try:
                self.write(path)
            except (spotlight.SpotlightError, OSError) as error:
                self.say(str(error))

    def _moved(self) -> None:
        if self.live.value and self.found is not None:
            self.timer.start()

    def _again(self) -> None:
        if self.job.runs:
            self.timer.start()
        else:
            self._press()

    def _fill(self) -> None:
        self.rows.blockSignals(True)
        self.rows.setColumnCount(len(self.nuclei.columns))
        self.rows.setHorizontalHeaderLabels([str(name) for name in self.nuclei])
        self.rows.setRowCount(len(self.nuclei))
        for row, values in enumerate(self.nuclei.itertuples(index=False)):
            for column, value in enumerate(values):
                self.rows.setItem(row, column, QTableWidgetItem(f"{value:.4g}"))
        self.rows.blockSignals(False)

    def _row_chosen(self) -> None:
        row = self.rows.currentRow()
        if not 0 <= row < len(self.nuclei):
            return
        nucleus = self.nuclei.iloc[row]
        self.labels.selected_label = int(nucleus["label"])
        for axis, name in enumerate("zyx"[-self.labels.ndim :]):
            where = float(nucleus[name]) + self.labels.translate[axis]
            self.viewer.dims.set_point(self.viewer.dims.ndim - self.labels.ndim + axis, where)

    def _label_chosen(self) -> None:
        where = self.nuclei.index[self.nuclei["label"] == self.labels.selected_label]
        if len(where) and self.rows.currentRow() != where[0]:
            self.rows.selectRow(int(where[0]))

    def _paint(self) -> None:
        """Colour the labels by a feature, from dark (least) to bright (greatest)."""
        if self.labels is None or self.colour.value is None:
            return
        if self.colour.value == PLAIN or not len(self.nuclei):
            self.labels.colormap = napari.utils.colormaps.label_colormap()
            return
        values = self.nuclei[self.colour.value].astype(float)
        width = values.max() - values.min()
        shares = ((values - values.min()) / width if width > 0 else values * 0 + 0.5).fillna(0).to_numpy()
        colours = napari.utils.colormaps.ensure_colormap("viridis").map(shares)
        named: dict[int | None, Any] = dict(zip(self.nuclei["label"].astype(int), colours, strict=True))
        self.labels.colormap = DirectLabelColormap(color_dict=named | {None: "transparent"})
