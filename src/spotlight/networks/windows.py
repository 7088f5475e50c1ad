"""2.5D: a network for windows of planes, slid over a stack of any depth."""

import torch
from torch import Tensor

from spotlight.networks.base import AroundNetwork, StainNetwork


class Windowed(AroundNetwork):
    """A network whose window slides over the planes of a stack; every plane gets the mean of all windows that hold it.

    Windows begin at plane 0, `step`, 2 `step`, ..., and the last one ends with the last plane. One window is in the
    network at a time, so that memory does not grow with the number of planes.

    Parameters
    ----------
    network : StainNetwork
        A network of three dimensions.
    window : int
        Planes of a window: the network's, if it takes no other number.
    step : int
        Planes from one window to the next, at most `window`. With 1, the network computes every plane `window` times.

    Raises
    ------
    ValueError
        If the network does not take such windows.

    Examples
    --------
    >>> import torch
    >>> from spotlight.networks import UNeXt, Windowed
    >>> network = UNeXt(3, "fcmae", depths=(1, 1), widths=(8, 16), window=5, stem=(5, 4))
    >>> stack = torch.rand(1, 1, 9, 32, 32)  # more planes than a window has
    >>> with torch.no_grad():
    ...     tuple(Windowed(network, window=5, step=2)(stack).shape)
    (1, 1, 9, 32, 32)
    """

    def __init__(self, network: StainNetwork, window: int, step: int = 1) -> None:
        super().__init__(network)
        if network.dims != 3 or window % network.divisors[0] or network.window not in (None, window):
            fits = network.window or f"a multiple of {network.divisors[0]}"
            raise ValueError(
                f"windows of planes are for networks of three dimensions, and of {fits} planes for this one. Received: "
                f"{network.dims} dimensions and {window} planes."
            )
        if not 1 <= step <= window:
            raise ValueError(f"windows of {window} planes move by 1 to {window} planes. Received: {step}.")
        self.planes: int = window
        self.step: int = step

    @property
    def window(self) -> None:
        """It takes any number of planes that a window fits into."""
        return

    @property
    def divisors(self) -> tuple[int, ...]:
        """Any number of planes, and Y and X as the network needs them."""
        return 1, *self.network.divisors[1:]

    @property
    def reach(self) -> int | None:
        """That of the network, along Y and X; along Z, it is given all planes."""
        return self.network.reach

    def compute(self, x: Tensor, modality: Tensor | None) -> Tensor:
        """Slide the window."""
        depth = x.shape[2]
        if depth < self.planes:
            raise ValueError(f"a window of {self.planes} planes needs a stack of as many. Received: {depth}.")
        starts = [*range(0, depth - self.planes, self.step), depth - self.planes]
        mean = x.new_zeros((x.shape[0], self.stains, *x.shape[2:]), dtype=torch.float32)
        counts = [sum(start <= plane < start + self.planes for start in starts) for plane in range(depth)]
        for start in starts:
            held = slice(start, start + self.planes)
            mean[:, :, held] += self.network(x[:, :, held].contiguous(), modality)
        return mean / mean.new_tensor(counts)[:, None, None]
