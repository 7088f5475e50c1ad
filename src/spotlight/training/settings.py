"""Settings of an experiment."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from spotlight.given import remember
from spotlight.losses.blurred import SharpLossSettings
from spotlight.losses.settings import LossField, SpotlightLossSettings
from spotlight.losses.task_settings import AdversarialSettings, TeacherSettings
from spotlight.networks.settings import FNetSettings, NetworkField
from spotlight.pairs.prepared import PreparationSettings
from spotlight.settings import Settings
from spotlight.tasks import StainTask, TaskField


class PatchSettings(Settings):
    """What the network sees in a training step.

    Examples
    --------
    >>> from spotlight.training import PatchSettings
    >>> patches = PatchSettings(size=(32, 96, 96), augment=True)
    >>> patches.least_foreground, patches.noise
    (0.001, 0.0)
    """

    size: tuple[PositiveInt, ...] | None = Field(
        None,
        description="Voxels per axis. Left out: 32x64x64 (Ounkomol et al. 2018) or, in two dimensions, 128x128, "
        "shrunk where a stack is smaller; what was chosen is recorded.",
    )
    least_foreground: float = Field(
        0.001, ge=0, le=1, description="Least share of foreground in a patch (Kalinin et al. 2025: 0.1 %); 0 for F-net."
    )
    anywhere: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the patches that may hold any foreground or none. Try 0.5 where no more than "
        "some twenty cells train: patches that hold some are few there, and may be learnt by heart.",
    )
    augment: bool = Field(False, description="Random flips and quarter turns in YX. Off in both publications.")
    intensity: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Random contrast and brightness of the input, each at most this share of its standard deviation.",
    )
    noise: float = Field(
        0.0, ge=0, description="Random noise on the input, of at most this many of its standard deviations."
    )
    focus: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Random blurring and sharpening of the input: at most this share of its difference to its mean "
        "over 3 voxels along every axis.",
    )


class TrainingSettings(Settings):
    """How the network is fitted. Adam's settings are those of both publications.

    Examples
    --------
    >>> from spotlight.training import TrainingSettings
    >>> TrainingSettings(steps=500, schedule="cosine").model_dump(exclude_defaults=True)
    {'steps': 500, 'schedule': 'cosine'}
    >>> TrainingSettings.parse({"step": 500}, "mine.yaml")
    Traceback (most recent call last):
        ...
    spotlight.errors.SpotlightError: mine.yaml: unknown setting 'step'; did you mean 'steps'?
    """

    steps: int = Field(50_000, ge=1, le=10**9, description="Optimiser steps.")
    batch_size: int = Field(24, ge=1, le=100_000, description="Patches per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's, at the start.")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's.")
    head_rate: float = Field(
        1.0, gt=0, description="Learning rate of the last layer of every output, in those of the other layers."
    )
    schedule: Literal["constant", "cosine", "linear"] = Field(
        "constant",
        description="Learning rate over the run: constant as published; falling to 0 along a cosine; or 'linear': "
        "constant for half of the run, then falling to 0 along a line (Isola et al. 2017).",
    )
    warmup: int = Field(0, ge=0, description="Steps over which the learning rate rises to its full value.")
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay per step of the running average of the weights that is validated and kept; 0 keeps the "
        "weights themselves.",
    )
    patience: int = Field(
        0, ge=0, description="Stop after so many validations without a better one; 0 never does, as published."
    )
    choose_by: str = Field(
        "loss",
        description="What decides on validation stacks which weights are kept: 'loss', or a score of the task such as "
        "'foreground_pearson' or 'dice'.",
    )
    micro_batches: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Equal parts of a batch that go through the network one after another, for a batch that does not "
        "fit into memory; batch normalisation sees one at a time. 'auto' estimates the number and records it.",
    )
    finetune: Path | None = Field(None, description="Model folder whose network and weights are the start.")
    frozen: Literal["none", "encoder", "all but head"] = Field(
        "none", description="What of the network stays as it is; for fine-tuning."
    )
    allow_seen: bool = Field(
        False,
        description="Go on from a backbone although test stacks of the manifest are among those that it has seen.",
    )
    seed: int = Field(0, ge=0, description="Of initial weights, patches and held-out stacks.")
    validate_every: int = Field(500, ge=1, description="Steps between validations on whole stacks.")
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints from which a killed run goes on.")
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the training stacks held out for validation if the manifest names none."
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="'auto' takes bfloat16 arithmetic where the processor has instructions for it."
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="'auto' takes a GPU if there is one.")
    compile: bool = Field(
        False, description="Compile the network (torch.compile): minutes at the start for faster steps after it."
    )
    deterministic: bool = Field(
        False, description="Only operations that repeat to the bit. A processor's always do; on a GPU it costs speed."
    )
    tensorboard: bool = Field(False, description="Also log to TensorBoard, an extra; log.csv is always written.")
    wandb: Literal["no", "offline", "online"] = Field(
        "no", description="Also log to Weights & Biases, an extra: to files under training/wandb, or to its service."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_the_former_name(cls, values: Any) -> Any:
        """Accept `parts`, the former name of `micro_batches`."""
        if isinstance(values, dict) and "parts" in values and "micro_batches" not in values:
            return {"micro_batches" if name == "parts" else name: value for name, value in values.items()}
        return values

    @model_validator(mode="after")
    def _micro_batches_divide(self) -> Self:
        if self.micro_batches != "auto" and self.batch_size % self.micro_batches:
            raise ValueError(
                f"a batch of {self.batch_size} patches cannot be cut into {self.micro_batches} equal micro-batches"
            )
        if self.frozen != "none" and self.finetune is None:
            raise ValueError("frozen parts of a network need weights to keep: name a model by finetune")
        return self


class MetricFunction(Settings):
    """A function that a caller gave in Python to score validation stacks, as ``metrics=[my_function]``.

    It is called with the stain and the target of a whole stack as arrays, both normalised, and gives a number. It may
    have a parameter ``mask``, the foreground.
    """

    source: str = Field(description="Module and name of the function.")
    sha256: str = Field("", description="SHA-256 of its source.")

    @property
    def name(self) -> str:
        """Name of its column in the log, after ``validation_``."""
        return self.source.rpartition(":")[2].rpartition(".")[2]

    @model_validator(mode="before")
    @classmethod
    def _of_given(cls, values: Any) -> Any:
        return remember(values) if callable(values) else values

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.name.isidentifier():
            raise ValueError("a metric needs a name for its column in the log. Define it: def my_metric(stain, target)")
        return self


class Experiment(Settings):
    """Everything a training run depends on besides its data.

    Examples
    --------
    >>> from spotlight.networks import FNetSettings
    >>> from spotlight.training import Experiment, TrainingSettings
    >>> experiment = Experiment(network=FNetSettings(depth=3, mult_chan=16), training=TrainingSettings(steps=2000))
    >>> Experiment.parse({"network": {"depht": 3}}, "mine.yaml")
    Traceback (most recent call last):
        ...
    spotlight.errors.SpotlightError: mine.yaml: unknown setting 'network.depht'; did you mean 'depth'?
    >>> experiment.loss.kind, experiment.preparation.grid
    ('spotlight', 0.29)
    """

    protocol: str = Field("custom", description="Name of the protocol these settings started from.")
    task: TaskField = Field(StainTask(), description="What is learnt: 'stain', or another task.")
    preparation: PreparationSettings = Field(PreparationSettings(), description="From stacks to input and target.")
    patches: PatchSettings = Field(PatchSettings(), description="What a training step sees.")
    network: NetworkField = Field(FNetSettings(), description="The network.")
    loss: LossField = Field(SpotlightLossSettings(), description="What is minimised.")
    adversarial: AdversarialSettings | None = Field(
        None, description="A discriminator per stain, whose verdict is added to the loss. None: no such game."
    )
    teacher: TeacherSettings | None = Field(
        None, description="In pretraining: a teacher, whose features are learnt, too. None: nobody teaches."
    )
    over_stains: Literal["mean", "sum"] = Field(
        "mean",
        description="Of a network with several stains: the mean loss over all targets that are there, or the sum over "
        "stains of their means.",
    )
    balance: Literal["fields", "stains", "stains and modalities"] = Field(
        "fields",
        description="What is drawn equally often: every field; every stain, however rare (Liu et al. 2024); or every "
        "stain in every modality.",
    )
    modalities: Literal["unified", "separate", "dynamic", "film"] = Field(
        "unified",
        description="For inputs in brightfield, phase contrast and DIC: 'unified', one network for all; 'separate', "
        "one model for each; 'dynamic' or 'film', one network that takes the modality as a second input, by a dynamic "
        "first convolution or by scaling its features (FiLM).",
    )
    training: TrainingSettings = Field(TrainingSettings(), description="How it is minimised.")
    metrics: tuple[MetricFunction, ...] = Field(
        (), description="Functions given in Python that score validation stacks; their columns in the log."
    )
    flatten_background: bool = Field(
        False,
        description="Outputs of the model show one value below the foreground threshold, the median background of the "
        "training targets: nuclei get the right height, but lose their dim rims. For losses that leave the background "
        "free, whose values there carry no information.",
    )

    @model_validator(mode="after")
    def _columns_have_one_meaning(self) -> Self:
        taken = {"loss", *self.task.scores, *self.loss.terms}
        names = [metric.name for metric in self.metrics]
        if twice := sorted({name for name in names if name in taken or names.count(name) > 1}):
            raise ValueError(f"the log has a column of the name {', '.join(twice)} already. Rename the metric.")
        return self

    @model_validator(mode="after")
    def _parts_fit_the_task(self) -> Self:
        task = self.task
        if self.loss.compares not in ("any", task.learns):
            raise ValueError(
                f"the task {task.kind} learns {task.learns}, but the loss {self.loss.kind} compares "
                f"{self.loss.compares}; choose another loss. `spotlight settings --task {task.kind}` prints settings "
                "that fit"
            )
        if task.scaled_by_input and self.preparation.scaling == "log":
            raise ValueError(
                f"results of the task {task.kind} are in the units of the input, which the scaling 'log' does not "
                "keep; set preparation.scaling to another"
            )
        if self.training.choose_by not in ("loss", *task.scores):
            raise ValueError(
                f"training.choose_by must be {' or '.join(('loss', *task.scores))} for the task {task.kind}, not "
                f"{self.training.choose_by!r}"
            )
        if task.learns != "intensities" and (self.flatten_background or self.adversarial is not None):
            raise ValueError(f"flatten_background and adversarial are for stains; the task {task.kind} needs them off")
        return self

    @model_validator(mode="after")
    def _a_teacher_is_an_average(self) -> Self:
        if self.teacher is not None and (not self.task.backbone or self.training.ema == 0 or self.adversarial):
            raise ValueError(
                "a teacher is the running average of a network that fills in what is hidden; set task to hidden, "
                "training.ema above 0 and adversarial to null, or teacher to null"
            )
        return self

    @model_validator(mode="after")
    def _dye_has_an_offset(self) -> Self:
        if isinstance(self.loss, SharpLossSettings):
            positive = isinstance(self.network, FNetSettings) and self.network.positive
            if self.preparation.target_center != "offset" or not positive or self.flatten_background:
                raise ValueError(
                    "the loss 'sharp' needs preparation.target_center offset, network.positive true and "
                    "flatten_background false, as the protocol spotlight-sharp has them"
                )
            if self.preparation.grid != self.loss.voxel_um:
                raise ValueError(
                    f"the loss blurs on voxels of {self.loss.voxel_um:g} µm (loss.voxel_um), and the grid is "
                    f"{self.preparation.grid} (preparation.grid); set both alike"
                )
        return self

    @model_validator(mode="after")
    def _tanh_reaches_the_targets(self) -> Self:
        if self.network.bounded and self.preparation.scaling != "uint16":
            raise ValueError(
                "the network keeps stains within -1 and 1 (network.tanh), beyond which standardised targets go; set "
                "network.tanh to false, or preparation.scaling to uint16"
            )
        return self
