"""Real sets: F-net, Spotlight's default and the published loss, trained alike and judged by one frozen segmenter.

    python benchmarks/real.py DATA --to DIR [--set phase cells defocus neurons bacteria coli allen] [--seeds 3]
        [--steps 600] [--small] [--validate] [--candidates] [--only NAME ...]

DATA holds the folders of these sets:

- ``phase_nuclei_2d/s10.ome.tif``, ``s11.ome.tif`` (phase contrast and nuclei, two positions of one well, cell-AAP):
  each position trains once and the other is judged, in quarters. One well: nothing here speaks of another day or dish.
- ``jurkat_cells_2d/PHASE.ome.tif`` (brightfield and DNA of single cells of a flow cytometer, sorted by phase of the
  cell cycle): three mosaics of 576 cells train, a fourth is judged. Does virtual DNA content tell the phases apart?
- the four small sets of real_sets.py: ``defocus``, ``neurons``, ``bacteria`` and ``coli``, both ways round;
- ``allen_dna_3d/brightfield_dna.ome.tif`` (one brightfield and DNA volume; the left two thirds train, the right third
  is judged against the segmentation of its fluorescence): ten nuclei, a smoke test.

All methods have the default's network, steps, patches and learning rate, and keep the weights of the last step. "-flat"
and "-raw" are the same trainings with and without everything below the foreground threshold made background. `--small`
takes a network of depth 3 with 8 channels and four patches of 64 x 64 pixels instead, for runs of seconds. `--validate`
keeps the last of three training fields of ``coli`` for choosing among weights, every 100 steps. `--candidates` adds
what the default was chosen from, and what tells apart loss and patches: F-net with patches that hold foreground, like
the default's, and the default with half of its patches from anywhere, with targets centred at their mean, or both.
Nothing that is there already is trained again. A set's folder then holds scores.csv, comparison.csv and scores.md.
"""

import argparse
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import loading, say

loading()

import numpy as np
import pandas as pd
import tifffile

from frozen import cells, chance_of_order, content, correlation, judge, true_nuclei
from real_sets import SETS, RealSet
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.images import Stack, read
from spotlight.metrics.cards import Direction
from spotlight.networks import FNetSettings
from spotlight.pairs import Pair
from spotlight.prediction import load_model
from spotlight.report import write_report
from spotlight.report.text import score_text
from spotlight.segmentation import SegmentationSettings
from spotlight.training import Experiment, protocol, train

BASELINE = "fnet"
PATCHES = "fnet-on-foreground"
"""F-net's loss with the default's patches: what is ahead of F-net and not of this owes it to the patches."""

ROWS = 24
EDGE = 40
"""Cells along a side of a mosaic, and pixels along a side of a cell."""

MITOSIS = ("Prophase", "Metaphase", "Anaphase", "Telophase")
NUCLEI: dict[str, Direction] = {"pcc": "high", "pcc_around": "high", "ap50": "high", "ap75": "high"}
CLAIMS: dict[str, dict[str, Direction]] = {
    "phase": NUCLEI,
    **dict.fromkeys(SETS, NUCLEI),
    "cells": {"pcc": "high", "content_r": "high", "content_error": "low", "g1_s": "high", "g1_mitosis": "high"},
}


CANDIDATES = {
    "former": {"average": "masks", "weight": 0.25, "background": 0.25, "margin": 0.0, "settle": None},
    "hinge": {"weight": 0.8, "background": 0.8, "margin": 0.0, "settle": None},
    "margin": {"settle": None},
}
"""Changes to the default's loss: that of before, errors over all voxels alone, and with a margin but not settled."""


