"""What is compared: models, and stains that other tools have made."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlight.errors import SpotlightError
from spotlight.evaluation.stain_lookup import images_by_name, name_of_input, the_one
from spotlight.files import require_path
from spotlight.fingerprint import fingerprint, state_of
from spotlight.images import Stack, is_image, read_like
from spotlight.images.belonging import files_of
from spotlight.images.joining import all_channels
from spotlight.images.modality import MODALITIES
from spotlight.images.same_field import require_match
from spotlight.model import DESCRIPTION, ModelDescription, find_folder, read_description
from spotlight.pairs.pair import Pair
from spotlight.prediction import Model, PredictionSettings, load_model
from spotlight.prediction.finishing import SPREAD, VIRTUAL
from spotlight.prediction.listing import TABLES
from spotlight.quoting import safe_name
from spotlight.tasks import TargetDescription

TARGET = "target"
"""Name of the real fluorescence among the methods: it is segmented and measured like a stain."""
REPEAT = "repeat"
"""Name of a second image of the same field, with noise of its own: what a perfect stain could reach."""
RESERVED = (TARGET, REPEAT, "input", "truth", "training", "foreground", ".sets")

Source = str | Path | Model
"""A model, its folder or one of several models, or a folder of stains that are named after their stacks."""

TILE_VOXELS = {3: 2**22, 2: 2**20}
"""Voxels of tiles in which models are judged, where the settings do not say: few enough for any machine."""


def accepted(model: Model, pair: Pair, image: Stack, any_voxel_size: bool) -> tuple[Model, Stack]:
    """Give the model for the modality of a pair's input, and the input as that takes it; see `Model.accept`.

    Raises
    ------
    SpotlightError
        If the input is not what the model was trained for.
    """
    if model.needs_modality:
        model = model.suited(image, pair.modality or None)
    return model, model.accept(image, all_channels(image), any_voxel_size)  # the pair says which channels they are


@dataclass(frozen=True)
class Method:
    """One model of a method, or its stains.

    Attributes
    ----------
    name : str
        Of the method; several seeds of one method share it.
    seed : int
        Tells its models apart.
    key : str
        Its name or, for further seeds, ``NAME.seed-SEED``: what its stains, labels and scores are kept under.
    model : Model or None
        What makes the stains.
    stains : dict of str to Path
        Where they are already, by the name of the stack.
    fingerprint : str
        Of the model; empty without one.
    """

    name: str
    seed: int
    key: str
    model: Model | None
    stains: Mapping[str, Path]
    fingerprint: str

    def stain(
        self, pair: Pair, image: Stack, target: Stack, settings: PredictionSettings, any_voxel_size: bool = False
    ) -> tuple[Stack, tuple[str, ...]]:
        """Make or read the stain of a stack; of several stains, that of the pair's target.

        Returns
        -------
        (Stack, tuple of str)
            The stain, and in which ways the input is unlike those that the model was trained on.

        Raises
        ------
        SpotlightError
            If there is no stain of that target, or it does not match the target.
        """
        doubts: tuple[str, ...] = ()
        if self.model is not None:
            model, stack = accepted(self.model, pair, image, any_voxel_size)
            if settings.tile is None and settings.voxels is None:  # else they would follow the memory
                settings = settings.model_copy(update={"voxels": TILE_VOXELS[len(target.spatial_axes)]})
            stain, facts = model.stain(stack, settings)
            doubts = tuple(facts["doubts"])
        else:
            stain = _cut(read_like(self.stains[pair.name], target, pair.axes).timepoint(), pair, target)
        stain = _of_target(stain, pair, target)
        stain.require_finite()
        require_match(target, stain)
        return stain, doubts

    def digest(self, pair: Pair) -> str:
        """Fingerprint of what a stain depends on, besides its input."""
        if self.model is None:
            files = files_of(self.stains[pair.name])
            of_stains = fingerprint(files, [state_of(file).fingerprint for file in files])
        else:
            of_stains = self.fingerprint
        several = self.model is None or any(len(found.targets) > 1 for found in self.descriptions)
        by_modality = self.model is not None and self.model.needs_modality
        # A name that decides nothing changes nothing.
        names = pair.target_name if several else "", pair.modality if by_modality else ""
        return " ".join(filter(None, (of_stains, *names)))

    @property
    def descriptions(self) -> tuple[ModelDescription, ...]:
        """What the model folders say: one, or one for each modality; none of stains."""
        if self.model is None:
            return ()
        return tuple(model.description for model in self.model.separate.values()) or (self.model.description,)

    @property
    def record(self) -> Any:
        """What an evaluation writes down of it: the description of its model, or of its models by modality."""
        if self.model is None:
            return "stains"
        separate = {name: model.description.model_dump(mode="json") for name, model in self.model.separate.items()}
        return separate or self.model.description.model_dump(mode="json")

    def calibrated(self, pair: Pair) -> bool:
        """Whether its stains of the pair's target are intensities, as far as its models say."""
        return all(target.calibrated for target in self.targets_of(pair))

    def targets_of(self, pair: Pair) -> list[TargetDescription]:
        """What the models say of the pair's target; a model of one stain says what it does of that.

        Raises
        ------
        SpotlightError
            If none of them stains that target.
        """
        known = [target for description in self.descriptions for target in description.targets]
        if all(len(description.targets) == 1 for description in self.descriptions):
            return known
        wanted = pair.target_name or _target_name(pair, pair.read_target())
        found = [target for target in known if target.channel == wanted]
        if not found:
            raise _no_stain(self.name, wanted, pair, [target.channel or "target" for target in known])
        return found


