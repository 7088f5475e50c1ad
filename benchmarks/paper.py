"""The experiment of Kalinin et al. (2025) as one command: every claim answered with numbers, every figure redrawn.

    python benchmarks/paper.py --to DIR [--manifest CSV] [--scale small|paper] [--sparse] [--readings] [--shifted]
        [--seeds 5] [--workers 2] [--only NAME ...] [--only-shifted]

Without a manifest, cells are simulated: 6 fields train, 2 validate and 12 are judged, with exact labels and a second
noisy image of each. A manifest is one of real pairs with labels, such as `spotlight data allen-dna` writes; curated
labels that miss nuclei are `--incomplete`.

At the small scale F-net has depth 3 and 8 channels and 300 steps of 4 patches, minutes on a laptop; at that of the
paper, 50,000 steps of 24 patches, a GPU is needed. `--cellpose MODEL` adds the second pipeline. Methods:

- "fnet": F-net; "fnet-flat": the same trainings, everything below the foreground threshold made background;
- "published": Spotlight as published, with its author's threshold recipe, in the "clamp" reading;
- "spotlight": the default protocol; "spotlight-flat": the same trainings, made even like "fnet-flat";
- with `--readings` also "published-loss", which has our preparation (threshold after a median of 3, flips, falling
  learning rate), and the other readings of the published loss.

The segmentation is tuned on the fluorescence and labels of the training fields, as the paper does, and is then the same
for all; it is written to segmentation.yaml. Spotlight is compared with F-net and with F-net made even, which is what a
threshold alone can do. "repeat", a second image of the same fields, is the ceiling of scores of voxels, and "target",
the fluorescence itself, is what segmentation gives of it. Nothing that is there already is done again, so a killed run
goes on.

`--shifted` also judges the same models on six fields of other cells on another microscope, in DIR/shifted. These fields
are for reporting alone: nothing may be chosen on them. `--only-shifted` leaves the other fields out, `--only` methods.

DIR then holds report.html, figures/ (2a-f and 3a-b of the paper), scores.csv, comparison.csv and claims.md.
"""

import argparse
from pathlib import Path
from typing import Any

from harness import loading, say

loading()

import pandas as pd

from spotlight.comparison import Comparison, compare, train_methods
from spotlight.demonstration import small
from spotlight.evaluation import Evaluation, EvaluationSettings, evaluate
from spotlight.evaluation.means import with_part
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.metrics.cards import Direction
from spotlight.report import write_report
from spotlight.segmentation import CellposeSettings, InstanceSettings, read_settings
from spotlight.segmentation.tuning import tune
from spotlight.simulation import CellSettings, FluorescenceSettings, SimulationSettings, simulate_pairs
from spotlight.training import Experiment, protocol

FIELDS = {"train": 6, "val": 2, "test": 12}
DENSE = SimulationSettings(shape=(48, 224, 224), repeat=True)
SPARSE = DENSE.model_copy(
    update={
        "cells": CellSettings(cell_area_um2=280, brightness_variation=0.3, mitotic_fraction=0),
        "fluorescence": FluorescenceSettings(objective_na=1.0, crosstalk=0.1, photons=60),
    }
)
"""Few bright nuclei, 6 to 8 % foreground."""


def shifted(settings: SimulationSettings) -> SimulationSettings:
    """Other cells on another microscope: what a model meets that is used in the laboratory next door."""
    light, dye, cells = settings.brightfield, settings.fluorescence, settings.cells
    return settings.model_copy(
        update={
            "voxel_um": 0.31,
            "cells": cells.model_copy(
                update={
                    "cell_area_um2": 1.3 * cells.cell_area_um2,
                    "semi_axes_um": (3.6, 4.2, 5.4),
                    "cytoplasm_index": 1.366,
                    "granule_index": 1.385,
                    "granules_per_cell": 100.0,
                }
            ),
            "brightfield": light.model_copy(
                update={"condenser_na": 0.5, "objective_na": 1.1, "focus_offset_um": 0.5, "photons": 1000.0}
            ),
            "fluorescence": dye.model_copy(
                update={"objective_na": dye.objective_na - 0.05, "photons": 0.8 * dye.photons}
            ),
        }
    )