def experiments(steps: int, candidates: bool, small: bool) -> dict[str, Experiment]:
    """F-net, the default, and the published loss with its author's mask and threshold recipe at the default's size."""
    default = protocol("spotlight")
    published = protocol("spotlight-2025")
    chosen = {
        "fnet": protocol("fnet"),
        "spotlight": default,
        "published": default.model_copy(
            update={"loss": published.loss, "preparation": published.preparation, "flatten_background": False}
        ),
    }
    if candidates:
        for name, change in CANDIDATES.items():
            chosen[name] = default.model_copy(update={"loss": default.loss.model_copy(update=change)})
        centred = default.preparation.model_copy(update={"target_center": "mean"})
        anywhere = default.patches.model_copy(update={"anywhere": 0.5})
        least = {"least_foreground": default.patches.least_foreground}
        fnet = chosen["fnet"]
        chosen |= {
            "centred": default.model_copy(update={"preparation": centred}),
            "anywhere": default.model_copy(update={"patches": anywhere}),
            "centred-anywhere": default.model_copy(update={"preparation": centred, "patches": anywhere}),
            PATCHES: fnet.model_copy(update={"patches": fnet.patches.model_copy(update=least)}),
        }
    for name, experiment in chosen.items():
        changes = {"steps": steps, "validate_every": steps, "checkpoint_every": 100, "validation_share": 0}
        update: dict[str, Any] = {"preparation": experiment.preparation.model_copy(update={"grid": "native"})}
        if small:
            changes |= {"batch_size": 4, "micro_batches": 1}
            update["network"] = FNetSettings(depth=3, mult_chan=8)
            update["patches"] = experiment.patches.model_copy(update={"size": (64, 64)})
        chosen[name] = experiment.model_copy(
            update=update | {"training": experiment.training.model_copy(update=changes)}
        )
    return chosen


def validated(experiment: Experiment) -> Experiment:
    """The same, which keeps the weights of the best of many validations."""
    return experiment.model_copy(update={"training": experiment.training.model_copy(update={"validate_every": 100})})


def stains(
    pairs: list[Pair], images: list[Stack], chosen: dict[str, Experiment], seeds: int, to: Path
) -> Iterator[tuple[str, int, list[Any]]]:
    """Train every method with every seed, and stain images with and without a flat background."""
    for name, experiment in chosen.items():
        for seed in range(seeds):
            print(f"{to}: {name}, seed {seed}", flush=True)
            model = load_model(train(pairs, to / f"{name}-{seed}", experiment, seed=seed, progress=say))
            target = model.description.target
            found = [np.asarray(model.predict(image, normalised=True, flatten=False).data) for image in images]
            raw = [target.to_intensity(values) for values in found]
            flat = [target.to_intensity(target.flattened(values)) for values in found]
            if target.flatten:
                yield from ((name, seed, flat), (f"{name}-raw", seed, raw))
            else:
                yield from ((name, seed, raw), (f"{name}-flat", seed, flat))


def phase(data: Path, to: Path, chosen: dict[str, Experiment], seeds: int) -> pd.DataFrame:
    """Both positions both ways; a seed's two trainings count as one."""
    files = [data / "phase_nuclei_2d" / f"{name}.ome.tif" for name in ("s10", "s11")]
    rows = []
    for first, second in (files, files[::-1]):
        position = second.name.split(".")[0]
        pairs = [Pair(first.name[:3], first, first, split="train", input_channel="Phase", target_channel="Nuclei")]
        fluorescence = read(second, channel="Nuclei").data.astype(np.float32)
        truth = true_nuclei(fluorescence)
        images = [read(second, channel=0)]
        every = [("target", 0, [fluorescence]), *stains(pairs, images, chosen, seeds, to / "models" / first.name[:3])]
        for method, seed, (stain,) in every:
            for number, scores in enumerate(judge(stain, fluorescence, truth)):
                rows.append({"stack": f"{position}-{number}", "method": method, "seed": seed, **scores})
    return pd.DataFrame(rows)


