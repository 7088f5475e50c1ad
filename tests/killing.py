"""Kill training at random moments, in any phase, many times, and see that it ends with the weights of a straight run.

    python tests/killing.py [--runs 5] [--kills 6] [--seed 0]

Each run has a cache, a running average and validation; its process is killed (SIGKILL) after a random time, as often
as `--kills` says, and then let run to its end. Prints where the kills fell and whether all weights are the same bits.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from conftest import TINY
from spotlight.simulation import SimulationSettings, simulate_pairs
from spotlight.training import Experiment

PHASES = {
    "before anything was written": lambda to: not (to / "training").exists(),
    "before the first checkpoint": lambda to: not (to / "training" / "last.ckpt").exists(),
    "between checkpoints": lambda to: not (to / "weights.safetensors").exists(),
    "while the model was written": lambda to: not (to / "model.yaml").exists(),
    "after the end": lambda _: True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    values = TINY.model_dump()
    values["training"] |= {"steps": 60, "checkpoint_every": 4, "validate_every": 6, "ema": 0.9}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = simulate_pairs(folder / "data", {"train": 2, "val": 1}, SimulationSettings(shape=(32, 64, 64)), 3)
        (folder / "e.yaml").write_text(Experiment.parse(values, "killing").to_yaml())
        command = [sys.executable, "-W", "ignore", "-m", "spotlight", "train", str(manifest), "--settings", "e.yaml"]
        environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}

        def start(number: str) -> "subprocess.Popen[bytes]":
            places = ["--to", number, "--cache", f"cache-{number}"]
            return subprocess.Popen([*command, *places], cwd=folder, env=environment, stderr=subprocess.DEVNULL)

        begin = time.perf_counter()
        assert start("straight").wait() == 0
        whole = time.perf_counter() - begin
        expected = load_file(folder / "straight" / "weights.safetensors")
        fallen = dict.fromkeys(PHASES, 0)
        for number in map(str, range(arguments.runs)):
            for _ in range(arguments.kills):
                process = start(number)
                time.sleep(rng.uniform(0, whole))
                process.send_signal(signal.SIGKILL)
                process.wait()
                fallen[next(phase for phase, holds in PHASES.items() if holds(folder / number))] += 1
            assert start(number).wait() == 0
            found = load_file(folder / number / "weights.safetensors")
            same = all(torch.equal(found[key], value) for key, value in expected.items())
            print(f"run {number}: {'the same weights' if same else 'OTHER WEIGHTS'}", flush=True)
        print(fallen)


if __name__ == "__main__":
    main()
