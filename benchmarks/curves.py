"""Scores against training steps: F-net, the published loss and the default, in runs of several lengths.

    python benchmarks/curves.py --to DIR [--sparse] [--steps 300 1000 3000] [--seeds 3] [--workers 2]
        [--only NAME ...]

Every length is a run of its own, because the learning rate falls over the whole run: the first 300 of 3,000 steps are
not a run of 300 steps. Fields, network, patches and the tuned segmentation are those of paper.py. The run at the
published size is `--scale paper` of paper.py, which needs a GPU. Nothing that is there already is done again, so a
killed run goes on.

DIR then holds scores.csv, curves.md and curves.png.
"""

import argparse
from pathlib import Path
from typing import Any

from harness import loading, say

loading()

import matplotlib.pyplot as plt
import pandas as pd

from paper import DENSE, FIELDS, FLAT, PUBLISHED, SPARSE, methods, tuned
from spotlight.comparison import Comparison, compare
from spotlight.evaluation import EvaluationSettings
from spotlight.files import atomic_file, write_text
from spotlight.simulation import simulate_pairs

SHOWN = {"mean_ap": "{:.3f}", "elongation_error": "{:+.1%}", "volume_error": "{:+.1%}", "profile_error": "{:.3f}"}
METHODS = ("fnet", FLAT, PUBLISHED, "spotlight")


def lengthened(steps: list[int], names: list[str]) -> dict[str, dict[str, Any]]:
    """Every method in every length."""
    known = methods("small", readings=False)
    chosen: dict[str, dict[str, Any]] = {}
    for count in steps:
        for name in names:
            method: dict[str, Any] = dict(known[name])
            if "like" in method:
                method["like"] = f"{method['like']}-{count}"
            else:
                training = method["change"]["training"] | {"steps": count}
                method["change"] = method["change"] | {"training": training}
            chosen[f"{name}-{count}"] = method
    return chosen


def curves(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over trainings of each score, by method and steps."""
    parts = scores["method"].str.rsplit("-", n=1, expand=True)
    learnt = scores[parts[1].str.isdigit().fillna(False)].assign(of=parts[0], steps=pd.to_numeric(parts[1], "coerce"))
    each = learnt.groupby(["of", "steps", "seed"], sort=False)[list(SHOWN)].mean()
    return each.groupby(["of", "steps"], sort=False).agg(["mean", "std"])


def markdown(table: pd.DataFrame, target: pd.Series) -> str:
    """A row per method and length."""
    lines = [f"| method | steps | {' | '.join(SHOWN)} |", "|---" * (len(SHOWN) + 2) + "|"]
    lines.append(f"| the fluorescence itself | | {' | '.join(f.format(target[name]) for name, f in SHOWN.items())} |")
    for (method, steps), row in table.iterrows():
        cells = []
        for name, form in SHOWN.items():
            mean, spread = row[name, "mean"], row[name, "std"]
            text = "" if pd.isna(mean) else form.format(mean)
            cells.append(text + (f" ± {form.replace('+', '').format(spread)}" if spread > 0 else ""))
        lines.append(f"| {method} | {int(steps):,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(table: pd.DataFrame, target: pd.Series, to: Path) -> None:
    """One panel per score, one line per method; the fluorescence itself is dashed."""
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(4 * len(SHOWN), 3.2), layout="constrained")
    steps = sorted(set(table.index.get_level_values("steps")))
    limits = 0.8 * steps[0], 1.25 * steps[-1]
    for panel, name in zip(axes, SHOWN, strict=True):
        for number, (method, rows) in enumerate(table.groupby(level=0, sort=False)):
            found = rows[rows[name, "mean"].notna()]  # without nuclei there are no errors of nuclei
            if len(found):  # a method keeps its colour where another has nothing to show
                panel.errorbar(
                    found.index.get_level_values("steps"),
                    found[name, "mean"],
                    found[name, "std"],
                    label=method,
                    color=f"C{number}",
                    capsize=3,
                )
        panel.axhline(target[name], color="grey", linestyle="--", label="fluorescence")
        panel.set(xlim=limits, xscale="log", xlabel="steps", title=name)
        panel.set_xticks(steps, labels=[f"{count:,.0f}" for count in steps])
        panel.minorticks_off()
    axes[0].legend(fontsize=8)
    with atomic_file(to) as path:
        figure.savefig(path, format="png", dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--sparse", action="store_true", help="few bright nuclei instead of a dense colony")
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, help="fnet is always among them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    settings = SPARSE if arguments.sparse else DENSE
    manifest = simulate_pairs(arguments.to / "data", FIELDS, settings, seed=7, workers=arguments.workers)
    values = {
        "pairs": str(manifest.resolve()),
        "methods": lengthened(arguments.steps, [name for name in METHODS if name in {"fnet", *arguments.only}]),
        "baseline": f"fnet-{arguments.steps[0]}",
        "seeds": tuple(range(arguments.seeds)),
        "evaluation": EvaluationSettings(segmentation=tuned(manifest, arguments.to, complete=True), thresholds=0),
        "claims": {"mean_ap": "high"},
    }
    compared = compare(Comparison.parse(values, "benchmark"), arguments.to, workers=arguments.workers, progress=say)
    scores = compared.evaluation.scores
    table, target = curves(scores), scores.loc[scores["method"] == "target", list(SHOWN)].mean()
    text = f"{markdown(table, target)}\n\nTrainings of each: {arguments.seeds}.\n"
    write_text(arguments.to / "curves.md", text)
    draw(table, target, arguments.to / "curves.png")
    print(text)


if __name__ == "__main__":
    main()