PUBLISHED, LOSS_ALONE, FLAT, SPOTLIGHT_FLAT = "published", "published-loss", "fnet-flat", "spotlight-flat"
OURS = [PUBLISHED, LOSS_ALONE, "spotlight", SPOTLIGHT_FLAT]
CLAIMS: dict[str, Direction] = {
    "mean_ap": "high",
    "mean_ap_cellpose": "high",
    "elongation_error": "zero",
    "profile_distance_to_target": "low",
    "profile_error": "low",
    "psnr_foreground": "high",
    "micro_ms3im_foreground": "high",
    "psnr_nuclei": "high",
    "pearson_nuclei": "high",
    "psnr": "high",
    "micro_ms3im": "high",
}
"""What the paper speaks of, and which value is best."""
ANSWERS = {
    "Over the entire volume image quality is worse": (("psnr", "micro_ms3im"), "worse"),
    "On the foreground it is as good": (("psnr_foreground", "micro_ms3im_foreground"), "not worse"),
    "In the true nuclei it is as good": (("psnr_nuclei", "pearson_nuclei"), "not worse"),
    "Segmentation is more accurate": (("mean_ap", "mean_ap_cellpose"), "better"),
    "Nuclei are not drawn out along the axis": (("elongation_error",), "better"),
    "Profiles are closer to those of the fluorescence": (("profile_distance_to_target", "profile_error"), "better"),
}
"""Claims of the paper, section 3: scores, and how Spotlight's should compare with F-net's. The third is our check of
the second: the foreground is where the noisy target is bright."""
COLUMNS = {
    "mean_ap": "{:.3f}",
    "mean_ap_cellpose": "{:.3f}",
    "ap50": "{:.3f}",
    "volume_error": "{:+.1%}",
    "elongation_error": "{:+.1%}",
    "profile_error": "{:.3f}",
    "profile_distance": "{:.3f}",
    "profile_distance_to_target": "{:.3f}",
    "psnr_foreground": "{:.2f}",
    "pearson_foreground": "{:.3f}",
    "micro_ms3im_foreground": "{:.3f}",
    "psnr_nuclei": "{:.2f}",
    "pearson_nuclei": "{:.3f}",
    "psnr": "{:.2f}",
    "pearson": "{:.3f}",
    "micro_ms3im": "{:.3f}",
    "fsc_xy_um": "{:.2f}",
    "fsc_z_um": "{:.2f}",
    "fsc_of_two_xy_um": "{:.2f}",
    "fsc_of_two_z_um": "{:.2f}",
}


def methods(scale: str, readings: bool) -> dict[str, dict[str, object]]:
    """What is compared, as the settings of a comparison have it."""
    default, paper = protocol("spotlight"), protocol("spotlight-2025")
    if scale == "paper":
        trained = {"fnet": protocol("fnet-2018")}
        schedule = paper.training.model_copy(update={"schedule": default.training.schedule})
        default = default.model_copy(update={"network": paper.network, "training": schedule})
    else:
        default = small("spotlight", 0)
        trained = {"fnet": small("fnet", 0)}
    trained |= {"spotlight": default, PUBLISHED: paper if scale == "paper" else _at_size_of(paper, default)}
    unchanged = {"preparation": default.preparation.model_copy(update={"mask_median_px": 1}), "loss": paper.loss}
    if readings:
        trained[LOSS_ALONE] = default.model_copy(update=unchanged)
        for reading in ("affine", "literal"):
            loss = paper.loss.model_copy(update={"reading": reading})
            trained[f"{PUBLISHED}-{reading}"] = trained[PUBLISHED].model_copy(update={"loss": loss})
    return {name: _trained(experiment) for name, experiment in trained.items()} | {
        FLAT: {"like": "fnet", "flatten": True},
        SPOTLIGHT_FLAT: {"like": "spotlight", "flatten": True},
    }


def _at_size_of(published: Experiment, other: Experiment) -> Experiment:
    """A published experiment with the network, steps and batches of another."""
    training = other.training.model_copy(update={"schedule": published.training.schedule})
    return published.model_copy(update={"network": other.network, "training": training})


