"""`load_model`: from a folder to a model, an ensemble, or models for one modality each."""

from pathlib import Path
from typing import Any

from spotlight.errors import SpotlightError
from spotlight.images.modality import MODALITIES
from spotlight.model import DESCRIPTION, ModelDescription, find_folder, read_model
from spotlight.prediction.onnx_files import ENDINGS, load_onnx
from spotlight.prediction.stain import Model
from spotlight.quoting import safe_name


def load_model(folder: str | Path) -> Model:
    """Load a model: a folder that `spotlight.train` or an importer wrote, or the name of one that comes with Spotlight.

    ONNX files and packages of the BioImage Model Zoo (``.zip``) are models, too; see
    `spotlight.prediction.onnx_files.load_onnx`.

    A folder of model folders is an ensemble, such as ``spotlight train --seeds`` writes, whose stain is the mean of
    theirs, in the intensities of the first; or, where they are named ``brightfield``, ``phase`` or ``dic``, models for
    one modality each, of which every stack gets its own.

    Parameters
    ----------
    folder : path or str
        A model folder, a folder of them, an ONNX file or package, or the name of a shipped model, such as
        ``demo-nuclei``.

    Returns
    -------
    Model
        Its `predict` gives the stain of a stack on the stack's own grid.

    Raises
    ------
    SpotlightError
        If a part of the folder is missing, damaged or from a newer version, or members do not go together.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.simulation import SimulationSettings
    >>> model = spotlight.load_model("demo-nuclei")  # or a folder of yours
    >>> field = spotlight.simulate_field(SimulationSettings(shape=(8, 32, 32)))
    >>> stain = model.predict(field.input)  # or the path of a file
    >>> stain.channels, stain.shape, stain.voxel_size
    (('DNA (virtual)',), (8, 32, 32), (0.29, 0.29, 0.29))
    """
    folder = find_folder(folder)
    if folder.suffix.lower() in ENDINGS and folder.is_file():
        return load_onnx(folder)
    name = safe_name(folder.resolve().name)
    if not (folder / DESCRIPTION).exists():
        separate = {modality: folder / modality for modality in MODALITIES if (folder / modality).is_dir()}
        models = {modality: load_model(path) for modality, path in separate.items()}
        for modality in MODALITIES:  # of an ensemble, each of whose members has a model for each modality
            members = sorted(path.parent for path in folder.glob(f"*/{modality}/{DESCRIPTION}"))
            if members:
                models[modality] = _ensemble(members, name)
        if models:
            first = next(iter(models.values()))
            return Model(first.description, first.networks, name, models)
        members = sorted(path.parent for path in folder.glob(f"*/{DESCRIPTION}"))
        if members:
            return _ensemble(members, name)
    description, network = read_model(folder)
    return Model(description, network, name)


def _ensemble(members: list[Path], name: str) -> Model:
    loaded = [read_model(member) for member in members]
    first = loaded[0][0]
    for member, (description, _) in zip(members, loaded, strict=True):
        differs = [what for what in ("input", "target") if _kind(description, what) != _kind(first, what)]
        if differs:
            raise SpotlightError(
                f"{member.parent}: an ensemble has one {' and '.join(differs)}, but those of {members[0].name} and "
                f"{member.name} differ. Train its members on the same pairs with the same settings."
            )
    return Model(first, [network for _, network in loaded], name)


OF_A_CHANNEL = {"mean", "contrast", "octaves", "skewness", "saturated"}
OF_THE_DATA = {*OF_A_CHANNEL, "voxel_size", "normalised_range", "intensity_range", "threshold", "background"}
"""What follows from the training stacks, of which members with seeds of their own hold out different ones."""


def _kind(description: ModelDescription, what: str) -> list[dict[str, Any]]:
    found = (description.input,) if what == "input" else description.targets
    excluded: dict[str, Any] = {**dict.fromkeys(OF_THE_DATA, True), "further_channels": {"__all__": OF_A_CHANNEL}}
    return [part.model_dump(exclude=excluded) for part in found]
