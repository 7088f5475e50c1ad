"""What pretraining gives: a few labelled stacks, from scratch, from masked reconstruction, and from simulated stacks.

    python benchmarks/pretraining.py DATA --to DIR [--part cfos|microglia|simulated|heads ...] [--shots 5] [--draws 5]
                                     [--steps 60] [--pretrain-steps 150] [--judged BRAIN ...] [--structure vessels ...]
    python benchmarks/pretraining.py DATA --to DIR --part stains [--shots 1 2 4] [--draws 5]
    python benchmarks/pretraining.py DATA --to DIR --part null|speed [--runs 40]

DATA holds ``lightsheet_spots_3d`` (c-Fos cells and microglia of cleared mouse brains with masks, MIT, erturklab/
delivr_cfos). Stacks of one brain (the number in the name) are drawn from or judged on, never both; backbones see the
stacks that are drawn from, without their masks. Of microglia, both brains are judged on in turn. "simulated" does the
same on simulated vessels, spots and nuclei of one microscope, with a start from simulated stacks of the other. "heads"
trains from the backbone of c-Fos with and without the prior in the head, and with and without its faster rate. A run
that was interrupted goes on.

"stains" learns nuclei from a few simulated pairs of brightfield and fluorescence, from scratch and from a backbone of
all inputs, whose new last layer learns as fast as the others or five times as fast.

"null" says how often few-shot claims anything where there is nothing to learn: simulated stacks whose masks were
exchanged. "speed" takes steps of pretraining and of training in turn, on patches of the same size.
"""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

import harness

SPLITS = {"cfos": ("cFos", ["1008"]), "microglia": ("microglia", ["1874", "2248"])}
"""Beginning of the names, and the brains that are judged on in turn, each with starts and models of its own."""
OTHER = {"simulated": ("vessels", "spots", "nuclei")}


