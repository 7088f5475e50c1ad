"""`spotlight demo`: the whole road on simulated cells in a few minutes."""

from pathlib import Path

from spotlight.evaluation import EvaluationSettings, evaluate
from spotlight.files import write_text
from spotlight.locks import works_in
from spotlight.networks import FNetSettings
from spotlight.prediction import load_model
from spotlight.progress import Progress, named
from spotlight.report import write_report
from spotlight.report.text import score_text
from spotlight.segmentation import read_settings
from spotlight.segmentation.tuning import tune
from spotlight.simulation import SimulationSettings, simulate_pairs
from spotlight.training import Experiment, protocol, train

FIELDS = {"train": 6, "val": 1, "test": 2}
SHAPE = (48, 192, 192)
STEPS = 300
BATCH = 4
QUICK = {"steps": 260, "batch_size": 2}
"""Of the demo itself, so that it ends within six minutes on a processor without bfloat16, too."""
TUNED_ON = 2
"""Training fields on which the segmentation is tuned."""


def small(name: str, seed: int, **changes: int) -> Experiment:
    """A protocol cut down to what two processor cores do in a few minutes; `changes` are of its training settings."""
    experiment = protocol(name)
    training = experiment.training.model_copy(
        update={"steps": STEPS, "batch_size": BATCH, "seed": seed, "validate_every": 50, "checkpoint_every": 50}
        | changes
    )
    positive = isinstance(experiment.network, FNetSettings) and experiment.network.positive
    network = FNetSettings(depth=3, mult_chan=8, positive=positive)
    return experiment.model_copy(update={"network": network, "training": training})


@works_in("to")
def demo(
    to: str | Path = "demo", seed: int = 0, progress: Progress | None = None, workers: int = 1
) -> tuple[Path, str]:
    """Simulate cells, train F-net and Spotlight alike, stain held-out fields, compare with the truth, write a page.

    Both models see the same stacks, have the same network, seed and number of steps. Fields and models that are there
    already from an earlier call are not made again.

    Parameters
    ----------
    to : path
        Folder for data, models, tables and the page.
    seed : int
        Of the cells and of the training.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.
    workers : int
        Processes that simulate; see `spotlight.simulate_pairs`.

    Returns
    -------
    (Path, str)
        The page, and the comparison as text.

    Examples
    --------
    >>> import spotlight
    >>> page, text = spotlight.demo("demo")  # doctest: +SKIP
    """
    to = Path(to)

    def simulating(done: int, total: int) -> None:
        if progress is not None:
            progress("simulating", done, total, {})

    manifest = simulate_pairs(to / "data", FIELDS, SimulationSettings(shape=SHAPE), seed, workers, simulating)
    models = {
        name: train(manifest, to / "models" / name, small(name, seed, **QUICK), progress=named(progress, name))
        for name in ("fnet", "spotlight")
    }
    path = to / "segmentation.yaml"
    if not path.exists():
        write_text(path, tune(manifest, most_stacks=TUNED_ON, progress=named(progress, "segmentation")).to_yaml())
    settings = EvaluationSettings(segmentation=read_settings(path))
    loaded = {name: load_model(folder) for name, folder in models.items()}
    flat = {f"{name}-flat": model.flattened() for name, model in loaded.items()}
    evaluation = evaluate(manifest, loaded | flat, to, settings, progress=progress)
    remarks = (
        "Simulated stem cells, seen in brightfield and in DNA fluorescence. Two models were trained on the same "
        f"{FIELDS['train']} fields with the same network, seed and {QUICK['steps']} steps: F-net (squared error on "
        "every voxel) and Spotlight (which first learns where nuclei are, and then their brightness). They stained "
        "fields that neither had seen. In the stains named flat, everything below the foreground threshold is made "
        "background: this is for shapes, not for intensities.",
        "Truth is exact here: it is what the images were made from. The segmentation was tuned on the fluorescence of "
        f"{TUNED_ON} training fields, and is the same for all.",
    )
    page = write_report(to, "F-net and Spotlight on simulated cells", remarks, progress)
    return page, score_text(evaluation.scores)
