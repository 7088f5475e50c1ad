"""Is a stain sharper than the fluorescence that it learnt from? Losses with and without the physics of the blur.

    python benchmarks/sharp.py --to DIR [--sparse] [--seeds 5] [--steps 300] [--only NAME ...] [--shifted]

- ``fnet``, ``fnet-flat``, ``spotlight``: the stain of blurred targets, as it is or with a flat background;
- ``fnet-twice``, ``fnet-twice-flat``: F-net with twice the steps, which take longer than those of ``sharp``;
- ``deconvolved-targets``: F-net, trained on targets that Richardson and Lucy's algorithm has deconvolved;
- ``deconvolved-stain``: F-net's stain, deconvolved afterwards, beside it ``deconvolved-fluorescence``;
- ``sharp``: the loss that blurs the stain; ``sharp-na-low`` and ``sharp-na-high``: the same with an aperture 20 % too
  small and too large; ``sharp-foreground``: with a share of Spotlight's loss;
- ``target``: the fluorescence itself; ``repeat``: a second image of it.

One segmentation, tuned on the fluorescence of the training fields, judges all. Fields, segmentation and the trainings
of F-net and Spotlight are those of paper.py: in its folder they are not made again. `--shifted` judges the same models
on the other cells and microscope of that script instead, for reporting alone; deconvolved stains are left out. A killed
run goes on. DIR, or DIR/shifted, then holds scores.csv, sharp.md, and all verdicts in sharp.csv.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import loading, say

loading()

import numpy as np
import pandas as pd
from skimage.restoration import richardson_lucy

from paper import DENSE, FIELDS, SPARSE, score_markdown, shifted, tuned
from spotlight.demonstration import small
from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.images import Stack
from spotlight.losses import SharpLossSettings
from spotlight.metrics.cards import Direction
from spotlight.pairs import Pair, read_pairs
from spotlight.pairs.prepare import find_offset
from spotlight.prediction import load_model
from spotlight.psf import PsfSettings, fluorescence_psf
from spotlight.simulation import SimulationSettings, simulate_pairs
from spotlight.training import Experiment, protocol, train

TARGETS, STAIN, TWICE = "deconvolved-targets", "deconvolved-stain", "fnet-twice"
FLUORESCENCE = "deconvolved-fluorescence"
ITERATIONS = 20
MARGIN = 24
"""Voxels by which a stack is extended before it is deconvolved: along Z with its offset, in the plane by reflection."""
CLAIMS: dict[str, Direction] = {
    "mean_ap": "high",
    "volume_error": "zero",
    "elongation_error": "zero",
    "profile_error": "low",
}


def optics(simulation: SimulationSettings, factor: float = 1.0) -> PsfSettings:
    """The point spread function of the simulated microscope, or one of a wrong aperture."""
    known = PsfSettings(**{name: getattr(simulation.fluorescence, name) for name in PsfSettings.model_fields})
    return known.model_copy(update={"objective_na": known.objective_na * factor})


def deconvolve(stack: Stack, psf: np.ndarray[Any, Any]) -> Stack:
    """Richardson and Lucy's algorithm on what is above the offset; the offset is added again."""
    values = stack.data.astype(np.float32)
    offset = find_offset(values)
    above = np.pad(np.maximum(values - offset, 0), ((MARGIN, MARGIN), (0, 0), (0, 0)))
    above = np.pad(above, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), mode="reflect")
    scale = float(above.max())
    sharp = richardson_lucy(above / scale, psf, ITERATIONS, clip=False, filter_epsilon=1e-6) * scale
    inside = (slice(MARGIN, -MARGIN),) * 3
    return Stack((sharp[inside] + offset).astype(np.float32), stack.axes, stack.voxel_size, stack.channels)


def deconvolved_targets(manifest: Path, to: Path, psf: np.ndarray[Any, Any]) -> Path:
    """The same pairs for training, with deconvolved targets."""
    rows = []
    for pair in read_pairs(manifest):
        if pair.split in ("train", "val"):
            file = to / f"{pair.name}.ome.tif"
            if not file.exists():
                to.mkdir(parents=True, exist_ok=True)
                deconvolve(pair.read_target(), psf).save(file)
            rows.append(
                {"input": pair.input.resolve(), "input_channel": pair.input_channel, "target": file.resolve()}
                | {"split": pair.split}
            )
    pd.DataFrame(rows).to_csv(to / "pairs.csv", index=False)
    return to / "pairs.csv"


def deconvolved(
    images: Callable[[Pair], Stack], manifest: Path, to: Path, psf: np.ndarray[Any, Any], split: str
) -> Path:
    """A folder of deconvolved images, one of each pair."""
    if to.is_dir():
        return to
    making = to.with_name(f"{to.name}-unfinished")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for pair in read_pairs(manifest):
        if pair.split == split:
            deconvolve(images(pair), psf).save(making / f"{pair.name}.ome.tif")
    making.rename(to)
    return to