def experiment(pretext: str, steps: int, seed: int = 0, to_come: str = "segment", **task: object) -> object:
    """Settings that fit into minutes on one core."""
    from spotlight.networks import FNetSettings
    from spotlight.training import Experiment, pretraining

    values = pretraining(pretext, to_come, steps=steps, batch_size=2, seed=seed).model_dump()
    values["network"] = FNetSettings(depth=2, mult_chan=4, init="torch").model_dump()
    values["patches"]["size"] = (8, 32, 32) if to_come == "segment" else (16, 32, 32)
    values["task"] |= task
    values["training"] |= {"learning_rate": 2e-3, "schedule": "cosine", "precision": "float32"}
    values["training"] |= {"validate_every": max(1, steps // 2), "checkpoint_every": 100}
    return Experiment.parse(values, "benchmark")


def real(data: Path, part: str, judged: str, to: Path) -> Path:
    """Write the manifest of real stacks, those of one brain to be judged on."""
    start, _ = SPLITS[part]
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
    part: str, structure: str, manifests: dict[Path, Path], kind: str, arguments: object, microscope: str | None = None
) -> None:
    """Print the means of all methods, and the answers, over the stacks that all manifests judge on.

    Manifests are given by the folder for their starts and models.
    """
    from spotlight.comparison import FewShot, FewShotSettings, few_shot
    from spotlight.comparison.few_shot import judge
    from spotlight.report import write_few_shot_page

    settings = FewShotSettings(shots=arguments.shots, draws=arguments.draws, steps=arguments.steps)
    name = part if part in SPLITS else structure
    base = experiment("simulated", arguments.steps, structures={name: kind})
    tables, zeros = [], []
    for to, manifest in manifests.items():
        found = starts(manifest, to, structure, arguments, microscope)
        one = few_shot(manifest, to / "few-shot", found, settings, experiment=base)
        write_few_shot_page(one.folder)
        tables.append(one.scores)
        zeros += without_labels(manifest, found["simulated"])
    scores = pd.concat(tables, ignore_index=True)
    result = FewShot(one.folder, scores, judge(scores, list(found)))
    zero = float(np.mean(zeros))
    title = f"{part}, {structure}" if part not in SPLITS else part
    print(f"\n{title}: {arguments.draws} draws, {arguments.steps} steps\n", flush=True)
    others = ("cl_dice",) if kind == "contiguous" else ("panoptic_dice", "component_f1")
    table = harness.Table(
        arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-{title.replace(', ', '-')}"),
        "labelled, method",
        "Dice",
        "of the draws",
        *others,
    )
    for (shots, method), own in result.scores.groupby(["shots", "method"], sort=False):
        draws = own.groupby("seed")["mask_dice"].mean()
        more = [f"{own[name].mean():.3f}" for name in others]
        spread = f"{draws.min():.3f} to {draws.max():.3f}"
        table.add(f"{shots}, {method}", f"{draws.mean():.3f}", spread, *more, dice=float(draws.mean()))
    table.add("0, simulated", f"{zero:.3f}", "–", *["–"] * len(others), dice=zero)
    for line in result.verdicts():
        print(f"- {line}", flush=True)


def without_labels(manifest: Path, model: Path) -> list[float]:
    """Dice of a model of simulated stacks, as it is, in each stack that is judged on."""
    from spotlight.metrics import mask_dice
    from spotlight.pairs import read_pairs

    judged = [pair for pair in read_pairs(manifest, column="mask") if pair.split == "test"]
    return [mask_dice(pair.read_mask(pair.read_input()).data > 0, found(model, pair)) for pair in judged]


def found(folder: Path, pair: object) -> np.ndarray:
    """What a model finds in a stack, whatever the name of its channel."""
    from dataclasses import replace

    from spotlight.images.joining import all_channels
    from spotlight.prediction import PredictionSettings, load_model

    image, model = replace(pair.read_input(), channels=()), load_model(folder)
    result, _ = model.stain(model.accept(image, all_channels(image)), PredictionSettings(precision="float32"))
    return result.data.reshape(image.shape) >= 0.5


def heads(data: Path, to: Path, arguments: object) -> None:
    """Train from the backbone of c-Fos with each head, on a part of each stack; Dice of all voxels together."""
    from dataclasses import replace

    from spotlight.metrics import mask_dice
    from spotlight.pairs import read_pairs
    from spotlight.training import train

    manifest = real(data, "cfos", SPLITS["cfos"][1][0], to / "cfos")
    backbone = starts(manifest, to / "cfos", "spots", arguments)["hidden"]
    listed = [replace(pair, region=":, 0:64, 0:64") for pair in read_pairs(manifest, column="mask")]
    pool, judged = ([pair for pair in listed if (pair.split == "test") == test] for test in (False, True))
    truth = np.concatenate([pair.read_mask(pair.read_input()).data > 0 for pair in judged])
    shots = arguments.shots[0]
    print(f"\nheads, c-Fos, {shots} labelled, {arguments.draws} draws, {arguments.steps} steps\n", flush=True)
    file = arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-heads")
    table = harness.Table(file, "prior in the head, rate of the head", "Dice of each draw")
    for prior in (True, False):
        for rate in (5.0, 1.0):
            dice = []
            for draw in range(arguments.draws):
                drawn = [pool[n] for n in sorted(np.random.default_rng(draw).permutation(len(pool))[:shots])]
                base = experiment("simulated", arguments.steps, draw, prior_head=prior)
                changes = {"head_rate": rate, "finetune": backbone, "validation_share": 0.0, "choose_by": "loss"}
                own = base.model_copy(update={"training": base.training.model_copy(update=changes)})
                model = train(drawn, to / "heads" / f"{prior}-{rate:g}-{draw}", own)
                dice.append(mask_dice(truth, np.concatenate([found(model, pair) for pair in judged])))
            cell = ", ".join(f"{value:.3f}" for value in dice)
            table.add(f"{'yes' if prior else 'no'}, x{rate:g}", cell, dice=float(np.mean(dice)))


def stains(to: Path, arguments: object) -> None:
    """Stain from a few simulated pairs, and judge on others."""
    from spotlight.evaluation import EvaluationSettings, evaluate
    from spotlight.evaluation.statistics import compare_methods
    from spotlight.pairs import read_pairs
    from spotlight.simulation import SimulationSettings, simulate_pairs
    from spotlight.simulation.optics import BrightfieldSettings
    from spotlight.training import pretrain, train

    of = SimulationSettings(shape=(24, 96, 96), brightfield=BrightfieldSettings(source_points=5))
    manifest = simulate_pairs(to / "data", {"train": 8, "test": 6}, of, seed=3)
    listed = read_pairs(manifest)
    pool, judged = ([pair for pair in listed if (pair.split == "test") == test] for test in (False, True))
    start = pretrain(manifest, to / "hidden", experiment("hidden", arguments.pretrain_steps, to_come="stain"))
    steps, both = arguments.steps, arguments.steps + arguments.pretrain_steps
    kinds = {"scratch": (steps, None, 1.0), "scratch, total steps": (both, None, 1.0)}
    kinds |= {"hidden": (steps, start, 1.0), "hidden, head x5": (steps, start, 5.0)}
    metrics = {"mean_ap": "high", "profile_distance": "low", "pearson": "high"}
    table = harness.Table(arguments.json, "pairs, method", *metrics, "AP less scratch (95 % interval)")
    for shots in arguments.shots:
        models: dict[str, dict[int, Path]] = {name: {} for name in kinds}
        for draw in range(arguments.draws):
            drawn = [pool[n] for n in sorted(np.random.default_rng(draw).permutation(len(pool))[:shots])]
            for name, (count, begin, rate) in kinds.items():
                base = experiment("simulated", count, draw, "stain")
                changes = {"head_rate": rate, "finetune": begin, "validation_share": 0.0}
                own = base.model_copy(update={"training": base.training.model_copy(update=changes)})
                models[name][draw] = train(drawn, to / f"{shots}-{name}-{draw}", own)
        found = evaluate(judged, models, to / f"judged-{shots}", EvaluationSettings(pictured=0)).scores
        less = compare_methods(found, "scratch", {"mean_ap": "high"}, list(kinds)[1:]).set_index("method")
        for name in kinds:
            means = found[found["method"] == name][list(metrics)].mean()
            row = less.loc[name] if name in less.index else None
            words = "–" if row is None else f"{row['mean_difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
            table.add(f"{shots}, {name}", *(f"{value:.3f}" for value in means), words, **means.to_dict())


def null(to: Path, arguments: object) -> None:
    """Count what few-shot answers where masks were exchanged between stacks, so that nothing can be learnt."""
    from dataclasses import replace

    from spotlight.comparison import FewShotSettings, few_shot
    from spotlight.pairs import read_pairs
    from spotlight.simulation.light_sheet import LightSheetSettings, simulate_light_sheet
    from spotlight.training import pretrain

    of = LightSheetSettings(shape=(8, 32, 32), structures=("nuclei",))
    listed = read_pairs(simulate_light_sheet(to / "data", {"train": 6, "test": 8}, of, seed=3), column="mask")
    share = float(np.mean([pair.read_mask(pair.read_input()).data.mean() for pair in listed]))
    base = experiment("simulated", 8, threshold=min(0.9, share))  # else a network that knows nothing finds nothing
    start = pretrain([pair.input for pair in listed if pair.split == "train"], to / "hidden", experiment("hidden", 8))
    settings = FewShotSettings(shots=(2,), draws=arguments.draws, steps=8)
    tables = []
    for run in range(arguments.runs):
        rng, exchanged = np.random.default_rng(run), []
        for split in ("train", "test"):
            own = [pair for pair in listed if pair.split == split]
            masks = rng.permutation(len(own))
            exchanged += [replace(pair, target=own[n].target) for pair, n in zip(own, masks, strict=True)]
        asked = settings.model_copy(update={"seed": run})
        tables.append(few_shot(exchanged, to / f"run-{run}", {"hidden": start}, asked, experiment=base).table)
    print(f"\nnull: {arguments.runs} runs of {arguments.draws} draws\n", flush=True)
    table = harness.Table(arguments.json, "against", "mean Dice", "yes", "no", "cannot tell")
    for control, own in pd.concat(tables).groupby("baseline", sort=False):
        counts = [int((own["answer"] == answer).sum()) for answer in ("yes", "no", "cannot tell")]
        table.add(control, f"{own['baseline_mean'].mean():.3f}", *map(str, counts), cannot_tell=counts[2] / len(own))


def speed(to: Path, arguments: object) -> None:
    """Time steps of pretraining and of training by the clock of the processor, in turn."""
    from spotlight.simulation.light_sheet import LightSheetSettings, simulate_light_sheet
    from spotlight.training import pretrain, train

    of = LightSheetSettings(shape=(24, 64, 64), structures=("nuclei",))
    manifest = simulate_light_sheet(to / "data", {"train": 4, "val": 1}, of, seed=3)
    taken: dict[str, list[float]] = {"pretraining": [], "training": []}

    def timed(kind: str, steps: int, number: int) -> float:
        begin = time.process_time()
        if kind == "pretraining":
            pretrain(manifest, to / f"{kind}-{steps}-{number}", experiment("hidden", steps), overwrite=True)
        else:
            train(manifest, to / f"{kind}-{steps}-{number}", experiment("simulated", steps), overwrite=True)
        return time.process_time() - begin

    few, many = 10, 60
    for number in range(arguments.draws):
        for kind, times in taken.items():  # what is done once is in both
            times.append((timed(kind, many, number) - timed(kind, few, number)) / (many - few))
    table = harness.Table(arguments.json, "step of", "ms (median)", "least", "most")
    for kind, times in taken.items():
        ms = 1000 * np.array(times)
        table.add(kind, f"{np.median(ms):.0f}", f"{ms.min():.0f}", f"{ms.max():.0f}", ms=float(np.median(ms)))


MADE = {"stains": stains, "null": null, "speed": speed}
"""Parts that need no data."""


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=[*SPLITS, *OTHER, "heads", *MADE])
    parser.add_argument("--structure", nargs="+", default=list(OTHER["simulated"]), help="Of the part simulated.")
    parser.add_argument("--shots", type=int, nargs="+", default=[5])
    parser.add_argument("--judged", nargs="+", metavar="BRAIN", help="Of the parts cfos and microglia.")
    parser.add_argument("--runs", type=int, default=40)
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
        elif part in MADE:
            MADE[part](to, arguments)
        elif part in SPLITS:
            structure = {"cfos": "spots", "microglia": "microglia"}[part]
            manifests = {
                to / brain: real(arguments.data, part, brain, to / brain)
                for brain in arguments.judged or SPLITS[part][1]
            }
            compare(part, structure, manifests, "isolated", arguments)
        else:
            for structure in arguments.structure:
                kind = "contiguous" if structure == "vessels" else "isolated"
                manifest = simulated(structure, to / structure)
                compare(part, structure, {to / structure: manifest}, kind, arguments, "cleared-2x")


if __name__ == "__main__":
    main()
