"""Kill training at random moments, in any phase, many times, and see that it ends with the weights of a straight run.

    python tests/killing.py [--pretrain] [--runs 5] [--kills 6] [--seed 0]

Each run has a cache, a running average and validation; its process is killed (SIGKILL) after a random time, as often
as `--kills` says, and then let run to its end. Prints where the kills fell and whether all weights are the same bits.
With --pretrain, a backbone is trained on the inputs alone.
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
from spotlight.training import Experiment, pretraining

PHASES = {
    "before anything was written": lambda to: not (to / "training").exists(),
    "before the first checkpoint": lambda to: not (to / "training" / "last.ckpt").exists(),
    "between checkpoints": lambda to: not (to / "weights.safetensors").exists(),
    "while the model was written": lambda to: not (to / "model.yaml").exists(),
    "after the end": lambda _: True,
}


def command_of(folder: Path, backbone: bool) -> list[str]:
    """Write pairs and settings, and return the command that trains on them, without the folder of the model."""
    manifest = simulate_pairs(folder / "data", {"train": 2, "val": 1}, SimulationSettings(shape=(32, 64, 64)), 3)
    values = pretraining().model_dump() if backbone else TINY.model_dump()
    values["network"] = TINY.network.model_dump()
    values["patches"]["size"] = (16, 32, 32) if backbone else None
    values["training"] |= TINY.training.model_dump(include={"batch_size", "learning_rate", "precision"})
    values["training"] |= {"steps": 60, "checkpoint_every": 4, "validate_every": 6, "ema": 0.9}
    (folder / "e.yaml").write_text(Experiment.parse(values, "killing").to_yaml())
    verb = "pretrain" if backbone else "train"
    return [sys.executable, "-W", "ignore", "-m", "spotlight", verb, str(manifest), "--settings", "e.yaml"]


def kill_often(
    command: list[str], folder: Path, runs: int, kills: int, rng: np.random.Generator
) -> tuple[list[bool], dict[str, int]]:
    """Return of every run whether it ended with the weights of a straight one, and in which phases the kills fell."""
    environment, silent = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}, subprocess.DEVNULL

    def start(number: str) -> "subprocess.Popen[bytes]":
        places = ["--to", number, "--cache", f"cache-{number}"]
        return subprocess.Popen([*command, *places], cwd=folder, env=environment, stdout=silent, stderr=silent)

    begin = time.perf_counter()
    assert start("straight").wait() == 0
    whole = time.perf_counter() - begin
    expected = load_file(folder / "straight" / "weights.safetensors")
    fallen, same = dict.fromkeys(PHASES, 0), []
    for number in map(str, range(runs)):
        for _ in range(kills):
            process = start(number)
            time.sleep(rng.uniform(0, whole))
            process.send_signal(signal.SIGKILL)
            process.wait()
            fallen[next(phase for phase, holds in PHASES.items() if holds(folder / number))] += 1
        assert start(number).wait() == 0
        found = load_file(folder / number / "weights.safetensors")
        same.append(all(torch.equal(found[key], value) for key, value in expected.items()))
    return same, fallen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrain", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(arguments.seed)
        command = command_of(folder, arguments.pretrain)
        same, fallen = kill_often(command, folder, arguments.runs, arguments.kills, rng)
    for number, equal in enumerate(same):
        print(f"run {number}: {'the same weights' if equal else 'OTHER WEIGHTS'}")
    print(fallen)


if __name__ == "__main__":
    main()