def require_stains(sources: Source | Mapping[str, Source | Mapping[int, Source]]) -> None:
    """Raise a `SpotlightError` if a source is a model of something else than intensities."""
    given = list(sources.values()) if isinstance(sources, Mapping) else [sources]
    each = [one for source in given for one in (source.values() if isinstance(source, Mapping) else [source])]
    for source in each:
        if isinstance(source, Model):
            found = source.description
        elif (find_folder(source) / DESCRIPTION).exists():
            found = read_description(source)
        else:
            continue
        if found.task.learns != "intensities":
            raise SpotlightError(
                f"model {source.name if isinstance(source, Model) else source} finds {found.task.learns}, which are "
                "compared by spotlight.evaluation.evaluate_masks, or by the command evaluate if no model of stains is "
                "given with it."
            )


def find_methods(sources: Source | Mapping[str, Source | Mapping[int, Source]], pairs: Sequence[Pair]) -> list[Method]:
    """Open what is to be compared.

    Parameters
    ----------
    sources : path, Model or mapping
        One source, or several by name; a name may have a mapping of seeds to sources.
    pairs : sequence of Pair
        The stacks, of which folders of stains must have every one: named ``NAME`` or ``NAME-stain`` after the stack, or
        else after its input's file.
    """
    if isinstance(sources, Model):
        sources = {sources.name: sources}
    elif isinstance(sources, (str, Path)):
        sources = {safe_name(Path(sources).resolve().name): sources}
    methods = []
    for name, given in sources.items():
        if name in RESERVED or not name or set(name) & set('/\\:*?"<>|'):
            raise SpotlightError(
                f"a method cannot be named {name!r}: the name is reserved, or is no name of a folder. Choose another."
            )
        seeds = given if isinstance(given, Mapping) else {0: given}
        for number, (seed, source) in enumerate(seeds.items()):
            model, stains = _open(source, pairs)
            key = name if number == 0 else f"{name}.seed-{seed}"
            methods.append(Method(name, seed, key, model, stains, "" if model is None else model.digest))
    if not methods:
        raise SpotlightError("there is nothing to evaluate. Name a model folder, or a folder of stains.")
    keys = [method.key for method in methods]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise SpotlightError(f"several methods would be written to {', '.join(sorted(twice))}; rename one.")
    return methods


