"""Which network to train from scratch: UNeXt2 against F-net, in equal time on one core, in 3D and in 2D.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/networks.py DATA --to DIR [--set phase volumes] [--seeds 3]
        [--seconds 30 60] [--rates 3e-4 1e-3 3e-3]

- "volumes": simulated dense colonies as in benchmarks/paper.py, at its small scale; 6 fields train, 2 validate, 6 are
  judged with exact labels and a segmentation tuned on the fluorescence of training fields;
- "phase": `phase_nuclei_2d` of DATA as in benchmarks/real.py; each of two positions trains once and the other is
  judged, in quarters, by the frozen segmenter. A seed's two trainings count as one.

Both networks have the default's preparation, loss, optimiser and voxels per step, and the arithmetic in which they are
faster: bfloat16 for F-net, float32 for UNeXt2. First the seconds of the processor that a step takes are measured; then
each training gets the steps that fill the same time, `--seconds` for each set. The learning rate is the default's;
of several `--rates` each network gets that with the least loss on the fields that validate, in 25 seconds and with
another seed. What is there already is not done again; DIR/SET then holds scores.md and comparison.csv.
"""

import argparse
import json
import time
from pathlib import Path

from harness import loading, say

loading()

import numpy as np
import pandas as pd

import real
from paper import DENSE, tuned
from spotlight.comparison import Comparison, compare
from spotlight.demonstration import BATCH
from spotlight.evaluation import EvaluationSettings
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.metrics.cards import Direction
from spotlight.model import read_description
from spotlight.networks import FNetSettings, NetworkSettings, UNeXt2Settings
from spotlight.pairs import Pair
from spotlight.simulation import simulate_pairs
from spotlight.training import Experiment, protocol, train

FIELDS = {"train": 6, "val": 2, "test": 6}
UNEXT2 = UNeXt2Settings(depths=(2, 2, 2), widths=(32, 48, 80), window=8, stem=(4, 4))
NETWORKS: dict[str, dict[str, NetworkSettings]] = {
    "volumes": {"fnet": FNetSettings(depth=3, mult_chan=8), "unext2": UNEXT2},
    "phase": {"fnet": FNetSettings(depth=3, mult_chan=16), "unext2": UNEXT2},
}
BASELINE = "fnet"
CLAIMED: dict[str, dict[str, Direction]] = {"volumes": {"mean_ap": "high"}, "phase": {"ap50": "high"}}
"""The one claim of each set, chosen beforehand: every further one makes each harder to show."""
LOOKED_AT: dict[str, dict[str, Direction]] = {
    "volumes": {"psnr_nuclei": "high", "pearson": "high", "profile_error": "low", "volume_error": "zero"},
    "phase": {"pcc": "high", "pcc_around": "high", "ap75": "high"},
}
"""Scores that are reported with their intervals, and of which nothing is claimed."""
TIMED, RATES = "seconds_per_step.json", "rates.json"
LOOK = 25.0
"""Seconds of a training that chooses a learning rate."""
MEASURED, FIRST = 24, 4
"""Steps that are timed, and those before them that do not count."""


def experiment(name: str, network: NetworkSettings, steps: int, rate: float = 1e-3, seed: int = 0) -> Experiment:
    """The default at the scale of a set; weights of the last step, or of the better of two validations in 3D."""
    default = protocol("spotlight")
    changes: dict[str, object] = {"steps": steps, "validate_every": steps, "learning_rate": rate, "seed": seed}
    changes |= {"validation_share": 0, "precision": "auto" if isinstance(network, FNetSettings) else "float32"}
    grid = {"grid": "native"} if name == "phase" else {}
    changes |= {"batch_size": BATCH} if name == "volumes" else {}
    return default.model_copy(
        update={
            "training": default.training.model_copy(update=changes),
            "preparation": default.preparation.model_copy(update=grid),
            "network": network,
        }
    )


def seconds_per_step(pairs: Path | list[Pair], to: Path, given: Experiment) -> float:
    """Seconds of the processor that a step takes, with drawing its patches: the median of some steps."""
    times = []

    def note(work: str, done: int, total: int, figures: dict[str, float]) -> None:
        if work == "training":
            times.append(time.process_time())

    train(pairs, to, given, overwrite=True, progress=note)
    return float(np.median(np.diff(times)[FIRST:-1]))


def steps_of(name: str, pairs: Path | list[Pair], to: Path, seconds: float) -> dict[str, int]:
    """Steps of every network that take so many seconds; a step is timed once."""
    kept = to / TIMED
    if not kept.exists():
        found = {}
        for method, network in NETWORKS[name].items():
            found[method] = seconds_per_step(pairs, to / "timing" / method, experiment(name, network, MEASURED))
        write_text(kept, json.dumps(found))
    each = json.loads(kept.read_text(encoding="utf-8"))
    steps = {method: round(seconds / each[method]) for method in each}
    print(f"{name}: seconds per step {each}; in {seconds:g} s, steps {steps}", flush=True)
    return steps


