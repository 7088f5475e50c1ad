"""`write_card`: describe a model in Markdown, from the records in its folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spotlight.files import write_text
from spotlight.images.joining import is_plane
from spotlight.images.scaling import FIXED, scaling_in_words
from spotlight.model import ModelDescription
from spotlight.report.training_page import figure_titles, network_in_words

CITATIONS = (
    (
        "Kalinin et al. 2025: Foreground-aware Virtual Staining for Accurate 3D Cell Morphological Profiling",
        "https://arxiv.org/abs/2507.05383",
    ),
    (
        "Ounkomol et al. 2018: Label-free prediction of three-dimensional fluorescence images from transmitted-light "
        "microscopy. Nature Methods 15, 917-920",
        "https://doi.org/10.1038/s41592-018-0111-2",
    ),
)
"""Text and link of the publications that users of any model should cite."""
MOST_NAMES = 20
"""Most stacks that the card names."""
NOT_RECORDED = "not recorded"


def write_card(description: ModelDescription, name: str, path: str | Path) -> Path:
    """Write `model_card` to a file.

    Parameters
    ----------
    description : ModelDescription
        See `spotlight.model.read_description`.
    name : str
        Name of the model.
    path : path
        The file to write, usually ``card.md``.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.export import write_card
    >>> path = write_card(spotlight.load_model("demo-nuclei").description, "demo-nuclei", "card.md")
    >>> [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("## ")][:4]
    ['## What it does', '## Training', '## Validation', '## Limits']
    """
    write_text(Path(path), model_card(description, name))
    return Path(path)


def model_card(description: ModelDescription, name: str) -> str:
    """Describe a model in Markdown: stain, training, validation, limits, use, versions and citations.

    All facts come from ``model.yaml``; the card says "not recorded" for facts that are missing there.

    Parameters
    ----------
    description : ModelDescription
        See `spotlight.model.read_description`.
    name : str
        Name of the model.

    Returns
    -------
    str
        Markdown.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.export import model_card
    >>> model = spotlight.load_model("demo-nuclei")  # comes with Spotlight
    >>> model_card(model.description, "demo-nuclei").splitlines()[0]
    '# demo-nuclei: DNA from transmitted light'
    """
    sections = {
        "What it does": _table(_facts(description)),
        "Training": _table(_training(description.training)),
        "Validation": _validation(description.training),
        "Limits": "\n".join(f"- {line}" for line in _limits(description)),
        "How to use it": (
            f"With Spotlight, from the model folder `{name}`:\n\n```sh\n"
            f"spotlight predict {name} new.ome.tif --to stains\n```\n\n```python\nimport spotlight\n\n"
            f'stain = spotlight.load_model("{name}").predict("new.ome.tif")\nstain.save("stain.ome.tif")\n```'
            f"{''.join(_needed_from_user(description))}"
        ),
        "Versions": _table(
            [("Spotlight", description.spotlight), *description.versions.items(), ("made", description.created)]
        ),
        "Citation": "\n".join(f"- {text}. <{link}>" for text, link in CITATIONS),
    }
    seen = (
        _joined([name for name in description.input.names if name])
        or " or ".join(description.input.modalities)
        or "transmitted light"
    )
    title = f"# {name}: {_joined(_names(description))} from {seen}"
    return "\n\n".join([title, *(f"## {head}\n\n{text}" for head, text in sections.items())]) + "\n"


def _names(description: ModelDescription) -> list[str]:
    """Return the names of the stains, in order."""
    return [target.channel or "fluorescence" for target in description.targets]


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _needed_from_user(description: ModelDescription) -> Iterator[str]:
    """What a user must state besides the image file."""
    if description.input.planes == "one":
        yield "\n\nFor a stack, state which plane to stain: `--plane 12` or `plane=12`, zero-based."
    if any(map(is_plane, description.input.names)):
        options = " ".join(f"--channel {name!r}" for name in description.input.names)
        yield f"\n\nThe channels are planes of a stack. State which they are in yours, in order: `{options}`."
    if description.network.conditioning != "none":
        first = description.input.modalities[0]
        yield (
            "\n\nThe network needs the modality. If the name of the channel does not state it, give it: "
            f"`--modality {first}` or `modality={first!r}`."
        )


def _table(rows: Any) -> str:
    lines = [f"| {key} | {str(value).replace('|', chr(92) + '|') or NOT_RECORDED} |" for key, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _facts(description: ModelDescription) -> Iterator[tuple[str, str]]:
    expected, targets = description.input, description.targets
    ranges = ["{:g} to {:g}".format(*target.intensity_range) for target in targets]
    flat = [name for name, target in zip(_names(description), targets, strict=True) if target.flatten]
    if expected.further_channels:
        yield "input channels, in order", ", ".join(name or "without a name" for name in expected.names)
    else:
        yield "input channel", expected.channel
    if expected.modalities:
        given = "; the network takes one of them as input" if description.network.conditioning != "none" else ""
        yield "modalities", f"{', '.join(expected.modalities)}{given}"
    if len(targets) == 1:
        yield "stained channel", targets[0].channel
    else:
        yield "stained channels", ", ".join(_names(description))
        ranges = [f"{name} {limits}" for name, limits in zip(_names(description), ranges, strict=True)]
    yield "axes", expected.axes
    if expected.planes == "one":
        yield "planes", "any one plane of a stack, alone"
    yield "voxels of the network", "as in the file" if expected.grid == "native" else f"{expected.grid:g} µm, cubic"
    yield "input is normalised by", scaling_in_words(expected.normalisation, expected.central_planes)
    yield "output", f"intensities of the training targets, {'; '.join(ranges)}, float32"
    some = f" ({', '.join(flat)})" if len(flat) < len(targets) else ""
    yield "background", f"flattened below the foreground threshold{some}" if flat else "not flattened"
    yield "network", network_in_words(description.network.model_dump())


def _training(training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "imported" in training:
        yield "imported from", f"a checkpoint of the original F-net code, {training['imported']}"
    settings, data = training.get("settings", {}), training.get("data", {})
    for split in ("train", "validation"):
        stacks = [stack["name"] if isinstance(stack, dict) else str(stack) for stack in data.get(split, [])]
        more = f" and {len(stacks) - MOST_NAMES} more" if len(stacks) > MOST_NAMES else ""
        count = f"{len(stacks)}: {', '.join(stacks[:MOST_NAMES])}{more}" if stacks else ""
        yield f"{split} stacks", count or ("none" if data else "")
    yield "protocol", settings.get("protocol", "")
    yield "loss", ", ".join(f"{key} {value}" for key, value in settings.get("loss", {}).items() if value is not None)
    if settings.get("adversarial"):
        game = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings["adversarial"].items())
        yield "adversarial loss", f"a discriminator per stain: {game}"
    if "balance" in settings:
        yield "drawn equally often", settings["balance"]
    run = settings.get("training", {})
    keys = ("steps", "batch_size", "learning_rate", "schedule", "ema", "seed")
    yield "run", ", ".join(f"{key.replace('_', ' ')} {run[key]}" for key in keys if key in run)
    yield "patches", " x ".join(map(str, training.get("patch", [])))
    yield "arithmetic", training.get("precision", "")


def _validation(training: dict[str, Any]) -> str:
    best = training.get("best", {})
    titles = figure_titles(training["settings"]) if best else {}
    figures = [(titles[key], f"{value:.4g}") for key, value in best.items() if key in titles]
    advice = (
        "Evaluate it on stacks that it was not trained on and that have true fluorescence: "
        "`spotlight evaluate manifest.csv --model MODEL --to evaluation`."
    )
    if not figures:
        step = f" The weights are those of step {best['step']}, the last one." if "step" in best else ""
        return f"No validation scores are recorded.{step} {advice}"
    by = training["settings"]["training"].get("choose_by", "loss").replace("_", " ")
    return (
        f"The weights are those of step {best['step']}, which had the best {by} on the whole validation stacks "
        f"(number of stacks: {len(training['data']['validation'])}). The weights were chosen by these scores, so the "
        f"scores are not an independent test. {advice}\n\n{_table(figures)}"
    )


def _limits(description: ModelDescription) -> Iterator[str]:
    expected, targets = description.input, description.targets
    if expected.voxel_size is None:
        yield "The voxel size of the training stacks is not recorded, so stacks of other magnifications are accepted."
    else:
        sizes = " x ".join(f"{a:g}" if a == b else f"{a:g} to {b:g}" for a, b in expected.voxel_size)
        share = 100 * expected.voxel_size_tolerance
        yield (
            f"It was trained on voxels of {sizes} µm ({expected.axes}). Stacks whose voxel size differs by more than "
            f"{share:g} % are refused."
        )
    if expected.normalisation in FIXED:
        yield "It accepts only 16-bit images. Brightness is not normalised, so it must be that of the training images."
    known = _joined([repr(name) for name in expected.names if name]) or " and ".join(expected.modalities)
    channel = known or "a channel whose name is not recorded"
    yield (
        f"It was trained only on {channel}. For another contrast, microscope or kind of cell it also gives a stain, "
        "but a wrong one."
    )
    if any(target.threshold is not None and not target.flatten for target in targets):
        yield "Below the foreground threshold a stain may show structure that real fluorescence does not have."
    if any(target.flatten for target in targets):
        yield "Below the foreground threshold a stain has a single value; faint fluorescence is not shown."
    if description.training.get("settings", {}).get("adversarial"):
        yield "It was trained with a discriminator: texture that looks real may not exist in the cell."
    yield "A stain shows what is likely, not what is present. It does not prove that a molecule is there."
