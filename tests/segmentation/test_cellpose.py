"""The Cellpose adapter: what it refuses, and, where Cellpose is installed, what it finds."""

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from conftest import SHARED, real_data
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.metrics import score_instances
from spotlight.segmentation import CellposeSettings, MethodSettings, SegmentationSettings, read_settings, segment
from spotlight.segmentation.cellpose import load_network
from spotlight.settings import Settings

INSTALLED = importlib.util.find_spec("cellpose") is not None
needs_cellpose = pytest.mark.skipif(not INSTALLED, reason="Cellpose is not installed")
needs_version_3 = pytest.mark.skipif(
    not INSTALLED or version("cellpose").split(".")[0] != "3", reason="Cellpose 3 is not installed"
)
# Cellpose and what it imports have warnings of their own.
pytestmark = pytest.mark.filterwarnings("default")

WEIGHTS = SHARED.parent / "weights" / "cellpose_cyto_v0.pt"


def balls(shape: tuple[int, ...]) -> Stack:
    """Bright balls of 9 µm on a grid, voxels of 0.58 µm."""
    centers = np.zeros(shape, bool)
    centers[tuple(slice(12, None, 22) for _ in shape)] = True
    distance = ndimage.distance_transform_edt(~centers) * 0.58
    image = np.random.default_rng(0).normal(100 + 300 * (distance < 4.5), 10)
    return Stack(ndimage.gaussian_filter(image, 0.8).astype(np.float32), "ZYX"[-len(shape) :], (0.58,) * len(shape))


@pytest.mark.skipif(INSTALLED, reason="Cellpose is installed")
def test_without_cellpose_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(SpotlightError, match=r"pip install .*\[cellpose\].* 'cellpose<4'"):
        segment(balls((24, 40, 40)), CellposeSettings())


def test_a_settings_file_names_its_method(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    for settings in (CellposeSettings(model="x.pt", diameter_um=7.5, max_size=900), SegmentationSettings(min_size=50)):
        file.write_text(settings.to_yaml())
        assert read_settings(file) == settings
    file.write_text("min_size: 20\n")
    assert read_settings(file) == SegmentationSettings(min_size=20)
    file.write_text("")
    assert read_settings(file) == SegmentationSettings()


def test_settings_of_any_method_nest_in_others() -> None:
    class Outer(Settings):
        segmentation: MethodSettings = SegmentationSettings()

    assert Outer.parse({"segmentation": {"min_size": 3}}, "x").segmentation == SegmentationSettings(min_size=3)
    cellpose = Outer(segmentation=CellposeSettings(do_3d=False))
    assert Outer.parse(cellpose.model_dump(mode="json"), "x") == cellpose
    with pytest.raises(SpotlightError, match="did you mean 'diameter_um'"):
        Outer.parse({"segmentation": {"method": "cellpose", "diametre_um": 3}}, "x")
    with pytest.raises(SpotlightError, match="unknown method 'stardist'. Known here: cellpose, watershed"):
        Outer.parse({"segmentation": {"method": "stardist"}}, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: stardist", r"settings\.yaml: unknown method 'stardist'. Known here: cellpose, watershed\."),
        ("method: cellpose\nseed_distance_um: 3", "unknown setting 'seed_distance_um'"),
        ("diameter: 3", "unknown setting 'diameter'"),
        ("method: cellpose\ndiameter: 3", "did you mean 'diameter_um'"),
        ("method: cellpose\ndiameter_um: 0", "setting 'diameter_um': Input should be greater than 0"),
        ("method: [a]", "unknown method"),
        ("[a, b]", r"settings\.yaml"),
    ],
)
def test_faulty_settings_files(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SpotlightError, match=message):
        read_settings(file)


# --- with Cellpose ---------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without weights in the place where Cellpose keeps them."""
    from cellpose import models

    monkeypatch.setattr(models, "MODEL_DIR", tmp_path)
    return tmp_path


