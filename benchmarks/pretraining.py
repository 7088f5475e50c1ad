"""What pretraining gives: a few labelled stacks, from scratch, from masked reconstruction, and from simulated stacks.

    python benchmarks/pretraining.py DATA --to DIR [--part cfos|microglia|simulated|heads ...] [--draws 5] [--steps 60]

DATA holds ``lightsheet_spots_3d`` (c-Fos cells and microglia of cleared mouse brains with masks, MIT, erturklab/
delivr_cfos). Stacks of one brain (the number in the name) are drawn from or judged on, never both; backbones see the
stacks that are drawn from, without their masks. "simulated" does the same on simulated vessels, spots and nuclei of one
microscope, with a start from simulated stacks of the other. "heads" trains from the backbone of c-Fos with and without
the prior in the head, and with and without its faster rate. A run that was interrupted goes on.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

import harness

MOST_DRAWN = 5
SHOTS = (5,)
SPLITS = {"cfos": ("cFos", "1008"), "microglia": ("microglia", "2248")}
"""Beginning of the names, and the brain that is judged on."""
OTHER = {"simulated": ("vessels", "spots", "nuclei")}


def experiment(pretext: str, steps: int, seed: int = 0, **task: object) -> object:
    """Settings that fit into minutes on one core."""
    from spotlight.networks import FNetSettings
    from spotlight.training import Experiment, pretraining

    values = pretraining(pretext, steps=steps, batch_size=2, seed=seed).model_dump()
    values["network"] = FNetSettings(depth=2, mult_chan=4, init="torch").model_dump()
    values["patches"]["size"] = (8, 32, 32)
    values["task"] |= task
    values["training"] |= {"learning_rate": 2e-3, "schedule": "cosine", "precision": "float32"}
    values["training"] |= {"validate_every": max(1, steps // 2), "checkpoint_every": 100}
    return Experiment.parse(values, "benchmark")


def real(data: Path, part: str, to: Path) -> Path:
    """Write the manifest of real stacks, split by brain."""
    start, judged = SPLITS[part]
    folder = data / "lightsheet_spots_3d"
    rows = []
    for mask in sorted(folder.glob(f"{start}_*_mask.ome.tif")):
        image = mask.with_name(mask.name.replace("_mask", ""))
        brain = mask.name.split("_")[1]
        rows.append(
            {
                "input": image,
                f"mask:{part}": mask,
                "voxel_size": "6 1.62 1.62",
                "group": brain,
                "split": "test" if brain == judged else "train",
            }
        )
    to.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(to / "masks.csv", index=False)
    return to / "masks.csv"


def simulated(structure: str, to: Path) -> Path:
    """Simulate stacks of one structure: eight to draw from, eight to judge on."""
    from spotlight.simulation.light_sheet import LightSheetSettings, simulate_light_sheet
    from spotlight.simulation.sheet import MICROSCOPES

    fine = MICROSCOPES["cleared-12x"].model_copy(update={"voxel_um": MICROSCOPES["cleared-2x"].voxel_um})
    settings = LightSheetSettings(shape=(24, 64, 64), structures=(structure,), microscope=fine)
    return simulate_light_sheet(to / "data", {"train": 8, "test": 8}, settings, seed=7)


def starts(
    manifest: Path, to: Path, structure: str, arguments: object, microscope: str | None = None
) -> dict[str, Path]:
    """Pretrain on the stacks without their masks, and on simulated ones."""
    from spotlight.training import pretrain

    hidden = pretrain(manifest, to / "hidden", experiment("hidden", arguments.pretrain_steps))
    source = microscope or manifest
    of = experiment("simulated", arguments.pretrain_steps)
    made = pretrain(source, to / "simulated", of, pretext="simulated", structures=(structure,), fields=8)
    return {"hidden": hidden, "simulated": made}


def compare(
    part: str, structure: str, manifest: Path, to: Path, kind: str, arguments: object, microscope: str | None = None
) -> None:
    """Print the means of all methods, and the answers."""
    from spotlight.comparison import FewShotSettings, few_shot
    from spotlight.report import write_few_shot_page

    found = starts(manifest, to, structure, arguments, microscope)
    settings = FewShotSettings(shots=SHOTS, draws=arguments.draws, steps=arguments.steps)
    name = part if part in SPLITS else structure
    base = experiment("simulated", arguments.steps, structures={name: kind})
    result = few_shot(manifest, to / "few-shot", found, settings, experiment=base)
    write_few_shot_page(result.folder)
    zero = without_labels(manifest, found["simulated"])
    title = f"{part}, {structure}" if part not in SPLITS else part
    print(f"\n{title}: {SHOTS[0]} labelled, {arguments.draws} draws, {arguments.steps} steps\n", flush=True)
    others = ("cl_dice",) if kind == "contiguous" else ("panoptic_dice", "component_f1")
    table = harness.Table(
        arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-{title.replace(', ', '-')}"),
        "method",
        "Dice",
        "spread of draws",
        *others,
    )
    for method, own in result.scores.groupby("method", sort=False):
        draws = own.groupby("seed")["mask_dice"].mean()
        more = [f"{own[name].mean():.3f}" for name in others]
        table.add(method, f"{draws.mean():.3f}", f"{draws.std(ddof=1):.3f}", *more, dice=float(draws.mean()))
    table.add("simulated, no label", f"{zero:.3f}", "–", *["–"] * len(others), dice=zero)
    for line in result.verdicts():
        print(f"- {line}", flush=True)


def without_labels(manifest: Path, model: Path) -> float:
    """Mean Dice of a model of simulated stacks, as it is."""
    from spotlight.metrics import mask_dice
    from spotlight.pairs import read_pairs

    judged = [pair for pair in read_pairs(manifest, column="mask") if pair.split == "test"]
    return float(
        np.mean([mask_dice(pair.read_mask(pair.read_input()).data > 0, found(model, pair)) for pair in judged])
    )


def found(folder: Path, pair: object) -> np.ndarray:
    """What a model finds in a stack."""
    from spotlight.images.joining import all_channels
    from spotlight.prediction import PredictionSettings, load_model

    image, model = pair.read_input(), load_model(folder)
    result, _ = model.stain(model.accept(image, all_channels(image)), PredictionSettings(precision="float32"))
    return result.data.reshape(image.shape) >= 0.5


def heads(data: Path, to: Path, arguments: object) -> None:
    """Train from the backbone of c-Fos with each head, on a part of each stack; Dice of all voxels together."""
    from dataclasses import replace

    from spotlight.metrics import mask_dice
    from spotlight.pairs import read_pairs
    from spotlight.training import train

    manifest = real(data, "cfos", to / "cfos")
    backbone = starts(manifest, to / "cfos", "spots", arguments)["hidden"]
    listed = [replace(pair, region=":, 0:64, 0:64") for pair in read_pairs(manifest, column="mask")]
    pool, judged = ([pair for pair in listed if (pair.split == "test") == test] for test in (False, True))
    truth = np.concatenate([pair.read_mask(pair.read_input()).data > 0 for pair in judged])
    print(f"\nheads, c-Fos, {SHOTS[0]} labelled, {arguments.draws} draws, {arguments.steps} steps\n", flush=True)
    file = arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-heads")
    table = harness.Table(file, "prior in the head", "rate of the head", "Dice of each draw")
    for prior in (True, False):
        for rate in (5.0, 1.0):
            dice = []
            for draw in range(arguments.draws):
                drawn = [pool[n] for n in sorted(np.random.default_rng(draw).permutation(len(pool))[: SHOTS[0]])]
                base = experiment("simulated", arguments.steps, draw, prior_head=prior)
                changes = {"head_rate": rate, "finetune": backbone, "validation_share": 0.0, "choose_by": "loss"}
                own = base.model_copy(update={"training": base.training.model_copy(update=changes)})
                model = train(drawn, to / "heads" / f"{prior}-{rate:g}-{draw}", own)
                dice.append(mask_dice(truth, np.concatenate([found(model, pair) for pair in judged])))
            cells = (f"x{rate:g}", ", ".join(f"{value:.3f}" for value in dice))
            table.add("yes" if prior else "no", *cells, dice=float(np.mean(dice)))


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=[*SPLITS, *OTHER, "heads"])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pretrain-steps", type=int, default=150)
    arguments = parser.parse_args()
    harness.loading()
    logging.getLogger("spotlight").setLevel(logging.ERROR)
    for part in arguments.part or [*SPLITS, *OTHER, "heads"]:
        to = arguments.to / part
        if part == "heads":
            heads(arguments.data, arguments.to, arguments)
        elif part in SPLITS:
            structure = {"cfos": "spots", "microglia": "microglia"}[part]
            compare(part, structure, real(arguments.data, part, to), to, "isolated", arguments)
        else:
            for structure in OTHER[part]:
                kind = "contiguous" if structure == "vessels" else "isolated"
                manifest = simulated(structure, to / structure)
                compare(part, structure, manifest, to / structure, kind, arguments, "cleared-2x")


if __name__ == "__main__":
    main()