def data_first(pairs: Any, models: Any, function: str) -> tuple[Any, Any]:
    """Give pairs and models, which are exchanged with a warning if they have the order of version 0.1.

    The order is recognised by what the arguments are: a model or a mapping in the place of the pairs, or a list or a
    table in the place of the models. Two folders of images are taken in today's order.
    """
    is_folder = isinstance(pairs, (str, Path)) and Path(pairs).is_dir()
    swapped = isinstance(pairs, (Model, Mapping)) or (is_folder and _holds_models(Path(pairs)))
    if isinstance(models, (str, Path)):
        swapped |= Path(models).suffix.lower() in TABLES
    else:
        swapped |= isinstance(models, (list, tuple))
    if not swapped:
        return pairs, models
    warnings.warn(
        f"{function} takes the data first: {function}(pairs, models, to). The former order ends with version 0.3.",
        FutureWarning,
        stacklevel=4,
    )
    return models, pairs


def _open(source: Source, pairs: Sequence[Pair]) -> tuple[Model | None, dict[str, Path]]:
    if isinstance(source, Model):
        return source, {}
    folder = require_path(find_folder(source), "Give a model folder, or a folder of stains.")
    if not folder.is_dir() or _holds_models(folder):
        return load_model(folder), {}
    listed, found = images_by_name(folder), dict[str, Path]()
    for pair in pairs:
        own = the_one(listed, pair.name) or the_one(listed, name_of_input(pair))
        if own is not None:
            found[pair.name] = own
    missing = [pair.name for pair in pairs if pair.name not in found]
    if missing:
        raise SpotlightError(
            f"{folder}: is neither a model ({DESCRIPTION}) nor a folder with a stain of every stack; missing "
            f"{len(missing)} of {len(pairs)}: {', '.join(missing[:5])}. Add them, for example as "
            f"{missing[0]}.ome.tif, or take these stacks out of the manifest."
        )
    return None, found


def _cut(stain: Stack, pair: Pair, target: Stack) -> Stack:
    """Of a stain of the whole input, the region that the pair shows."""
    return stain if stain.shape[-len(target.axes) :] == target.shape else pair.cut(stain)


def _holds_models(folder: Path) -> bool:
    """Whether a folder is a model, an ensemble, or holds a model or an ensemble for each modality."""
    alone = (folder / DESCRIPTION).exists()
    if alone or any(is_image(file) for file in folder.iterdir()):
        return alone
    members = [folder.glob(f"*/{DESCRIPTION}"), *(folder.glob(f"{name}/*/{DESCRIPTION}") for name in MODALITIES)]
    return any(any(found) for found in members)


def _target_name(pair: Pair, target: Stack) -> str:
    """What a pair's target is called: as the manifest says, else as its channel is."""
    return pair.target_name or (*target.channels, "")[0]


def _of_target(stain: Stack, pair: Pair, target: Stack) -> Stack:
    """Take the channel that is the stain of the pair's target, or the only one; channels of a spread are left out."""
    if "C" not in stain.axes:
        return stain
    named = [name for name in stain.channels if not name.endswith(SPREAD)]
    if len(named) == 1 or not stain.channels:
        return stain.channel(named[0] if named else None)
    wanted = _target_name(pair, target)
    found = [name for name in (f"{wanted}{VIRTUAL}", wanted) if name and name in named]
    if not found:
        raise _no_stain(stain.source, wanted, pair, named)
    return stain.channel(found[0])


def _no_stain(where: str, wanted: str, pair: Pair, known: Sequence[str]) -> SpotlightError:
    what = f"of the target {wanted!r}" if wanted else "of a target without a name"
    return SpotlightError(
        f"{where}: has no stain {what} (row {pair.name!r}); its channels are {', '.join(dict.fromkeys(known))}. Choose "
        "another target (--target), or name the column of the manifest, target:NAME, as the stain is named."
    )