def stain_of(model: Path) -> Callable[[Pair], Stack]:
    """What a model makes of a pair's input."""
    network = load_model(model)
    return lambda pair: network.predict(pair.input, channel=pair.input_channel, flatten=False)


def experiments(simulation: SimulationSettings, steps: int | None) -> dict[str, Experiment]:
    """What is trained, but for deconvolved targets, which F-net learns."""
    base = small("spotlight-sharp", 0)
    training = base.training.model_copy(update={"batch_size": protocol("spotlight-sharp").training.batch_size})

    def sharp(**changes: Any) -> Experiment:
        loss = SharpLossSettings(**({"optics": optics(simulation)} | changes))
        return base.model_copy(update={"loss": loss, "training": training})

    made = {
        "fnet": small("fnet", 0),
        TWICE: small("fnet", 0),
        "spotlight": small("spotlight", 0),
        "sharp": sharp(),
        "sharp-foreground": sharp(foreground=0.3),
        "sharp-na-low": sharp(optics=optics(simulation, 0.8)),
        "sharp-na-high": sharp(optics=optics(simulation, 1.2)),
    }
    for name, one in made.items():
        count = (steps or one.training.steps) * (2 if name == TWICE else 1)
        made[name] = one.model_copy(update={"training": one.training.model_copy(update={"steps": count})})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--sparse", action="store_true", help="few bright nuclei instead of a dense colony")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", nargs="+", help="of the methods above, all but those named flat")
    parser.add_argument("--split", default="test", help="val while choosing settings, test to report")
    parser.add_argument("--shifted", action="store_true", help="judge on other cells on another microscope")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    simulation = SPARSE if arguments.sparse else DENSE
    manifest = simulate_pairs(arguments.to / "data", FIELDS, simulation, seed=7, workers=arguments.workers)
    settings = EvaluationSettings(split=arguments.split, segmentation=tuned(manifest, arguments.to, True))
    psf = fluorescence_psf(optics(simulation), simulation.voxel_um)
    known = experiments(simulation, arguments.steps)
    known |= {TARGETS: known["fnet"]}
    chosen = set(arguments.only or [*known, STAIN]) - ({STAIN} if arguments.shifted else set())
    sources: dict[str, Any] = {}
    for seed in range(arguments.seeds):
        for name in [name for name in known if name in chosen or (name == "fnet" and STAIN in chosen)]:
            print(f"{name}, seed {seed}", flush=True)
            pairs = deconvolved_targets(manifest, arguments.to / "deconvolved", psf) if name == TARGETS else manifest
            model = train(
                pairs,
                arguments.to / "models" / name / f"seed-{seed}",
                known[name],
                seed=seed,
                cache=arguments.to / "cache",
                progress=say,
            )
            sources.setdefault(name, {})[seed] = model
            if name in ("fnet", TWICE):
                sources.setdefault(f"{name}-flat", {})[seed] = load_model(model).flattened()
            if name == "fnet" and STAIN in chosen:
                stains = arguments.to / "deconvolved-stains" / f"{arguments.split}-seed-{seed}"
                made = deconvolved(stain_of(model), manifest, stains, psf, arguments.split)
                sources.setdefault(STAIN, {})[seed] = made
    to = arguments.to
    if STAIN in chosen:
        images = arguments.to / "deconvolved-stains" / f"{arguments.split}-fluorescence"
        sources[FLUORESCENCE] = deconvolved(Pair.read_target, manifest, images, psf, arguments.split)
    if arguments.shifted:
        to = to / "shifted"
        manifest = simulate_pairs(to / "data", {"test": 6}, shifted(simulation), seed=11, workers=arguments.workers)
    scores = evaluate(manifest, sources, to, settings, workers=arguments.workers, progress=say).scores
    text = f"{score_markdown(scores)}\n\nTrainings of each: {arguments.seeds}.\n"
    compared = []
    for baseline in ("target", "fnet", "fnet-flat", TWICE, f"{TWICE}-flat", STAIN, "spotlight"):
        others = [name for name in sources if name not in (baseline, FLUORESCENCE) and not name.startswith("fnet")]
        if baseline in {"target", *sources} and others:
            compared.append(compare_methods(scores, baseline, CLAIMS, others))
            text += "\n" + "\n".join(f"- {said}" for said in compared[-1]["verdict"])
    if compared:
        pd.concat(compared).to_csv(to / "sharp.csv", index=False, float_format="%.6g")
    write_text(to / "sharp.md", f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
