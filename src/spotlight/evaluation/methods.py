"""What is compared: models, and stains that other tools have made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import Stack, is_image, read, stem
from spotlight.model import DESCRIPTION
from spotlight.pairs.pair import Pair, require_match
from spotlight.prediction import Model, PredictionSettings, load_model

TARGET = "target"
"""Name of the real fluorescence among the methods: it is segmented and measured like a stain."""
REPEAT = "repeat"
"""Name of a second image of the same field, with noise of its own: what a perfect stain could reach."""
RESERVED = (TARGET, REPEAT, "input", "truth", "training", "foreground", ".sets")

Source = str | Path | Model
"""A model, its folder, or a folder of stains that are named after their stacks."""

TILES = {3: (96, 192, 192), 2: (1024, 1024)}
"""Tiles in which models are judged, where the settings do not say."""


@dataclass(frozen=True)
class Method:
    """One model of a method, or its stains.

    Attributes
    ----------
    name : str
        Of the method; several seeds of one method share it.
    seed : int
        Tells its models apart.
    folder : str
        Where its stains are kept.
    model : Model or None
        What makes the stains.
    stains : dict of str to Path
        Where they are already, by the name of the stack.
    seal : str
        Fingerprint of the model; empty without one.
    """

    name: str
    seed: int
    folder: str
    model: Model | None
    stains: Mapping[str, Path]
    seal: str

    def stain(self, pair: Pair, image: Stack, target: Stack, settings: PredictionSettings) -> Stack:
        """Make or read the stain of a stack."""
        if self.model is not None:
            if settings.tile is None:  # else it would follow the memory of the machine
                settings = settings.model_copy(update={"tile": TILES[len(target.spatial_axes)]})
            return self.model.predict(image, settings=settings)
        stain = read(self.stains[pair.name]).timepoint().channel(None)
        stain.require_finite()
        require_match(target, stain)
        return stain

    def digest(self, stack: str) -> str:
        """Fingerprint of what a stain depends on, besides its input."""
        if self.model is not None:
            return self.seal
        facts = self.stains[stack].stat()
        return f"{self.stains[stack].resolve()} {facts.st_size} {facts.st_mtime_ns}"


def find_methods(sources: Source | Mapping[str, Source | Mapping[int, Source]], stacks: list[str]) -> list[Method]:
    """Open what is to be compared.

    Parameters
    ----------
    sources : path, Model or mapping
        One source, or several by name; a name may have a mapping of seeds to sources.
    stacks : list of str
        Names of the stacks, which folders of stains must have.
    """
    if isinstance(sources, Model):
        sources = {sources.name: sources}
    elif isinstance(sources, (str, Path)):
        sources = {Path(sources).resolve().name: sources}
    methods = []
    for name, given in sources.items():
        if name in RESERVED or not name or set(name) & set('/\\:*?"<>|'):
            raise SpotlightError(
                f"a method cannot be named {name!r}, which means something else; give it another name."
            )
        seeds = given if isinstance(given, Mapping) else {0: given}
        for number, (seed, source) in enumerate(seeds.items()):
            model, stains = _open(source, stacks)
            folder = name if number == 0 else f"{name}.seed-{seed}"
            methods.append(Method(name, seed, folder, model, stains, "" if model is None else model.digest))
    if not methods:
        raise SpotlightError("there is nothing to evaluate. Name a model folder, or a folder of stains.")
    folders = [method.folder for method in methods]
    twice = {folder for folder in folders if folders.count(folder) > 1}
    if twice:
        raise SpotlightError(f"several methods would be written to {', '.join(sorted(twice))}; rename one.")
    return methods


def _open(source: Source, stacks: list[str]) -> tuple[Model | None, dict[str, Path]]:
    if isinstance(source, Model):
        return source, {}
    folder = require_path(source, "Give a model folder, or a folder of stains.")
    if (folder / DESCRIPTION).exists() or not folder.is_dir():
        return load_model(folder), {}
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if is_image(file) and stem(file) in stacks:
            if stem(file) in found:
                both = f"{found[stem(file)].name}, {file.name}"
                raise SpotlightError(f"{folder}: has two stains of {stem(file)}: {both}. Remove one.")
            found[stem(file)] = file
    missing = [stack for stack in stacks if stack not in found]
    if missing:
        raise SpotlightError(
            f"{folder}: is neither a model ({DESCRIPTION}) nor a folder with a stain of every stack; missing "
            f"{len(missing)} of {len(stacks)}: {', '.join(missing[:5])}. Add them, for example as "
            f"{missing[0]}.ome.tif, or take these stacks out of the manifest."
        )
    return None, found
