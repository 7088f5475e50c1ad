"""Any PyTorch module as a network of Spotlight."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from spotlight.errors import SpotlightError
from spotlight.networks.base import StainNetwork

DIVISORS = (1, 2, 4, 8, 16, 32, 64)


class ModuleNetwork(StainNetwork):
    """A module that maps (B, in_channels, [Z,] Y, X) to (B, stains, [Z,] Y, X).

    Parameters
    ----------
    module : Module
        It may say its ``divisor`` and ``reach``, as `StainNetwork` does.
    dims, stains : int
        See `StainNetwork`.
    name : str
        What to call it in an error.
    in_channels : int
        See `StainNetwork`.

    Raises
    ------
    ValueError
        If it does not map images of these dimensions so.
    """

    def __init__(self, module: nn.Module, dims: int, stains: int, name: str, in_channels: int = 1) -> None:
        super().__init__(dims, int(getattr(module, "memory_width", 32)), stains, 0, "none", in_channels)
        self.module = module
        self._divisor = int(getattr(module, "divisor", 0)) or _measure_divisor(self, name)

    @property
    def divisor(self) -> int:
        """The module's, or the least power of 2 for which the output has the size of the input."""
        return self._divisor

    @property
    def reach(self) -> int | None:
        """The module's; None if it does not say."""
        found: int | None = getattr(self.module, "reach", None)
        return found

    @property
    def layout(self) -> torch.memory_format:
        """The fastest for its dimensions, or the plain one if it has weights of the other number of dimensions."""
        others = {4, 5} - {self.dims + 2}
        mixed = any(weights.ndim in others for weights in self.module.parameters())
        return torch.contiguous_format if mixed else super().layout

    def encoder_parts(self) -> list[nn.Module]:
        """The module's `encoder_parts`, which it needs for ``frozen: encoder``."""
        return self._parts("encoder_parts")

    def all_but_head_parts(self) -> list[nn.Module]:
        """The module's `all_but_head_parts`, which it needs for ``frozen: all but head``."""
        return self._parts("all_but_head_parts")

    def _parts(self, name: str) -> list[nn.Module]:
        if not hasattr(self.module, name):
            raise SpotlightError(
                f"{type(self.module).__name__} does not say what stays as it is. Give it a method {name}(), or set "
                "training.frozen to 'none'."
            )
        found: list[nn.Module] = getattr(self.module, name)()
        return found

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Apply the module."""
        return self.module(x)  # type: ignore[no-any-return]


def copy_of(module: nn.Module) -> nn.Module:
    """Copy a module with its weights, without values where PyTorch's default device has none."""
    return copy.deepcopy(module).to(torch.get_default_device())


@torch.no_grad()
def _measure_divisor(network: ModuleNetwork, name: str) -> int:
    empty = copy.deepcopy(network.module).to("meta").eval()
    dims, channels, stains = network.dims, network.in_channels, network.stains
    found: Any = None
    for divisor in DIVISORS:
        size = (3 * divisor,) * dims
        try:
            found = tuple(empty(torch.empty(1, channels, *size, device="meta")).shape)
        except Exception as error:  # whatever a stranger's module does with a size that it does not take
            found = error
        if found == (1, stains, *size):
            return divisor
    axes = ", ".join("ZYX"[-dims:])
    raise ValueError(
        f"the network {name} must map (1, {channels}, {axes}) to (1, {stains}, {axes}). Received for an image of "
        f"{size}: {found}."
    )