def best_rates(to: Path, rates: list[float]) -> dict[str, float]:
    """Learning rate of each network with the least loss on fields that validate; chosen once."""
    kept = to / RATES
    if len(rates) == 1:
        return dict.fromkeys(NETWORKS["volumes"], rates[0])
    if not kept.exists():
        manifest = simulate_pairs(to / "data", FIELDS, DENSE, seed=7)
        losses: dict[str, dict[float, float]] = {}
        for method, steps in steps_of("volumes", manifest, to, LOOK).items():
            for rate in rates:
                given = experiment("volumes", NETWORKS["volumes"][method], steps, rate, seed=100)
                folder = train(manifest, to / "rates" / f"{method}-{rate:g}", given)
                losses.setdefault(method, {})[rate] = read_description(folder).training["best"]["loss"]
                print(
                    f"{method}, {steps} steps at rate {rate:g}: validation loss {losses[method][rate]:.4f}", flush=True
                )
        write_text(kept, json.dumps({method: min(found, key=found.__getitem__) for method, found in losses.items()}))
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def volumes(data: Path, to: Path, seconds: float, seeds: int, rates: dict[str, float]) -> pd.DataFrame:
    """Simulated colonies; scores of every field."""
    manifest = simulate_pairs(to / "data", FIELDS, DENSE, seed=7)
    segmentation = tuned(manifest, to, complete=True)
    steps = steps_of("volumes", manifest, to, seconds)
    methods = {}
    for method, network in NETWORKS["volumes"].items():
        values = experiment("volumes", network, steps[method], rates[method]).model_dump(mode="json")
        methods[method] = {"protocol": values.pop("protocol"), "change": values}
    comparison = Comparison.parse(
        {
            "pairs": str(manifest.resolve()),
            "methods": methods,
            "baseline": BASELINE,
            "seeds": tuple(range(seeds)),
            "evaluation": EvaluationSettings(segmentation=segmentation, resolution=False),
            "claims": CLAIMED["volumes"],
        },
        "benchmark",
    )
    scores = compare(comparison, to, progress=say).evaluation.scores
    return scores[scores["method"].isin(methods)]


def phase(data: Path, to: Path, seconds: float, seeds: int, rates: dict[str, float]) -> pd.DataFrame:
    """Nuclei in phase contrast; scores of every quarter of both positions."""
    file = data / "phase_nuclei_2d" / "s10.ome.tif"
    pairs = [Pair("s10", file, file, split="train", input_channel="Phase", target_channel="Nuclei")]
    steps = steps_of("phase", pairs, to, seconds)
    chosen = {m: experiment("phase", network, steps[m], rates[m]) for m, network in NETWORKS["phase"].items()}
    return real.phase(data, to, chosen, seeds)


def summary(name: str, to: Path, scores: pd.DataFrame) -> str:
    """Scores of both networks with the spread between trainings, and their difference with its interval."""
    claims, further = (compare_methods(scores, BASELINE, which[name], ["unext2"]) for which in (CLAIMED, LOOKED_AT))
    table = pd.concat([claims, further])
    table.to_csv(to / "comparison.csv", index=False, float_format="%.6g")
    spread = scores.groupby(["method", "seed"])[list(table["metric"])].mean().groupby("method").std()
    lines = ["| | F-net | UNeXt2 | UNeXt2 - F-net (95 %) |", "|---|---|---|---|"]
    for row in table.to_dict("records"):
        metric = row["metric"]
        cells = [
            f"{row[f'{who}_mean']:.3f} ± {spread.loc[of, metric]:.3f}"
            for who, of in (("baseline", BASELINE), ("method", "unext2"))
        ]
        difference = f"{row['mean_difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        lines.append(f"| {metric} | {' | '.join(cells)} | {difference} |")
    return "\n".join([f"{name}:", "", *lines, "", *claims["verdict"]]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=["phase", "volumes"], choices=["phase", "volumes"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, nargs=2, default=(30, 60), help="of a training in 2D and in 3D")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3], help="learning rates to choose from")
    arguments = parser.parse_args()
    rates = best_rates(arguments.to / "volumes", arguments.rates)
    for name, work, seconds in zip(("phase", "volumes"), (phase, volumes), arguments.seconds, strict=True):
        if name in arguments.set:
            to = arguments.to / name
            text = summary(name, to, work(arguments.data, to, seconds, arguments.seeds, rates))
            write_text(to / "scores.md", text)
            print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