def tuned(manifest: Path, to: Path, complete: bool) -> InstanceSettings:
    """The segmentation that is best on the fluorescence of the training fields, recorded with what was tried."""
    path = to / "segmentation.yaml"
    if not path.exists():
        to.mkdir(parents=True, exist_ok=True)
        found = tune(manifest, split="train", complete=complete, finer=True)
        found.tried.to_csv(to / "segmentation-tried.csv", index=False, float_format="%.4g")
        write_text(path, found.to_yaml())
    return read_settings(path)


def _trained(experiment: Experiment) -> dict[str, object]:
    values = experiment.model_dump(mode="json")
    return {"protocol": values.pop("protocol"), "change": values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--shifted", action="store_true", help="judge on other cells on another microscope, too")
    parser.add_argument("--only-shifted", action="store_true", help="judge there alone")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the methods above; fnet is always among them")
    parser.add_argument("--sparse", action="store_true", help="few bright nuclei instead of a dense colony")
    parser.add_argument("--readings", action="store_true", help="other forms of the published loss, too")
    parser.add_argument("--incomplete", action="store_true", help="the labels miss nuclei")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cellpose", help="weights file of Cellpose, or the name of a model")
    parser.add_argument("--split", default="test", help="val while choosing settings, test to report")
    parser.add_argument("--thresholds", type=int, default=7, help="of the sweep; 0 leaves it out")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    manifest = arguments.manifest
    settings = SPARSE if arguments.sparse else DENSE
    if manifest is None:
        manifest = simulate_pairs(arguments.to / "data", FIELDS, settings, seed=7, workers=arguments.workers)
    evaluation = EvaluationSettings(
        split=arguments.split,
        complete_labels=not arguments.incomplete,
        segmentation=tuned(manifest, arguments.to, not arguments.incomplete),
        thresholds=arguments.thresholds,
        second=CellposeSettings(model=arguments.cellpose) if arguments.cellpose else None,
    )
    chosen = methods(arguments.scale, arguments.readings)
    if arguments.only:
        chosen = {name: chosen[name] for name in chosen if name in {"fnet", *arguments.only}}
    values = {
        "pairs": str(manifest.resolve()),
        "methods": chosen,
        "baseline": "fnet",
        "seeds": tuple(range(arguments.seeds)),
        "steps": arguments.steps,
        "evaluation": evaluation,
        "claims": CLAIMS,
    }
    comparison = Comparison.parse(values, "benchmark")
    if not arguments.only_shifted:
        compared = compare(comparison, arguments.to, workers=arguments.workers, progress=say)
        _conclude(compared.evaluation, compared.table, arguments.seeds)
    if arguments.shifted or arguments.only_shifted:
        other = arguments.to / "shifted"
        fields = simulate_pairs(other / "data", {"test": 6}, shifted(settings), seed=11, workers=arguments.workers)
        models = train_methods(comparison, arguments.to, progress=say)
        judged = evaluate(fields, models, other, evaluation, workers=arguments.workers, progress=say)
        known = {name: best for name, best in CLAIMS.items() if name in judged.scores}
        _conclude(judged, compare_methods(judged.scores, "fnet", known, list(comparison.others)), arguments.seeds)


def _conclude(evaluation: Evaluation, against_fnet: pd.DataFrame, seeds: int) -> None:
    """Write and print the page, the scores and the answers."""
    write_report(evaluation.folder, "The experiment of Kalinin et al. (2025)")
    scores = evaluation.scores
    claims = {name: best for name, best in CLAIMS.items() if name in scores}
    flat = compare_methods(scores, FLAT, claims, [name for name in OURS if name in set(scores["method"])])
    answers = claims_markdown(evaluation, pd.concat([against_fnet, flat]))
    text = f"{score_markdown(scores)}\n\nTrainings of each: {seeds}.\n\n{answers}\n"
    write_text(evaluation.folder / "claims.md", text)
    print(text)


def score_markdown(scores: pd.DataFrame) -> str:
    """Mean over seeds and stacks ± standard deviation between seeds: a row per score, a column per method."""
    names = [name for name in COLUMNS if name in scores and scores[name].notna().any()]
    per_seed = scores.groupby(["method", "seed"], sort=False)[names].mean()
    mean, spread = per_seed.groupby("method", sort=False).mean(), per_seed.groupby("method", sort=False).std()
    lines = ["| | " + " | ".join(mean.index) + " |", "|---" * (len(mean) + 1) + "|"]
    for name in names:
        cells = []
        for method in mean.index:
            value, sd = mean.loc[method, name], spread.loc[method, name]
            text = "" if pd.isna(value) else COLUMNS[name].format(value)
            text = f"{text} ± {COLUMNS[name].replace('+', '').format(sd)}" if text and sd > 0 else text
            cells.append(with_part(text, scores.loc[scores["method"] == method, name]))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def claims_markdown(evaluation: Evaluation, table: pd.DataFrame) -> str:
    """Answer every claim of the paper, against F-net and against F-net made even, with the numbers."""
    lines = [
        "| claim of the paper | method | against | score | here | difference (95 %) | stacks, trainings better | p |"
    ]
    lines.append("|---" * 8 + "|")
    for claim, (metrics, wanted) in ANSWERS.items():
        chosen = table[table["method"].isin(OURS) & table["metric"].isin(metrics)]
        for row in chosen.to_dict("records"):
            names = f"{row['method']} | {row['baseline']} | {row['metric']}"
            numbers = f"{row['mean_difference']:+.3g} [{row['low']:.3g}, {row['high']:.3g}]"
            wins = f"{row['wins']} of {row['stacks']}, {row['training_wins']} of {row['trainings']}"
            lines.append(f"| {claim} | {names} | {answer(row, wanted)} | {numbers} | {wins} | {row['p_holm']:.2g} |")
    if not evaluation.sweep.empty:
        lines += ["", *_background(evaluation.histograms, evaluation.sweep), *_swept(evaluation)]
    return "\n".join(lines)


def answer(row: dict[Any, Any], wanted: str) -> str:
    """Yes or no, if the test supports it."""
    if not row["p_holm"] <= 1:
        return "not tested"
    better = (row["mean_difference"] > 0) == (row["direction"] == "high")
    found = ("better" if better else "worse") if row["p_holm"] <= row["alpha"] else "no difference shown"
    if wanted == "not worse":
        return {"worse": "no", "better": "yes (better)"}.get(found, "not shown worse")
    return "yes" if found == wanted else f"no ({found})"


def _background(histograms: pd.DataFrame, sweep: pd.DataFrame) -> list[str]:
    """Fig. 3a: the spread of the background, in units of the distance of the target's two modes."""
    modes = sweep.groupby("position")["threshold"].mean()
    scale = (modes.iloc[-1] - modes.iloc[0]) / (modes.index[-1] - modes.index[0])
    middle = modes.iloc[0] + (0.5 - modes.index[0]) * scale
    lines = []
    for method, rows in histograms.groupby("method", sort=False):
        below = rows[rows["to"] <= middle]
        center, share = (below["from"] + below["to"]) / 2, below["share"] / below["share"].sum()
        spread = float((share * (center - (share * center).sum()) ** 2).sum() ** 0.5 / scale)
        lines.append(f"- Background of {method}: standard deviation {spread:.3f} of the distance between the modes.")
    return lines


def _swept(evaluation: Evaluation) -> list[str]:
    """Fig. 3b: what a threshold does for each method."""
    lines = []
    for method, rows in evaluation.sweep.groupby("method", sort=False):
        plain = evaluation.scores.loc[evaluation.scores["method"] == method, "mean_ap"].mean()
        best = rows.loc[rows["mean_ap"].idxmax()]
        lines.append(
            f"- Thresholds on {method}: mean AP {plain:.3f} without, at best {best['mean_ap']:.3f} "
            f"(position {best['position']:.2f} between the modes), {rows['mean_ap'].min():.3f} at worst."
        )
    return lines


if __name__ == "__main__":
    main()