@needs_cellpose
def test_weights_that_are_not_there_are_not_fetched(empty_cache: Path) -> None:
    from cellpose.models import MODEL_NAMES

    name = "nuclei" if "nuclei" in MODEL_NAMES else MODEL_NAMES[0]
    with pytest.raises(SpotlightError, match="fetches nothing") as caught:
        load_network(name)
    file = "nucleitorch_0" if name == "nuclei" else name
    assert str(empty_cache / file) in str(caught.value)
    assert list(empty_cache.iterdir()) == []


@needs_cellpose
@pytest.mark.parametrize("name", ["nuclei9", "absent/weights.pt"])
def test_a_network_that_does_not_exist_is_not_replaced(name: str, empty_cache: Path) -> None:
    with pytest.raises(SpotlightError, match=f"model '{name}' is neither a weights file nor a network"):
        load_network(name)


class Innocent:
    """What a pickle brings along."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


@needs_cellpose
def test_a_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Innocent()}, "evil.pt")
    with pytest.raises(SpotlightError, match=r"evil\.pt: is not a file of weights"):
        load_network("evil.pt")
    assert not Path("ran").exists()


@needs_cellpose
def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    import torch

    file = tmp_path / "other.pt"
    torch.save({"layer": torch.zeros(3)}, file)
    with pytest.raises(SpotlightError, match=r"other\.pt: is not a file of weights that Cellpose"):
        load_network(str(file))


@needs_version_3
@pytest.mark.parametrize("shape", [(40, 44), (12, 30, 32)])
def test_an_untrained_network_runs_offline(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Any weights do to see that image, axes and labels get through."""
    import torch
    from cellpose.models import CellposeModel

    torch.manual_seed(0)
    file = tmp_path / "untrained.pt"
    CellposeModel(gpu=False).net.save_model(str(file))
    settings = CellposeSettings(model=str(file), device="cpu", clear_border=False, min_size=0, max_size=1e9)
    stack = balls(shape)
    for trial in (settings, settings.model_copy(update={"do_3d": False})):
        labels = segment(stack, trial)
        assert labels.shape == stack.shape
        assert labels.data.dtype == np.int32
        assert np.unique(labels.data).tolist() == list(range(labels.data.max() + 1))
    assert not segment(Stack(np.full(shape, 3.0), stack.axes, stack.voxel_size), settings).data.any()


@pytest.fixture
def trained() -> CellposeSettings:
    """Settings with the weights of Cellpose's first "cyto" network."""
    if not WEIGHTS.exists():
        pytest.skip("weights of Cellpose are not on this machine")
    return CellposeSettings(model=str(WEIGHTS), diameter_um=13, device="cpu", clear_border=False, max_size=4000)


@needs_version_3
def test_a_plane_of_real_nuclei(trained: CellposeSettings) -> None:
    plane = (slice(128, 129), slice(None), slice(None))
    image = read(real_data("blastocyst_nuclei_3d/dapi.ome.tif")).crop(plane)
    truth = read(real_data("blastocyst_nuclei_3d/nuclei_labels.ome.tif")).data[128]
    settings = trained.model_copy(update={"min_size": 10.0, "voxel_um": None, "clahe_clip": 0.0})
    labels = segment(Stack(image.data[0], "YX", image.require_voxel_size()[1:]), settings)
    assert score_instances(truth, labels.data).average_precision[0.5] > 0.6


@needs_version_3
def test_balls_are_found_in_three_dimensions(trained: CellposeSettings) -> None:
    stack = balls((24, 26, 48))
    for do_3d in (True, False):
        settings = trained.model_copy(update={"diameter_um": 9.0, "do_3d": do_3d, "clahe_clip": 0.0})
        labels = segment(stack, settings).data
        assert labels.max() == 2
        assert set(labels[12, 12, [12, 34]]) == {1, 2}
        # A ball of 9 µm has 382 µm³; the network was trained on whole cells and draws nuclei large.
        assert (np.bincount(labels.ravel())[1:] * 0.58**3 > 300).all()
        assert (np.bincount(labels.ravel())[1:] * 0.58**3 < 800).all()