def both_ways(
    one: RealSet, to: Path, chosen: dict[str, Experiment], seeds: int, validate: bool = False
) -> pd.DataFrame:
    """Each group trains, and the other is judged; a seed's two trainings count as one.

    ``fitted`` is the correlation with the fluorescence that was trained on: far above ``pcc``, it was learnt by heart.
    """
    rows = []
    for number, (learns, tests) in enumerate((one.groups, one.groups[::-1])):
        pairs = [replace(pair, split="train") for pair in learns]
        if validate:
            pairs[-1] = replace(pairs[-1], split="val")
        both = [pair.read_both() for pair in (*tests, *learns)]
        images, fluorescence = [image for image, _ in both], [np.asarray(stack.data).squeeze() for _, stack in both]
        every = [("target", 0, fluorescence), *stains(pairs, images, chosen, seeds, to / "models" / str(number))]
        for method, seed, found in every:
            own = zip(found[len(tests) :], fluorescence[len(tests) :], strict=True)
            fitted = float(np.mean([correlation(stain, true) for stain, true in own]))
            for pair, stain in zip(tests, found, strict=False):
                for part, scores in enumerate(one.scores(pair, stain)):
                    who = {"stack": f"{pair.name}-{part}", "method": method, "seed": seed}
                    rows.append(who | scores | {"fitted": fitted})
    return pd.DataFrame(rows)


def jurkat(data: Path, to: Path, chosen: dict[str, Experiment], seeds: int) -> pd.DataFrame:
    """Single cells in mosaics, since each is too small to be normalised by itself."""
    files, phases = mosaics(data / "jurkat_cells_2d", to / "mosaics")
    pairs = [Pair(file.name[:8], file, file, split="train", input_channel=0, target_channel=1) for file in files[:-1]]
    fluorescence = read(files[-1], channel=1).data
    real = cells(fluorescence, EDGE)
    amount = content(real)
    mitosis = np.isin(phases, MITOSIS)
    rows = []
    images = [read(files[-1], channel=0)]
    for method, seed, (stain,) in [("target", 0, [fluorescence]), *stains(pairs, images, chosen, seeds, to / "models")]:
        found = cells(np.asarray(stain), EDGE)
        virtual = content(found)
        # Cells in eight parts, so that there is a spread between parts; phases are mixed.
        for number, part in enumerate(np.array_split(np.arange(len(real)), 8)):
            a, b, stage = virtual[part], amount[part], phases[part]
            scores = {
                "pcc": float(np.corrcoef(found[part].ravel(), real[part].ravel())[0, 1]),
                "content_r": float(np.corrcoef(a, b)[0, 1]),
                "content_error": float(np.median(np.abs(a / b - 1))),
                "content_bias": float(np.median(a / b - 1)),
                "g1_s": chance_of_order(a[stage == "G1"], a[stage == "S_phase"]),
                "g1_mitosis": chance_of_order(a[stage == "G1"], a[mitosis[part]]),
            }
            rows.append({"stack": f"part-{number}", "method": method, "seed": seed, **scores})
    return pd.DataFrame(rows)


def mosaics(data: Path, to: Path) -> tuple[list[Path], np.ndarray[Any, Any]]:
    """Write four mosaics of cells in random order; gives the files, and the phases of the cells of the last one."""
    found = {file.name.split(".")[0]: tifffile.imread(file) for file in sorted(data.glob("*.ome.tif"))}
    images = np.concatenate(list(found.values()))
    phases = np.repeat(list(found), [len(part) for part in found.values()])
    order = np.random.default_rng(0).permutation(len(images))
    count = ROWS * ROWS
    to.mkdir(parents=True, exist_ok=True)
    files = [to / f"mosaic-{number}.ome.tif" for number in range(4)]
    for number, file in enumerate(files):
        if file.exists():  # a file that is written anew has another UUID, which would end a run that goes on
            continue
        part = images[order[number * count : (number + 1) * count]].reshape(ROWS, ROWS, 2, EDGE, EDGE)
        mosaic = part.transpose(2, 0, 3, 1, 4).reshape(2, ROWS * EDGE, ROWS * EDGE)
        tifffile.imwrite(file, mosaic, metadata={"axes": "CYX", "Channel": {"Name": ["Brightfield", "DNA"]}})
    return files, phases[order[3 * count : 4 * count]]


