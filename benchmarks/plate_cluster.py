"""A simulated plate is stained and segmented on a local Dask cluster whose workers are killed, and compared bit by bit.

    OMP_NUM_THREADS=1 python benchmarks/plate_cluster.py --to DIR [--wells 96] [--kills 8] [--seed 0]

The plate has a field of 16 x 48 x 48 voxels in each well. One process makes one plate of it; two workers make another,
of which one that has work is killed (SIGKILL) at random moments: half of the kills while they stain, half while they
segment. Prints what it took, and whether both plates and their tables are the same. Exit status 1 if they are not.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import Client, LocalCluster, as_completed

if TYPE_CHECKING:
    from spotlight.plates import SegmentedPlate

# Spotlight is imported where it is used: each new worker imports this file, and has half a minute to start.

SHAPE = (16, 48, 48)
MODEL = "demo-nuclei"
LOOSE = {"least_contrast": 0, "min_size": 20, "max_size": 1e5}
"""The stains of such small fields are faint, and nuclei are cut by their borders."""
ROWS, COLUMNS = "ABCDEFGH", [f"{number:02}" for number in range(1, 13)]


def make_plate(path: Path, count: int) -> Path:
    """Write a plate of simulated fields, one a well; a plate that is there is kept."""
    from spotlight import simulate_field
    from spotlight.images.plates import add_to_listing, put
    from spotlight.simulation import SimulationSettings

    wells = [
        {"path": f"{row}/{column}", "rowIndex": y, "columnIndex": x}
        for y, row in enumerate(ROWS)
        for x, column in enumerate(COLUMNS)
    ][:count]
    named = {"rows": [{"name": row} for row in ROWS], "columns": [{"name": column} for column in COLUMNS]}
    for number, well in enumerate(wells):
        name = str(well["path"])
        if not (path / name / "0").exists():
            field = simulate_field(SimulationSettings(shape=SHAPE), seed=number).input
            put(field.save(path.parent / "field.ome.zarr", "uint16"), path / name / "0")
        add_to_listing(path / name, "well", "images", {}, [{"path": "0"}], "0")
        add_to_listing(path, "plate", "wells", {"name": "simulated", **named}, wells, name)
    return path


def options() -> Any:
    """How the plate is stained: alike everywhere."""
    from spotlight.prediction import PredictionSettings, StainOptions

    return StainOptions(kind="uint16", settings=PredictionSettings(precision="float32", device="cpu"))


def segment(plate: Path, **given: Any) -> "SegmentedPlate":
    """Add the nuclei to a plate of stains."""
    from spotlight import segment_plate
    from spotlight.segmentation import SegmentationSettings

    return segment_plate(plate, plate, SegmentationSettings(**LOOSE), **given)


def segment_field(plate: Path, field: str, folder: Path) -> None:
    """Put the nuclei of one field into a plate; the table of all is made at the end."""
    segment(plate, scene=field, tables=[folder / f"{field.replace('/', '-')}.csv"])


class Killer:
    """Kills workers that have work, after random numbers of tasks."""

    def __init__(self, cluster: LocalCluster, client: Client, rng: np.random.Generator) -> None:
        self.cluster, self.client, self.rng = cluster, client, rng
        self.killed = 0
        self.moments: list[int] = []

    def plan(self, tasks: int, kills: int) -> None:
        """Choose after which of so many tasks to kill."""
        self.moments = sorted(map(int, self.rng.choice(np.arange(1, tasks - 1), kills, replace=False)))

    def __call__(self, done: int) -> None:
        """Kill a worker if it is time to."""
        busy = [address for address, tasks in self.client.processing().items() if tasks]
        if not self.moments or done < self.moments[0] or not busy:
            return
        time.sleep(self.rng.uniform(0, 0.1))
        chosen = self.rng.choice(busy)
        nanny = next((one for one in self.cluster.workers.values() if one.worker_address == chosen), None)
        if nanny is not None and nanny.pid is not None:
            os.kill(nanny.pid, signal.SIGKILL)
            self.moments.pop(0)
            self.killed += 1


def on_cluster(plate: Path, folder: Path, kills: int, rng: np.random.Generator) -> tuple["SegmentedPlate", int, float]:
    """Stain and segment a plate on two workers; gives the nuclei, the kills, and the peak memory of a worker in GB."""
    from spotlight.prediction import find_parts, stain_on_cluster

    to = folder / "stained.ome.zarr"
    parts = find_parts([plate])
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        killer = Killer(cluster, client, rng)
        killer.plan(len(parts), kills // 2)
        results = stain_on_cluster(
            MODEL, parts, to, options(), scheduler=cluster.scheduler_address, progress=lambda _, done, *__: killer(done)
        )
        assert {one.state for one in results} == {"made"}, [one.reason for one in results if one.state == "failed"]
        killer.plan(len(parts), kills - kills // 2)
        scratch = folder / "parts"
        futures = client.map(segment_field, [to] * len(parts), [str(p.scene) for p in parts], [scratch] * len(parts))
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            killer(done)
        peak = max(client.run(lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).values())
    return segment(to), killer.killed, peak / 2**20


def in_one_process(plate: Path, folder: Path) -> "SegmentedPlate":
    """Do the same without a cluster."""
    from spotlight import load_model
    from spotlight.prediction import find_parts, stain_files

    to = folder / "stained.ome.zarr"
    stain_files(load_model(MODEL), find_parts([plate]), to, options())
    return segment(to)


def differences(one: Path, other: Path) -> list[str]:
    """Name files of two folders that are not the same; of metadata, what Spotlight records of when and how is not."""
    from spotlight.images.plates import METADATA, OWN, read_attributes

    def contents(folder: Path) -> dict[str, object]:
        names = [file for file in folder.rglob("*") if file.is_file() and "parts" not in file.parts]
        return {str(file.relative_to(folder)): of(file) for file in names}

    def of(file: Path) -> object:
        if file.name != METADATA:
            return file.read_bytes()
        attributes = read_attributes(file.parent)
        return {name: value for name, value in attributes.items() if name != OWN} or file.read_bytes()

    first, second = contents(one), contents(other)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--wells", type=int, default=96)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folders = [arguments.to / name for name in ("one-process", "cluster")]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    begin = time.perf_counter()
    plate = make_plate(arguments.to / "plate.ome.zarr", arguments.wells)
    print(f"{arguments.wells} wells simulated: {time.perf_counter() - begin:.0f} s", flush=True)
    begin = time.perf_counter()
    straight = in_one_process(plate, folders[0])
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"one process: {time.perf_counter() - begin:.0f} s, at most {own:.2f} GB", flush=True)
    begin = time.perf_counter()
    found, killed, peak = on_cluster(plate, folders[1], arguments.kills, np.random.default_rng(arguments.seed))
    print(f"two workers, {killed} killed: {time.perf_counter() - begin:.0f} s, at most {peak:.2f} GB each", flush=True)
    print(f"{len(found.labels)} fields with {len(found.table)} nuclei; {found.kept} were kept for the table")
    other = differences(*folders)
    same = not other and found.table.equals(straight.table)
    print(f"the same bits: {same}", *other[:5], sep="\n")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
