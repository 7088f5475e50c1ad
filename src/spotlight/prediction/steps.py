"""The steps from a stack to the network's results, each of which leaves what it makes in a workspace."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spotlight.devices import find_device
from spotlight.errors import SpotlightError
from spotlight.images.lazy import LazyArray
from spotlight.images.resample import Resampled
from spotlight.images.slabs import Allocate
from spotlight.networks import StainNetwork
from spotlight.prediction.engines import Engine, make_engine
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.tiling import choose_tile, exact_halo, plan_tiles
from spotlight.prediction.workspace import Workspace
from spotlight.tiles import Blended, Tiling

log = logging.getLogger("spotlight")


class Steps:
    """What is to be done for one stack: input, layers, results; processes that share a workspace can share them.

    Parameters
    ----------
    networks : sequence of StainNetwork
        The members of an ensemble, or one.
    shape : tuple of int
        Of the stack on the network's grid.
    prepare : callable
        Makes the normalised input of that shape, in what it is given to allocate.
    settings : PredictionSettings
        Tiles, precision and device.
    workspace : Workspace
        Keeps what the steps make.
    examine : callable
        Says in which ways the normalised input is unlike those of the training.

    Raises
    ------
    SpotlightError
        If a spread is asked for and there is nothing that could differ.
    """

    def __init__(
        self,
        networks: Sequence[StainNetwork],
        shape: tuple[int, ...],
        prepare: Callable[[Allocate], NDArray[np.float32]],
        settings: PredictionSettings,
        workspace: Workspace,
        examine: Callable[[NDArray[np.float32]], list[str]],
    ) -> None:
        if settings.spread and not settings.augment and len(networks) == 1:
            raise SpotlightError(
                "a spread is that of several stains of one stack, and one model gives one. Add flips and turns "
                "(--augment; augment: true), or give an ensemble, a folder of several models. A spread of 0 would look "
                "as if the model were sure."
            )
        self.networks = networks
        self.shape = shape
        self.prepare = prepare
        self.settings = settings
        self.workspace = workspace
        self.examine = examine

    @cached_property
    def settled(self) -> PredictionSettings:
        """Settings that leave nothing open, and are the same for all who work on the stack, now and after a kill.

        Tiles depend on the memory that is free and "auto" on what is faster here, so that one layer could be unlike
        the next if each chose for itself. What a killed prediction left on another kind of device is thrown away.
        """
        settings = self.settings
        if settings.tile and settings.precision != "auto" and settings.device != "auto":
            return settings
        device = find_device(settings.device)

        def choose() -> dict[str, object]:
            tile = settings.tile or choose_tile(self.shape, self.networks[0], settings)
            # What does not fit is said before anything is computed.
            plan_tiles(self.shape, self.networks[0], settings.model_copy(update={"tile": tile}))
            self.engine = self._engine(settings)
            return {"tile": tile, "precision": self.engine.precision, "device": str(device)}

        chosen = self.workspace.noted("choice", choose)
        if chosen["device"] != str(device):
            log.info("What was begun on %s is done anew on %s.", chosen["device"], device)
            self.workspace.remove()
            chosen = self.workspace.noted("choice", choose)
        return PredictionSettings.parse(settings.model_dump() | chosen, "choice of tiles and arithmetic")

    @cached_property
    def tiling(self) -> Tiling:
        """How the input is cut."""
        tiling = plan_tiles(self.shape, self.networks[0], self.settled)
        if self.settings.overlap == "exact" and tiling.tiles > 1:
            halo = exact_halo(self.networks[0])
            log.info("Exact tiles of %s voxels, of which %d at each border are thrown away.", tiling.tile, halo)
        return tiling

    @cached_property
    def prepared(self) -> NDArray[np.float32]:
        """The normalised input on the network's grid."""
        return self.workspace.once("input", self.prepare)

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """In which ways the input is unlike those of the training."""
        return tuple(self.workspace.noted("doubts", lambda: {"it has": self.examine(self.prepared)})["it has"])

    @cached_property
    def engine(self) -> Engine:
        """The networks, ready for tiles."""
        return self._engine(self.settled)

    def _engine(self, settings: PredictionSettings) -> Engine:
        return make_engine(
            self.networks, self.prepared, settings.precision, settings.device, settings.augment, settings.spread
        )

    def layer(self, number: int, progress: Callable[[], None] | None = None) -> NDArray[np.float32]:
        """Compute a layer, if it is not there yet; `progress` is called after each of its tiles."""
        tiling = self.tiling

        def make(allocate: Allocate) -> NDArray[np.float32]:
            engine = self.engine
            out = allocate("layer", (engine.results, *tiling.layer_shape), np.float32)
            tiling.compute(number, engine, self.prepared, out, progress)
            return out

        return self.workspace.once(f"layer-{number}", make)

    def results(self, shape: tuple[int, ...], progress: Callable[[int, int], None] | None = None) -> list[Resampled]:
        """Give the stains, and their spreads if asked for, on a grid of a shape.

        Layers that are not there yet are computed; `progress` is called with tiles done and their total. They are
        blended and resampled where and when a region of a result is asked for.
        """
        done = 0

        def report() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, self.tiling.tiles)

        layers = [self.layer(number, report) for number in range(self.tiling.layers)]
        blended = (Blended(self.tiling, layers, which) for which in range(layers[0].shape[0]))
        return [Resampled(LazyArray.of(values), shape) for values in blended]
