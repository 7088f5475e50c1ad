"""Instance labels by Cellpose, which is an extra: versions 3 and 4.

Nothing is fetched: the weights must be on this machine. They are loaded as weights only, so that no pickle runs.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.errors import SpotlightError
from spotlight.installation import install_command
from spotlight.segmentation.settings import SEGMENTERS, InstanceSettings, rounded


@SEGMENTERS.register
class CellposeSettings(InstanceSettings):
    """Segmentation by Cellpose (Stringer et al. 2021). Lengths are in µm.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.segmentation import CellposeSettings
    >>> settings = CellposeSettings(model="cpsam", diameter_um=12.0)
    >>> settings.expected_diameter(dims=3)
    12.0
    >>> labels = spotlight.segment("stain.ome.tif", settings)  # doctest: +SKIP
    """

    method: Literal["cellpose"] = "cellpose"
    model: str = Field(
        "nuclei",
        description="A weights file, or the name of a network whose weights Cellpose has already fetched. The paper's "
        "is 'nuclei', of Cellpose 3; Cellpose 4 has others, such as 'cpsam'.",
    )
    diameter_um: float = Field(
        9.9, gt=0, description="Mean diameter of the nuclei; 17 voxels of 0.58 µm, for which 'nuclei' was trained."
    )
    do_3d: bool = Field(
        True,
        description="Join the flows of all three planes in 3D, as in the paper; or segment planes and stitch them.",
    )
    stitch_threshold: float = Field(
        0.25, gt=0, le=1, description="Without do_3d: IoU from which masks of neighbouring planes are one nucleus."
    )
    flow_threshold: float = Field(0.4, ge=0, description="Greatest flow error of a mask, in planes. Cellpose's own.")
    cellprob_threshold: float = Field(
        0.0, description="Least logit of a nuclear voxel; less finds more and larger nuclei. Cellpose's own."
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="'auto' takes a GPU if there is one.")

    def segment(self, image: NDArray[np.float32], spacing: tuple[float, ...]) -> NDArray[np.int32]:
        """See `InstanceSettings.segment`."""
        return find_cells(image, spacing, self)

    def expected_diameter(self, dims: int) -> float:
        """See `InstanceSettings.expected_diameter`; it is a setting here."""
        return self.diameter_um

    def candidates(self, diameter: float) -> Mapping[str, tuple[Any, ...]]:
        """See `InstanceSettings.candidates`; few, since each takes minutes without a GPU."""
        return {"clahe_clip": (0.0, 0.015), "cellprob_threshold": (-2.0, 0.0, 2.0)}

    def sized(self, diameter: float) -> Self:
        """See `InstanceSettings.sized`."""
        return self.model_copy(update={"diameter_um": rounded(diameter)})


def find_cells(image: NDArray[np.float32], spacing: tuple[float, ...], settings: CellposeSettings) -> NDArray[np.int32]:
    """Segment a prepared image by Cellpose.

    Parameters
    ----------
    image : (Z, Y, X) or (Y, X) float32
        From `spotlight.segmentation.preparation.prepare`.
    spacing : tuple of float
        Voxel edges in µm.
    settings : CellposeSettings
        All but the preparation and the clean-up.

    Returns
    -------
    int32 ndarray
        Labels from 1, 0 for background.

    Raises
    ------
    SpotlightError
        If Cellpose is not installed, has no such network, or the weights are absent or not weights.
    """
    model = load_network(settings.model, settings.device)
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    arguments: dict[str, Any] = {
        "diameter": settings.diameter_um / spacing[-1],
        "flow_threshold": settings.flow_threshold,
        "cellprob_threshold": settings.cellprob_threshold,
        "min_size": -1,  # sizes are judged afterwards, alike for all methods
    }
    if _version() == 3:
        arguments["channels"] = [0, 0]
    if image.ndim == 3:
        arguments |= {"z_axis": 0, "do_3D": settings.do_3d}
        if settings.do_3d:
            arguments["anisotropy"] = round(spacing[0] / spacing[-1], 2)
        else:
            arguments["stitch_threshold"] = settings.stitch_threshold
    masks = model.eval(image, **arguments)[0]
    return np.asarray(masks, np.int32).reshape(image.shape)


def load_network(model: str, device: Literal["auto", "cpu", "gpu"] = "auto") -> Any:
    """Load a network of Cellpose from a file on this machine; see `CellposeSettings` for what it may be."""
    cellpose = _import()
    from spotlight.devices import find_device  # loads torch

    return _load(_weights(model, cellpose), find_device(device).type == "cuda")


def _import() -> Any:
    try:
        from cellpose import models
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch is a RuntimeError
        raise SpotlightError(
            f"Cellpose cannot be imported ({error}). Install it with: "
            f"{install_command('cellpose', 'cellpose<4')} (version 3 has the paper's network 'nuclei'; version 4 also "
            "needs a torchvision that fits the installed torch)."
        ) from error
    return models


def _version() -> int:
    return int(version("cellpose").split(".")[0])


def _weights(model: str, models: Any) -> Path:
    """The file of a network, which must be there: Cellpose itself would fetch it, or silently take another."""
    folder = Path(models.MODEL_DIR)
    old = _version() == 3 and model in ("cyto", "cyto2", "nuclei")
    cached = folder / (f"{model}torch_0" if old else model)
    for file in (Path(model), cached):
        if file.is_file():
            return file
    if model not in models.MODEL_NAMES:
        raise SpotlightError(
            f"model {model!r} is neither a weights file nor a network of Cellpose {version('cellpose')}, which has: "
            f"{', '.join(models.MODEL_NAMES)}. 'nuclei' needs \"cellpose<4\"."
        )
    raise SpotlightError(
        f"the weights of Cellpose's network {model!r} are not on this machine, and Spotlight fetches nothing: "
        f'{cached} is missing. On a machine with a network, python -c "from cellpose.models import CellposeModel; '
        f"CellposeModel(pretrained_model='{model}')\" writes that file; or give a weights file as model."
    )


@lru_cache(maxsize=1)
def _load(weights: Path, gpu: bool) -> Any:
    import torch

    try:
        # Cellpose loads weights only as well, but some of its versions leave that to torch's default.
        torch.load(weights, map_location="cpu", weights_only=True)
        kinds = {} if _version() == 3 else {"use_bfloat16": gpu}
        return _import().CellposeModel(gpu=gpu, pretrained_model=str(weights), **kinds)
    except SpotlightError:
        raise
    except Exception as error:  # torch and Cellpose raise anything from AssertionError to UnpicklingError
        raise SpotlightError(
            f"{weights}: is not a file of weights that Cellpose {version('cellpose')} can load ({error}). Weights of "
            "versions 3 and 4 do not fit each other; files that hold more than weights are refused."
        ) from error
