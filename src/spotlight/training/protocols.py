"""The named protocols: complete settings of an experiment."""

from collections.abc import Callable

from spotlight.errors import SpotlightError
from spotlight.foreground import ForegroundSettings
from spotlight.losses.blurred import SharpLossSettings
from spotlight.losses.settings import L1Settings, MseSettings, SpotlightLossSettings
from spotlight.losses.task_settings import AdversarialSettings, HiddenLossSettings, TeacherSettings
from spotlight.networks.settings import FNetSettings, Pix2PixSettings
from spotlight.pairs.prepared import PreparationSettings
from spotlight.tasks import TASKS, HiddenTask, SegmentTask, Task
from spotlight.training.settings import Experiment, PatchSettings, TrainingSettings


def fnet_2018() -> Experiment:
    """F-net as published: squared error on z-scored targets, any patch (Ounkomol et al., Nature Methods 15, 917)."""
    return Experiment(
        protocol="fnet-2018",
        preparation=PreparationSettings(target_center="mean"),
        patches=PatchSettings(least_foreground=0.0),
        loss=MseSettings(),
    )


def spotlight_2025() -> Experiment:
    """Spotlight as published: centred on Otsu's threshold, masked error and Dice (Kalinin et al., arXiv:2507.05383)."""
    return Experiment(protocol="spotlight-2025")


def spotlight_plus() -> Experiment:
    """What we recommend at the published size: the default's preparation and loss, the published network and run."""
    default = spotlight_small()
    schedule = TrainingSettings(schedule="cosine")
    return default.model_copy(update={"protocol": "spotlight-plus", "network": FNetSettings(), "training": schedule})


# Sized for a laptop: an hour or two on two cores. A narrower and shallower network learns as much in that time.
_LAPTOP_NETWORK = FNetSettings(depth=3, mult_chan=16)
_LAPTOP_TRAINING = TrainingSettings(
    steps=2000, batch_size=8, schedule="cosine", validate_every=100, checkpoint_every=100
)


def spotlight_small() -> Experiment:
    """The default: Spotlight in a short run that a laptop can do, with what makes short runs dependable.

    Against the paper: a smaller network; a mask from the median-filtered target, since a ragged mask biases the masked
    error upwards; squared errors averaged over all voxels, so that a voxel of a rare nucleus does not weigh many times
    one of the background; a background term with a margin, which pulls what is uncertain below the threshold; and
    plain squared error in the last part of the run, which learns the brightness that was left free until then.
    docs/method.md tells what each does, docs/quality.md what was seen of it.
    """
    return Experiment(
        protocol="spotlight",
        preparation=PreparationSettings(mask_median_px=3, foreground=ForegroundSettings(median_px=3, gaussian_px=0)),
        patches=PatchSettings(augment=True),
        network=_LAPTOP_NETWORK,
        loss=SpotlightLossSettings(weight=0.5, background=0.5, margin=0.5, average="voxels", settle=(0.4, 0.7)),
        training=_LAPTOP_TRAINING,
    )


def spotlight_sharp() -> Experiment:
    """The dye instead of the fluorescence: squared error after the microscope's blur, in a run that a laptop can do.

    Patches span 48 planes, since dye beyond a patch would be seen in it. docs/method.md tells how it works.
    """
    return Experiment(
        protocol="spotlight-sharp",
        preparation=PreparationSettings(
            target_center="offset", mask_median_px=3, foreground=ForegroundSettings(median_px=3, gaussian_px=0)
        ),
        patches=PatchSettings(size=(48, 96, 96), augment=True),
        network=_LAPTOP_NETWORK.model_copy(update={"positive": True}),
        loss=SharpLossSettings(),
        training=_LAPTOP_TRAINING.model_copy(update={"batch_size": 2}),
    )


def fnet_small() -> Experiment:
    """F-net's loss at the scale of the default, for comparison."""
    return Experiment(
        protocol="fnet",
        preparation=PreparationSettings(
            target_center="mean", foreground=ForegroundSettings(median_px=3, gaussian_px=0)
        ),
        patches=PatchSettings(least_foreground=0.0, augment=True),
        network=_LAPTOP_NETWORK,
        loss=MseSettings(),
        training=_LAPTOP_TRAINING,
    )


def light_my_cells_2024() -> Experiment:
    """Light My Cells as Liu et al. (arXiv:2406.15716) describe it: pix2pix on many stains, partly labelled.

    Any plane of 16-bit images on a fixed scale; stains drawn equally often; 512 x 512 patches in flips and turns. The
    run is 300 epochs of the challenge's 2,574 fields in batches of 4; half of them at the full learning rate.
    """
    return Experiment(
        protocol="lightmycells-2024",
        preparation=PreparationSettings(grid="native", planes="one", scaling="uint16"),
        patches=PatchSettings(size=(512, 512), least_foreground=0.0, augment=True),
        network=Pix2PixSettings(),
        loss=L1Settings(),
        adversarial=AdversarialSettings(),
        over_stains="sum",
        balance="stains",
        modalities="separate",
        training=TrainingSettings(
            steps=193_050, batch_size=4, learning_rate=2e-4, schedule="linear", validate_every=2000, micro_batches=1
        ),
    )


