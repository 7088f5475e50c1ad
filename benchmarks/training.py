"""Speed of training: F-net's original style of loop, and each of our measures added to it in turn.

    python benchmarks/training.py [--batch 24] [--steps 3] [--depth 4] [--channels 32] [--only NAME ...] [--compile]

Every row is a process of its own, on the same stacks (noise; 4 of 65 x 232 x 344 voxels, the size of the Allen stacks
on the published grid), with patches of 32 x 64 x 64. "original style" is written after the description of F-net's
code: float32, one patch cut after another, Adam weight by weight, the loss read after every step. Rows "+ ..." add one
measure to the row above. "spotlight" is `spotlight.train`'s own loop with all of them, and with everything around the
steps.

The share of the peak is of what a large matrix product reaches in the row's own arithmetic on this machine. Seconds
of the processor are counted where it computes, since other programs then matter less; on a GPU those of the wall.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import harness
from harness import Table
from spotlight.devices import find_device
from spotlight.foreground import Foreground
from spotlight.losses import SpotlightLossSettings
from spotlight.networks import FNet, FNetSettings
from spotlight.pairs.prepared import PreparedPair
from spotlight.training.batches import Outputs
from spotlight.training.callbacks import RunCallback
from spotlight.training.data import make_batches, make_sampler
from spotlight.training.engine import StainModule
from spotlight.training.explanation import network_cost
from spotlight.training.fit import fit
from spotlight.training.hardware import Processes, choose_precision
from spotlight.training.settings import Experiment, TrainingSettings

PATCH = (32, 64, 64)
SHAPE = (65, 232, 344)
ROWS = ("original style", "+ channels last", "+ bf16", "+ fused Adam", "+ compile", "spotlight")
WARM = 2
"""Steps that are not timed."""


def stacks() -> list[PreparedPair]:
    """Stacks of noise with blobs of foreground."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image, target = rng.standard_normal((2, *SHAPE), np.float32)
        mask = target > 0.5
        foreground = Foreground(0.0, 0.3, ())
        found.append(
            PreparedPair(f"{seed}", image, target, mask, 0.0, foreground, (0.0, 1.0), None, ("", ""), (1.0, 1.0))
        )
    return found


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def clock(device: torch.device) -> float:
    """Seconds: of the processor, or of the wall where a GPU computes."""
    wait(device)
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def plain(row: str, network: FNet, pairs: list[PreparedPair], device: torch.device, batch: int) -> Callable[[], None]:
    """A step of the original's style, with the measures up to a row."""
    measures = ROWS[1 : ROWS.index(row) + 1]
    last = "+ channels last" in measures
    if last:
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if "+ compile" in measures:
        network.compile()
    fused = "+ fused Adam" in measures
    adam = torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.999), fused=fused, foreach=None if fused else False)
    rng = np.random.default_rng(0)

    def cut() -> tuple[torch.Tensor, torch.Tensor]:
        patches = []
        for _ in range(batch):
            pair = pairs[rng.integers(len(pairs))]
            start = [rng.integers(n - p + 1) for n, p in zip(SHAPE, PATCH, strict=True)]
            box = tuple(slice(s, s + p) for s, p in zip(start, PATCH, strict=True))
            patches.append((torch.tensor(pair.input[box]), torch.tensor(pair.target[box])))
        image, target = (torch.stack(both)[:, None].to(device) for both in zip(*patches, strict=True))
        return image, target

    def step() -> None:
        image, target = cut()
        if last:
            image = image.to(memory_format=torch.channels_last_3d)
        adam.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, "+ bf16" in measures):
            stain = network(image)
        loss = nn.functional.mse_loss(stain.float(), target)
        loss.backward()
        adam.step()
        loss.item()

    return step


def measure(row: str, batch: int, steps: int, size: tuple[int, int], compiled: bool) -> dict[str, float]:
    """Seconds per step, seconds before the first timed one, and memory, of a network of a depth and width."""
    settings = FNetSettings(depth=size[0], mult_chan=size[1])
    device = find_device("auto")
    pairs = stacks()
    torch.manual_seed(0)
    network = FNet(3, settings.depth, settings.mult_chan).to(device)
    begin = clock(device)
    if row == "spotlight":
        times: list[float] = []

        class Timed(RunCallback):
            def on_train_batch_end(self, *arguments: object) -> None:
                times.append(clock(device))

        training = TrainingSettings(steps=WARM + steps, batch_size=batch, micro_batches=1, compile=compiled)
        experiment = Experiment(network=settings, loss=SpotlightLossSettings(background=0.25), training=training)
        sampler = make_sampler(pairs, PATCH, experiment)
        batches = make_batches(pairs, sampler, experiment, Processes(), device)
        module = StainModule(network, experiment.loss, training)
        with tempfile.TemporaryDirectory() as folder:
            callback = Timed(Path(folder), training, [], PATCH, batches.names, None, [], Outputs.single(0))
            fit(module, batches, callback, experiment, choose_precision("auto", device))
        each, before = (times[-1] - times[WARM - 1]) / steps, times[WARM - 1] - begin
    else:
        step = plain(row, network, pairs, device, batch)
        for _ in range(WARM):
            step()
        middle = clock(device)
        for _ in range(steps):
            step()
        each, before = (clock(device) - middle) / steps, middle - begin
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else harness.peak()
    return {"each": each, "before": before - WARM * each, "memory": memory}


def peak(kind: torch.dtype) -> float:
    """FLOP per second of a large matrix product."""
    device = find_device("auto")
    n = 16384 if device.type == "cuda" else 3072
    a = torch.randn(n, n, device=device).to(kind)
    best = float("inf")
    for _ in range(6):
        begin = clock(device)
        _ = a @ a
        best = min(best, clock(device) - begin)
    return 2 * n**3 / best


def main() -> None:
    parser = harness.options(__doc__)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--only", nargs="+", choices=ROWS)
    parser.add_argument("--compile", action="store_true", help="compile in the last row, too, and show that measure")
    arguments = parser.parse_args()
    size = arguments.depth, arguments.channels
    device = find_device("auto")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} processor threads"
    peaks = {kind: peak(kind) for kind in (torch.float32, torch.bfloat16)}
    print(f"{name}; peak of a matrix product: " + ", ".join(f"{k}: {v / 1e9:.0f} GFLOP/s" for k, v in peaks.items()))
    flop = 3 * network_cost(FNetSettings(depth=size[0], mult_chan=size[1]), PATCH)[1] * arguments.batch
    print()
    heads = ("s per step", "before", "GFLOP/s", "of the peak", "memory GiB", "times faster")
    table = Table(arguments.json, "", *heads)
    first = None
    shown = [row for row in ROWS if row != "+ compile" or arguments.compile]
    for row in arguments.only or shown:
        found = harness.call(measure, row, arguments.batch, arguments.steps, size, arguments.compile)
        first = first or found["each"]
        half = row not in ROWS[:2] and (row != "spotlight" or choose_precision("auto", device) == "bf16")
        rate = flop / found["each"]
        share = rate / peaks[torch.bfloat16 if half else torch.float32]
        cells = (f"{found['each']:.2f}", f"{found['before']:.1f}", f"{rate / 1e9:.0f}", f"{share:.0%}")
        memory, faster = found["memory"] / 2**30, first / found["each"]
        table.add(row, *cells, f"{memory:.1f}", f"{faster:.2f}", **found)


if __name__ == "__main__":
    main()
