"""Models of two stains that were not trained, but whose stains depend on the input as those of trained ones do."""

from typing import Any

import torch

from spotlight.model import InputDescription, ModelDescription, TargetDescription
from spotlight.networks import FNet, FNetSettings, NetworkSettings, StainNetwork
from spotlight.networks.conditioning import Film
from spotlight.prediction import Model

STAINS = ("Nucleus", "Actin")
RANGES = ((100.0, 900.0), (50.0, 4000.0))


def of_several_stains(network: StainNetwork, settings: NetworkSettings, **expected: Any) -> Model:
    """A model of two stains that differ in threshold, background and range; weights are those of no training."""
    fixed = expected.get("normalisation") == "uint16"
    targets = [
        TargetDescription(
            channel=name,
            center="uint16" if fixed else "mean",
            normalised_range=(-1.0, 1.0) if fixed else (-1.0 - n, 4.0),
            intensity_range=(0.0, 65535.0) if fixed else limits,
            threshold=0.1 - 0.3 * n,
            background=-0.5 - n,
        )
        for n, (name, limits) in enumerate(zip(STAINS, RANGES, strict=True))
    ]
    description = ModelDescription(
        network=settings,
        input=InputDescription(axes="YX", grid="native", planes="one", **expected),
        target=targets[0],
        further_targets=tuple(targets[1:]),
    )
    return Model(description, network.eval(), "several")


def warmed(network: FNet) -> FNet:
    """Batch statistics and a head of the size of a trained network's."""
    network.train()
    code = torch.eye(2)[[0, 1, 0, 1]] if network.modalities else None
    with torch.no_grad():
        for _ in range(30):
            network(torch.randn(4, 1, 16, 16), code)
        network.head.weight *= 3
    return network.eval()


def told_modality() -> Model:
    """A network that is told the modality by FiLM, whose modulations are not those of the start."""
    torch.manual_seed(5)
    network = FNet(2, 2, 4, 2, init="torch", modalities=2, conditioning="film")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Film):
                module.modulation.weight.normal_(0, 0.4)
    settings = FNetSettings(depth=2, mult_chan=4, conditioning="film")
    return of_several_stains(warmed(network), settings, modalities=("brightfield", "phase"))
