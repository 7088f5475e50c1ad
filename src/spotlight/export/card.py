"""`write_card`: what a model is, in Markdown, from what its folder records."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from spotlight.files import write_text
from spotlight.images.scaling import scaling_in_words
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
"""Text and link of what users of any model cite."""
MOST_NAMES = 20
"""Stacks that the card names."""
NOT_RECORDED = "not recorded"


def write_card(description: ModelDescription, name: str, path: str | Path) -> Path:
    """Write `model_card` to a file.

    Parameters
    ----------
    description : ModelDescription
        See `spotlight.model.read_description`.
    name : str
        What to call the model.
    path : path
        The file to write, usually ``card.md``.
    """
    write_text(Path(path), model_card(description, name))
    return Path(path)


def model_card(description: ModelDescription, name: str) -> str:
    """Describe a model in Markdown: stain, training, validation, limits, use, versions and citations.

    Nothing is said that ``model.yaml`` does not hold; what is missing there is called "not recorded".
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
            f"{''.join(_to_be_said(description))}"
        ),
        "Versions": _table(
            [("Spotlight", description.spotlight), *description.versions.items(), ("made", description.created)]
        ),
        "Citation": "\n".join(f"- {text}. <{link}>" for text, link in CITATIONS),
    }
    seen = description.input.channel or " or ".join(description.input.modalities) or "transmitted light"
    title = f"# {name}: {_joined(_names(description))} from {seen}"
    return "\n\n".join([title, *(f"## {head}\n\n{text}" for head, text in sections.items())]) + "\n"


def _names(description: ModelDescription) -> list[str]:
    """What the stains are called, in order."""
    return [target.channel or "fluorescence" for target in description.targets]


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _to_be_said(description: ModelDescription) -> Iterator[str]:
    """What a user has to state of an image, besides the file."""
    if description.input.planes == "one":
        yield "\n\nOf a stack, say which plane: `--plane 12` or `plane=12`, zero-based."
    if description.network.conditioning != "none":
        first = description.input.modalities[0]
        yield (
            "\n\nThe network is told the modality. Where the name of the channel does not tell it, say it: "
            f"`--modality {first}` or `modality={first!r}`."
        )


def _table(rows: Any) -> str:
    lines = [f"| {key} | {str(value).replace('|', chr(92) + '|') or NOT_RECORDED} |" for key, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _facts(description: ModelDescription) -> Iterator[tuple[str, str]]:
    expected, targets = description.input, description.targets
    ranges = ["{:g} to {:g}".format(*target.intensity_range) for target in targets]
    flat = [name for name, target in zip(_names(description), targets, strict=True) if target.flatten]
    yield "input channel", expected.channel
    if expected.modalities:
        told = ", of which the network is told one" if description.network.conditioning != "none" else ""
        yield "modalities", f"{', '.join(expected.modalities)}{told}"
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
    yield "background", f"flattened below the foreground threshold{some}" if flat else "as the network gives it"
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
        "Judge it on stacks that it has not seen, with true fluorescence beside them: "
        "`spotlight evaluate manifest.csv --model MODEL --to evaluation`."
    )
    if not figures:
        step = f" The weights are those of step {best['step']}, the last." if "step" in best else ""
        return f"No scores of validation are recorded.{step} {advice}"
    by = training["settings"]["training"].get("choose_by", "loss").replace("_", " ")
    return (
        f"Kept are the weights of step {best['step']}, which had the best {by} on the whole validation stacks "
        f"(number: {len(training['data']['validation'])}). Since they were chosen by these scores, the scores are no "
        f"independent test. {advice}\n\n{_table(figures)}"
    )


def _limits(description: ModelDescription) -> Iterator[str]:
    expected, targets = description.input, description.targets
    if expected.voxel_size is None:
        yield "The voxel size of the training stacks is not recorded, so other magnifications are not refused."
    else:
        sizes = " x ".join(f"{a:g}" if a == b else f"{a:g} to {b:g}" for a, b in expected.voxel_size)
        share = 100 * expected.voxel_size_tolerance
        yield f"It was trained on voxels of {sizes} µm ({expected.axes}); others, beyond {share:g} %, are refused."
    if expected.normalisation == "uint16":
        yield "It takes 16-bit images alone. Nothing evens out their brightness, which has to be that of training."
    known = f"{expected.channel!r}" if expected.channel else " and ".join(expected.modalities)
    channel = known or "a channel whose name is not recorded"
    yield f"It knows {channel} alone. Another contrast, microscope or kind of cell gives a stain, too, but a wrong one."
    if any(target.threshold is not None and not target.flatten for target in targets):
        yield "Below the foreground threshold a stain may hold structure that no fluorescence has."
    if any(target.flatten for target in targets):
        yield "Below the foreground threshold a stain is one value; faint fluorescence is not shown."
    if description.training.get("settings", {}).get("adversarial"):
        yield "It has learnt to look real to a discriminator: texture that looks right need not be in the cell."
    yield "A stain shows what is likely, not what is there: it is no proof of a molecule."
