"""What a run has to work with: device, arithmetic, micro-batches, and the other processes of the same run."""

import os
from dataclasses import dataclass, field

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from spotlight.devices import has_bf16


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together.

    Attributes
    ----------
    rank, count : int
        Number of this process, from 0, and of all.
    local, nodes : int
        Processes per machine, and machines.
    environment : ClusterEnvironment
        What started them, for Lightning, which would otherwise look for itself, and warns wherever SLURM is installed.
    """

    rank: int = 0
    count: int = 1
    local: int = 1
    nodes: int = 1
    environment: ClusterEnvironment = field(default_factory=LightningEnvironment)

    def join(self, gpu: bool) -> None:
        """Open the connections between all processes, over which gradients are averaged."""
        if self.count == 1 or torch.distributed.is_initialized():
            return
        environment = self.environment
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
        torch.distributed.init_process_group("nccl" if gpu else "gloo", rank=self.rank, world_size=self.count)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            torch.distributed.barrier()


def find_processes() -> Processes:
    """Find the processes that ``torchrun`` or SLURM's ``srun`` started with this one; without them, it works alone."""
    environment = _environment()
    count = 1 if environment is None else environment.world_size()
    if environment is None or count == 1:
        return Processes()
    on_slurm = isinstance(environment, SLURMEnvironment)
    local = count // int(os.environ["SLURM_NNODES"]) if on_slurm else int(os.environ["LOCAL_WORLD_SIZE"])
    return Processes(environment.global_rank(), count, local, count // local, environment)


def is_first() -> bool:
    """Whether this process is the first of its run, or the only one."""
    return find_processes().rank == 0


def _environment() -> ClusterEnvironment | None:
    """What started this process with others, if something did."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "SLURM_NTASKS" in os.environ and SLURMEnvironment.detect():
        return SLURMEnvironment()
    return None


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve "auto": bfloat16 where the device multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "float32"


def choose_micro_batches(patches: int, per_patch: int, memory: int) -> int:
    """Return the least number of equal micro-batches that fit into the memory, each of two patches or more.

    Statistics of a single patch make a poor batch normalisation, and PyTorch's float32 convolutions take a slow path
    for it on a processor.
    """
    possible = [count for count in range(1, patches // 2 + 1) if patches % count == 0] or [1]
    return next((count for count in possible if patches // count * per_patch <= memory), possible[-1])
