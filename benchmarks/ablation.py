"""What makes Spotlight's training better: one change at a time to the default protocol, judged with statistics.

    python benchmarks/ablation.py --to DIR [--sparse] [--only NAME ...] [--seeds 2] [--workers 2]

Fields are simulated for the purpose: 6 train, 2 choose the weights, 8 are judged. They are others than those of
paper.py, on whose 12 test fields the outcome is then reported. Network, patches and steps are those of paper.py's small
scale, so all changes cost about the same training. The segmentation is tuned on the fluorescence of the training
fields. Nothing that is there already is done again.

`--only REMEDIES` stands for what makes the default differ from the published method.

DIR then holds report.html, scores.csv, comparison.csv and ablation.md.
"""

import argparse
from pathlib import Path
from typing import Any

from harness import loading, say

loading()

import pandas as pd

from paper import DENSE, SPARSE, tuned
from spotlight.comparison import Comparison, compare
from spotlight.demonstration import small
from spotlight.evaluation import EvaluationSettings
from spotlight.evaluation.means import with_part
from spotlight.files import write_text
from spotlight.report import write_report
from spotlight.simulation import simulate_pairs

FIELDS = {"train": 6, "val": 2, "test": 8}
BASELINE = "default"
CHANGES: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "without background": {"loss": {"background": 0.0}},
    "without margin": {"loss": {"margin": 0.0}},
    "without settling": {"loss": {"settle": None}},
    "errors averaged over masks": {"loss": {"average": "masks"}},
    "without mask median": {"preparation": {"mask_median_px": 1}},
    "author's threshold recipe": {"preparation": {"foreground": {"median_px": 5, "gaussian_px": 5}}},
    "weight 0.8": {"loss": {"weight": 0.8}},
    "weight 0.25": {"loss": {"weight": 0.25}},
    "background 1": {"loss": {"background": 1.0}},
    "affine": {"loss": {"reading": "affine"}},
    "smooth": {"loss": {"reading": "smooth"}},
    "smooth, k from -0.5": {"loss": {"reading": "smooth", "k_start": -0.5}},
    "Dice over the batch": {"loss": {"reduction": "batch"}},
    "CC-Dice": {"loss": {"instances": "cc-dice", "instance_weight": 0.5}},
    "blob": {"loss": {"instances": "blob", "instance_weight": 0.5}},
    "Li threshold": {"preparation": {"foreground": {"method": "li"}}},
    "EMA": {"training": {"ema": 0.98}},
    "warm-up": {"training": {"warmup": 30}},
    "constant rate": {"training": {"schedule": "constant"}},
    "no flips": {"patches": {"augment": False}},
    "intensity": {"patches": {"intensity": 0.2}},
    "focus": {"patches": {"focus": 0.5}},
    "noise": {"patches": {"noise": 0.2}},
    "residual": {"network": {"block": "residual"}},
    "float32": {"training": {"precision": "float32"}},
    "residual, PyTorch's initialisation": {"network": {"block": "residual", "init": "torch"}},
    "the same, smooth, k from -0.5": {
        "network": {"block": "residual", "init": "torch"},
        "loss": {"reading": "smooth", "k_start": -0.5},
    },
    "PyTorch's initialisation": {"network": {"init": "torch"}},
}
REMEDIES = [
    "without background",
    "without margin",
    "without settling",
    "errors averaged over masks",
    "without mask median",
    "author's threshold recipe",
    "constant rate",
    "no flips",
]
"""What makes the default differ from the published method, each of them taken away."""
CLAIMS = {"mean_ap": "high", "volume_error": "zero", "elongation_error": "zero", "profile_error": "low"}
SHOWN = {
    "mean_ap": "{:.3f}",
    "ap50": "{:.3f}",
    "volume_error": "{:+.1%}",
    "elongation_error": "{:+.1%}",
    "profile_error": "{:.3f}",
    "psnr_foreground": "{:.2f}",
    "pearson_foreground": "{:.3f}",
}


def table(scores: pd.DataFrame, comparison: pd.DataFrame) -> str:
    """Mean and spread between seeds of every change, with the test of its mean AP against the default."""
    lines = [f"| | {' | '.join(SHOWN)} | mean AP against the default (95 %) | better | p (Holm) |"]
    lines.append("|---" * (len(SHOWN) + 4) + "|")
    ap = comparison[comparison["metric"] == "mean_ap"].set_index("method")
    for name, rows in scores.groupby("method", sort=False):
        seeds = rows.groupby("seed")[list(SHOWN)].mean()
        mean, spread = seeds.mean(), seeds.std()
        cells = [
            ""
            if pd.isna(mean[column])
            else with_part(
                form.format(mean[column]) + (f" ± {form.format(spread[column]).lstrip('+')}" if len(seeds) > 1 else ""),
                rows[column],
            )
            for column, form in SHOWN.items()
        ]
        test = "| | | "
        if name in ap.index:
            row = ap.loc[name]
            interval = f"{row['mean_difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            test = f"{interval} | {row['wins']:.0f} of {row['stacks']:.0f} | {row['p_holm']:.3f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {test} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--sparse", action="store_true", help="few bright nuclei instead of a dense colony")
    parser.add_argument("--only", nargs="+", choices=["REMEDIES", *CHANGES], help="these changes, and the default")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    settings = (SPARSE if arguments.sparse else DENSE).model_copy(update={"repeat": False})
    manifest = simulate_pairs(arguments.to / "data", FIELDS, settings, seed=11, workers=arguments.workers)
    default = small("spotlight", 0).model_dump(mode="json")
    protocol = default.pop("protocol")
    asked = arguments.only or CHANGES
    names = [name for one in asked for name in (REMEDIES if one == "REMEDIES" else [one])]
    chosen = {name: CHANGES[name] for name in names} | {BASELINE: {}}
    values = {
        "pairs": str(manifest.resolve()),
        "methods": {name: {"protocol": protocol, "change": merged(default, change)} for name, change in chosen.items()},
        "baseline": BASELINE,
        "seeds": tuple(range(arguments.seeds)),
        "evaluation": EvaluationSettings(
            segmentation=tuned(manifest, arguments.to, complete=True), resolution=False, thresholds=0
        ),
        "claims": CLAIMS,
    }
    compared = compare(Comparison.parse(values, "benchmark"), arguments.to, workers=arguments.workers, progress=say)
    write_report(arguments.to, "What makes Spotlight's training better")
    text = table(compared.evaluation.scores, compared.table)
    write_text(arguments.to / "ablation.md", f"{text}\n")
    print(text)


def merged(values: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Replace nested values."""
    nested = {name: merged(values[name], new) for name, new in change.items() if isinstance(new, dict)}
    return values | change | nested


if __name__ == "__main__":
    main()
