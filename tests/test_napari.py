"""The widgets in a real napari without a screen; skipped where napari is not installed (`pip install '.[napari]'`)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

if not os.environ.get("DISPLAY"):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
napari = pytest.importorskip("napari", reason="napari is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # of napari and Qt

import spotlight  # noqa: E402
from conftest import TINY  # noqa: E402
from spotlight.napari import files, layers  # noqa: E402
from spotlight.napari.nuclei import PLAIN, NucleiWidget  # noqa: E402
from spotlight.napari.pairs import CheckWidget, CompareWidget  # noqa: E402
from spotlight.napari.staining import StainWidget  # noqa: E402


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    shown = napari.Viewer(show=False)
    yield shown
    shown.close()


@pytest.fixture
def viewer(window: Any) -> Iterator[Any]:
    yield window
    window.layers.clear()


@pytest.fixture(scope="module")
def cells() -> Any:
    return files.simulated_cells()


@pytest.fixture(scope="module")
def model(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spotlight.train(manifest, tmp_path_factory.mktemp("napari") / "model", TINY, steps=1)


def opened(viewer: Any, cells: Any, widget: type) -> Any:
    for values, facts, kind in cells:
        getattr(viewer, f"add_{kind}")(values, **facts)
    panel = widget(viewer)
    viewer.window.add_dock_widget(panel)
    return panel


def wait(panel: Any, seconds: float = 120) -> None:
    """Let the window live until the work has ended."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    panel.job.ended.connect(loop.quit)
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    if panel.job.runs:
        loop.exec()
    assert not panel.job.runs, "the work did not end"


def press(panel: Any) -> None:
    panel.button.native.click()
    wait(panel)


def test_the_manifest_names_what_is_there() -> None:
    from npe2 import PluginManifest

    found = PluginManifest.from_file(Path(spotlight.__file__).parent / "napari" / "napari.yaml")
    found.validate_imports()
    assert {widget.display_name for widget in found.contributions.widgets or []} >= {"Stain", "Nuclei"}


def test_a_layer_is_stained_on_its_own_grid(viewer: Any, cells: Any, model: Path) -> None:
    panel = opened(viewer, cells, StainWidget)
    panel.layer.value = viewer.layers["Brightfield"]
    panel.model.value = model
    assert panel.voxel_size.value == "0.29 0.29 0.29"
    press(panel)
    stain = viewer.layers["Brightfield DNA (virtual)"]
    expected = spotlight.load_model(model).predict(cells[0][0], voxel_size=(0.29,) * 3)
    np.testing.assert_array_equal(stain.data, expected.data)
    np.testing.assert_allclose(stain.scale, (0.29,) * 3)
    assert str(stain.units[0]) == "micrometer"
    assert stain.colormap.name == "green"
    assert "model model" in stain.metadata["origin"]
    assert panel.button.enabled


def test_a_model_that_comes_with_spotlight_goes_by_its_name(viewer: Any, cells: Any) -> None:
    panel = opened(viewer, cells, StainWidget)
    panel.layer.value = viewer.layers["Brightfield"]
    panel.shipped.value = "demo-nuclei"
    assert not panel.model.enabled
    assert "demonstration" in panel.status.value
    press(panel)
    stain = next(layer for layer in viewer.layers if "(virtual)" in layer.name)
    assert "model demo-nuclei" in stain.metadata["origin"]
    expected = spotlight.load_model("demo-nuclei").predict(cells[0][0], voxel_size=(0.29,) * 3)
    np.testing.assert_array_equal(stain.data, expected.data)


def test_what_is_missing_is_said(viewer: Any, model: Path) -> None:
    panel = opened(viewer, [(np.zeros((8, 32, 32), np.uint16), {"name": "plain"}, "image")], StainWidget)
    press(panel)
    assert panel.status.value.startswith("Choose a model")
    panel.model.value = model
    press(panel)
    assert "voxel size must be 3 positive lengths" in panel.status.value
    panel.voxel_size.value = "9 9 9"
    press(panel)
    assert "was trained on" in panel.status.value
    assert len(viewer.layers) == 1


def test_staining_can_be_cancelled(viewer: Any, cells: Any, model: Path) -> None:
    panel = opened(viewer, cells, StainWidget)
    panel.layer.value = viewer.layers["Brightfield"]
    panel.model.value = model
    panel.button.native.click()
    assert not panel.button.enabled
    panel.cancel.native.click()
    wait(panel)
    assert panel.status.value == "Cancelled."
    assert len(viewer.layers) == len(cells)