def lsm_2026() -> Experiment:
    """Pretraining of the light-sheet model of Scheinfeld et al. (arXiv:2605.26026), without its text.

    Shares of 0.05, then 0.30 hidden in blocks of 8 or 16; L1 and distillation from a running average, with the
    published weights; 64-voxel patches. Not as published: the network is an F-net, inputs are standardised, and steps
    stand for its 500 epochs, of which the first 20 to 30 hide less.
    """
    steps = 50_000
    return Experiment(
        protocol="lsm-2026",
        task=HiddenTask(early_share=0.05, early_steps=steps // 20, further_blocks_px=(16,)),
        preparation=PreparationSettings(grid="native"),
        patches=PatchSettings(size=(64, 64, 64), least_foreground=0.0, augment=True, intensity=0.2, noise=0.02),
        network=FNetSettings(),
        loss=HiddenLossSettings(beta=0.0, scaled=False),
        teacher=TeacherSettings(),
        training=TrainingSettings(steps=steps, batch_size=2, learning_rate=1e-4, ema=0.996),
    )


def spots() -> Experiment:
    """Masks of small bright bodies in cleared tissue, such as c-Fos cells, in minutes on a laptop.

    Against the settings of the task: inputs on the same logarithmic scale in every volume, since volumes with three
    cells and volumes with hundreds differ in their statistics more than in the brightness of a cell; a faster and
    averaged run; no volume held out, since one of the same brain says little about the next brain; and no body of less
    than 8 voxels. docs/light-sheet.md has scores.
    """
    found = protocol("spotlight", SegmentTask(least_voxels=8))
    run = {"learning_rate": 4e-3, "ema": 0.98, "validation_share": 0.0}
    size = {"steps": 300, "batch_size": 4}
    return found.model_copy(
        update={
            "protocol": "spots",
            "preparation": found.preparation.model_copy(update={"scaling": "log"}),
            "patches": found.patches.model_copy(update={"size": (16, 48, 48)}),
            "network": FNetSettings(depth=2, mult_chan=8),
            "training": found.training.model_copy(update=run | size),
        }
    )


PROTOCOLS: dict[str, Callable[[], Experiment]] = {
    "spotlight": spotlight_small,
    "fnet": fnet_small,
    "spotlight-sharp": spotlight_sharp,
    "spotlight-plus": spotlight_plus,
    "spotlight-2025": spotlight_2025,
    "fnet-2018": fnet_2018,
    "lightmycells-2024": light_my_cells_2024,
    "lsm-2026": lsm_2026,
    "spots": spots,
}


def for_task(experiment: Experiment | str, task: Task | str | None) -> Experiment:
    """Return settings, given or of a named protocol, for a task; None leaves their own.

    Raises
    ------
    SpotlightError
        If settings are given that are for another task.
    """
    if isinstance(experiment, str):
        return protocol(experiment, task)
    if task is not None and (task if isinstance(task, str) else task.kind) != experiment.task.kind:
        raise SpotlightError(
            f"the settings are for the task {experiment.task.kind!r}, but {task!r} was asked for. Leave one of them "
            "out. `spotlight settings --task NAME` prints the settings of a task."
        )
    return experiment


def protocol(name: str, task: Task | str | None = None) -> Experiment:
    """Return the settings of a named protocol, with those of a task in place of those for stains.

    Parameters
    ----------
    name : str
        One of `PROTOCOLS`, such as ``spotlight`` or ``fnet-2018``.
    task : Task or str, optional
        What is learnt instead of a stain, such as ``segment``.

    Returns
    -------
    Experiment
        All settings, for `train`; `model_copy` changes some.

    Raises
    ------
    SpotlightError
        If there is no such protocol or task.

    Examples
    --------
    >>> from spotlight.training import protocol
    >>> protocol("spotlight").loss.kind, protocol("fnet").loss.kind
    ('spotlight', 'mse')
    >>> protocol("spotlight", task="segment").loss.kind
    'masks'
    """
    if name not in PROTOCOLS:
        raise SpotlightError(f"unknown protocol {name!r}. Known: {', '.join(PROTOCOLS)}.")
    found = PROTOCOLS[name]()
    if task is None or task == found.task.kind:
        return found
    chosen = TASKS.find(task).parse({}, task) if isinstance(task, str) else task
    if chosen == found.task:
        return found
    values = found.model_dump() | {"protocol": chosen.kind, "task": chosen}
    for part, changes in chosen.defaults().items():
        kept = values[part] if isinstance(changes, dict) and not {"kind", "architecture"} & changes.keys() else None
        values[part] = changes if kept is None else kept | changes
    return Experiment.parse(values, f"task {chosen.kind}")
