"""Devices, precision, logger and processes of a training run, from Lightning Fabric.

Several processes are started by ``torchrun`` or by SLURM's ``srun``; the tasks themselves start none.
"""

import os
from pathlib import Path
from typing import cast, NamedTuple, TYPE_CHECKING

import torch
from torch import nn, Tensor

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.strategy import Strategy
    from torch.distributed.device_mesh import DeviceMesh

STRATEGIES = ("ddp", "fsdp")
LOGGERS = ("none", "csv", "tensorboard")


class Processes(NamedTuple):
    """The processes of a run."""

    rank: int  # number of this process, from 0
    total: int
    nodes: int

    @property
    def per_node(self) -> int:
        return self.total // self.nodes


def started_processes() -> Processes:
    """The processes that `torchrun` or `srun` started, as both announce them in the environment; else one process."""
    environment = os.environ
    if "LOCAL_WORLD_SIZE" in environment:
        total = int(environment["WORLD_SIZE"])
        return Processes(int(environment["RANK"]), total, total // int(environment["LOCAL_WORLD_SIZE"]))
    # Set in a step of a job, not in the script of a job; Lightning takes jobs of these names for a shell.
    if "SLURM_STEP_ID" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", "1")))
        return Processes(int(environment["SLURM_PROCID"]), int(environment["SLURM_NTASKS"]), nodes)
    return Processes(rank=0, total=1, nodes=1)


def launch(device: str, precision: str, strategy: str, logger: str, out: Path) -> "Fabric":
    """Join the processes of this run.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, or one GPU as ``cuda:1``.
        precision: As in Lightning: ``32-true``, ``bf16-mixed``, ``64-true``, ...
        strategy: ``ddp``, or ``fsdp`` for FSDP2.
        logger: ``none``, ``csv`` or ``tensorboard``.
        out: Folder for the log.

    Raises:
        ImportError: If Lightning is not installed.
        ValueError: If the device or precision is unknown, or one GPU is chosen for several processes.
    """
    # Imported here because it takes seconds, and other uses of the tasks need none of it.
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.accelerators.cuda import CUDAAccelerator
        from lightning.fabric.loggers.csv_logs import CSVLogger
        from lightning.fabric.loggers.tensorboard import TensorBoardLogger
    except ImportError as error:
        raise ImportError(f'Training needs Lightning ({error}); pip install ".[tasks]".') from error

    processes = started_processes()
    kind, _, index = device.partition(":")
    if index and processes.total > 1:
        raise ValueError(f"--device {device} is one GPU, but there are {processes.total} processes; use --device cuda.")
    if kind == "auto":
        kind = "cuda" if CUDAAccelerator.is_available() else "cpu"
    loggers = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
    fabric = Fabric(
        accelerator=kind,
        devices=[int(index)] if index else processes.per_node,
        num_nodes=processes.nodes,
        strategy=_strategy(strategy, processes.total) if processes.total > 1 else "auto",
        # Lightning's type lists the names; it raises a ValueError for any other.
        precision=precision,  # pyright: ignore[reportArgumentType]
        loggers=[loggers[logger](out, name="log")] if logger != "none" else None,
    )
    fabric.launch()
    return fabric


def means(fabric: "Fabric", *values: float) -> list[float]:
    """Means of numbers over all processes, which all call this."""
    if fabric.world_size == 1:
        return list(values)
    sent = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    return cast(Tensor, fabric.all_reduce(sent, reduce_op="mean")).tolist()


def _strategy(name: str, processes: int) -> "Strategy | str":
    if name == "ddp":
        return "ddp"
    from lightning.fabric.strategies.model_parallel import ModelParallelStrategy

    return ModelParallelStrategy(_shard, data_parallel_size=processes, tensor_parallel_size=1)


def _shard(model: nn.Module, mesh: "DeviceMesh") -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    fully_shard(model, mesh=mesh["data_parallel"])
    return model