def allen(data: Path, to: Path, steps: int) -> None:
    """One volume: X 0 to 84 trains, the rest is stained."""
    file = data / "allen_dna_3d" / "brightfield_dna.ome.tif"
    parts = {"train": ":, :, 0:84", "test": ":, :, 84:128"}
    pairs = [
        Pair(split, file, file, split=split, input_channel="Brightfield", target_channel="DNA", region=region)
        for split, region in parts.items()
    ]
    # The volume is 38 µm wide and cut through the cells: nuclei at its borders count.
    settings = EvaluationSettings(segmentation=SegmentationSettings(clear_border=False, min_size=50, max_size=2500))
    models = {
        name: load_model(train(pairs, to / "models" / name, protocol(name), steps=steps, progress=say))
        for name in ("fnet", "spotlight")
    }
    evaluation = evaluate(pairs, models | {"fnet-flat": models["fnet"].flattened()}, to, settings)
    print(f"\nallen\n{score_text(evaluation.scores)}\n{write_report(to, 'Real data: allen')}")


def summary(scores: pd.DataFrame, comparison: pd.DataFrame, seeds: int) -> str:
    """Mean over stacks and trainings ± the spread between trainings, and the verdicts."""
    names = [name for name in scores if name not in ("stack", "method", "seed")]
    each = scores.groupby(["method", "seed"], sort=False)[names].mean().groupby("method", sort=False)
    mean, spread = each.mean(), each.std()
    lines = [
        f"Trainings of each method: {seeds}.",
        "",
        f"| | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for method in mean.index:
        cells = [
            f"{mean.loc[method, name]:.3f}" + (f" ± {sd:.3f}" if (sd := spread.loc[method, name]) > 0 else "")
            for name in names
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in comparison["verdict"])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=["phase", "cells"], choices=["phase", "cells", *SETS, "allen"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--small", action="store_true", help="a small network and small patches")
    parser.add_argument("--validate", action="store_true", help="of coli: the last field of three chooses the weights")
    parser.add_argument("--candidates", action="store_true", help="what the default was chosen from, too")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the methods; fnet is always among them")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("spotlight").setLevel(logging.INFO)  # how many of the positions hold foreground
    for name in arguments.set:
        folder = arguments.to / name
        if name == "allen":
            allen(arguments.data, folder, arguments.steps)
            continue
        chosen = experiments(arguments.steps, arguments.candidates, arguments.small)
        if arguments.only:
            chosen = {one: chosen[one] for one in chosen if one in {BASELINE, *arguments.only}}
        if name in SETS:
            if arguments.validate:
                chosen = {one: validated(experiment) for one, experiment in chosen.items()}
            scores = both_ways(SETS[name](arguments.data, folder), folder, chosen, arguments.seeds, arguments.validate)
        else:
            scores = {"phase": phase, "cells": jurkat}[name](arguments.data, folder, chosen, arguments.seeds)
        scores.to_csv(folder / "scores.csv", index=False, float_format="%.6g")
        compared = [compare_methods(scores, BASELINE, CLAIMS[name], [f"{BASELINE}-flat", *list(chosen)[1:]])]
        others = [one for one in chosen if one not in (BASELINE, PATCHES)]
        if PATCHES in chosen and others:
            compared.append(compare_methods(scores, PATCHES, CLAIMS[name], others))
        comparison = pd.concat(compared)
        comparison.to_csv(folder / "comparison.csv", index=False, float_format="%.6g")
        text = summary(scores, comparison, arguments.seeds)
        write_text(folder / "scores.md", text)
        print(f"\n{name}\n{text}")


if __name__ == "__main__":
    main()