def test_nuclei_are_found_measured_and_saved(viewer: Any, cells: Any, tmp_path: Path) -> None:
    panel = opened(viewer, cells, NucleiWidget)
    panel.layer.value = viewer.layers["DNA"]
    press(panel)
    labels = viewer.layers["DNA nuclei"]
    expected = spotlight.segment(spotlight.Stack(cells[1][0], "ZYX", (0.29,) * 3))
    np.testing.assert_array_equal(labels.data, expected.data)
    assert panel.rows.rowCount() == expected.data.max() > 0
    panel.rows.selectRow(0)
    assert labels.selected_label == panel.nuclei["label"][0]
    panel.colour.value = "volume"
    largest = int(panel.nuclei.loc[panel.nuclei["volume"].idxmax(), "label"])
    np.testing.assert_allclose(labels.colormap.color_dict[largest], (0.993, 0.906, 0.144, 1), atol=0.01)
    panel.colour.value = PLAIN
    image, table = panel.write(str(tmp_path / "nuclei.ome.tif"))
    np.testing.assert_array_equal(spotlight.read(image).data, labels.data)
    assert len(pd.read_csv(table)) == len(panel.nuclei)


def test_a_slider_finds_nuclei_anew(viewer: Any, cells: Any) -> None:
    panel = opened(viewer, cells, NucleiWidget)
    panel.layer.value = viewer.layers["DNA"]
    press(panel)
    before = len(panel.nuclei)
    panel.smallest.value = 600
    assert panel.timer.isActive()
    panel.timer.stop()
    panel.timer.timeout.emit()
    wait(panel)
    assert len(panel.nuclei) < before
    assert len(viewer.layers) == len(cells) + 1


def test_a_pair_is_checked(viewer: Any, cells: Any) -> None:
    panel = opened(viewer, cells, CheckWidget)
    panel.input.value, panel.target.value = viewer.layers["Brightfield"], viewer.layers["DNA"]
    press(panel)
    assert "Shift of the fluorescence" in panel.status.value
    assert 0 < viewer.layers["DNA foreground"].data.mean() < 1


def test_a_stain_is_compared_with_itself(viewer: Any, cells: Any) -> None:
    panel = opened(viewer, cells, CompareWidget)
    panel.stain.value = panel.target.value = viewer.layers["DNA"]
    press(panel)
    assert panel.status.value.startswith("Correlation 1.000; root mean squared error 0.0 %")
    assert not viewer.layers["DNA error"].data.any()
    assert not viewer.layers["DNA missed nuclei"].data.any()


def test_files_become_layers(tmp_path: Path) -> None:
    values = np.arange(2 * 4 * 8 * 8, dtype=np.uint16).reshape(2, 4, 8, 8)
    path = str(spotlight.Stack(values, "CZYX", (2, 0.5, 0.5), ("Brightfield", "DNA")).save(tmp_path / "two.ome.tif"))
    reader = files.get_reader(path)
    assert reader is not None
    assert files.get_reader(str(tmp_path / "notes.txt")) is None
    window = napari.components.ViewerModel()
    for data, facts, _ in reader(path):
        window.add_image(data, **facts)
    assert [layer.name for layer in window.layers] == ["Brightfield", "DNA"]
    np.testing.assert_array_equal(window.layers[1].data, values[1])
    assert layers.voxel_size_of(window.layers[1]) == pytest.approx((2, 0.5, 0.5))


@pytest.mark.parametrize("form", ["ome.tif", "ome.zarr"])
def test_time_lapses_and_labels_become_layers(tmp_path: Path, form: str) -> None:
    values = np.arange(3 * 2 * 4 * 8 * 8).reshape(3, 2, 4, 8, 8)
    stain = spotlight.Stack(values.astype(np.float32), "TCZYX", (2, 0.5, 0.5), ("DNA", "spread"), frame_interval=60.0)
    numbers = spotlight.Stack(values[:, 0].astype(np.int32), "TZYX", (2, 0.5, 0.5), labels=True)
    window = napari.components.ViewerModel()
    for stack, name in ((stain, "stain"), (numbers, "labels")):
        path = str(stack.save(tmp_path / f"{name}.{form}"))
        reader = files.get_reader(path)
        assert reader is not None
        for data, facts, kind in reader(path):
            getattr(window, f"add_{kind}")(data, **facts)
    assert [layer.data.shape for layer in window.layers] == [(3, 4, 8, 8)] * 3
    np.testing.assert_array_equal(window.layers[1].data, values[:, 1])
    assert all(layers.voxel_size_of(layer) == pytest.approx((2, 0.5, 0.5)) for layer in window.layers)


def test_naparis_own_reader_opens_what_is_written(tmp_path: Path) -> None:
    from napari_builtins.io import napari_get_reader

    values = np.arange(3 * 4 * 8 * 8, dtype=np.uint16).reshape(3, 4, 8, 8)
    path = str(spotlight.Stack(values, "TZYX", (2, 0.5, 0.5)).save(tmp_path / "movie.ome.tif"))
    reader = napari_get_reader(path)
    assert reader is not None
    np.testing.assert_array_equal(np.squeeze(reader(path)[0][0]), values)
