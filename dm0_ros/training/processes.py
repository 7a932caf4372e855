# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network, as torchrun starts them.

Weights, gradients and the optimiser's state are split among them (FSDP2), by layers. Each works
on its share of the same batch; sums over all samples, not means of means, make it the loss that
one process would have. What is saved does not tell how many they were.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from dm0_ros.errors import Dm0Error
from dm0_ros.model.transformer import DecoderLayer
from dm0_ros.model.vision import VisionBlock

_PATIENCE = timedelta(hours=12)  # the others wait while the first one records


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and which of them this is. One alone needs no `mesh`."""

    rank: int = 0
    count: int = 1
    mesh: DeviceMesh | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def share(self, total: int) -> slice:
        """This process's part of a batch of ``total`` frames.

        Raises `Dm0Error` where they cannot be shared equally.
        """
        if total % self.count:
            raise Dm0Error(
                f"a batch of {total} frames cannot be shared equally by {self.count} processes; "
                f"make 'batch' a multiple of {self.count}"
            )
        return slice(self.rank, total, self.count)

    def wait(self) -> None:
        """Until all have come here."""
        if self.mesh is not None:
            dist.barrier()

    def add(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, in each of them."""
        if self.mesh is None:
            return numbers
        total = numbers.clone()
        dist.all_reduce(total)
        return total

    def split(self, module: nn.Module) -> None:
        """From now on each process keeps its part of the weights only.

        A layer's are put together while it runs, the others' as long as ``module`` runs.
        """
        if self.mesh is None:
            return
        # Keys and values leave a layer as views; nothing writes into them.
        warnings.filterwarnings("ignore", ".*returned a view tensor.*", UserWarning)
        for layer in module.modules():
            if isinstance(layer, (DecoderLayer, VisionBlock)):
                fully_shard(layer, mesh=self.mesh)
        fully_shard(module, mesh=self.mesh)

    def gather(self, state: Any) -> Any:
        """A state, nested as `state_dict` has it, with whole tensors on the CPU.

        Every process must ask; the tensors of one process alone stay where they are.
        """
        if self.mesh is None:
            return state
        return _map(state, lambda part: _whole(part).cpu())

    def scatter(self, state: Any, like: Any) -> Any:
        """This process's part of a whole state; ``like`` has the same tensors, split."""
        if self.mesh is None:
            return state
        return _map(state, _part, like)

    def load_optimiser(self, optimiser: torch.optim.Optimizer, state: dict) -> None:
        """Give an optimiser that has made no step yet a whole state, as `gather` returns it."""
        if self.mesh is not None:
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            own = {
                number: {key: _alike(part, weights[number]) for key, part in parts.items()}
                for number, parts in state["state"].items()
            }
            state = state | {"state": own}
        optimiser.load_state_dict(state)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """The processes that torchrun has started; this one alone where it has not.

    On GPUs each takes the one of its local rank.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, init_device_mesh(kind, (count,)))
    finally:
        dist.destroy_process_group()


def own_part(tensor: Tensor) -> Tensor:
    """What of a tensor lies in this process, sharing its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _part(whole: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


def _alike(whole: Tensor, weight: Tensor) -> Tensor:
    """Moments are split as their weight is; the count of steps is not."""
    return _part(whole, weight) if whole.shape == weight.shape else whole


def _map(state: Any, change: Any, *others: Any) -> Any:
    """A nested state with every tensor changed, together with those in its place elsewhere."""
    if isinstance(state, Tensor):
        return change(state, *others)
    if isinstance(state, dict):
        return {k: _map(part, change, *(o[k] for o in others)) for k, part in state.items()}
    if isinstance(state, (list, tuple)):
        parts = zip(state, *others, strict=True)
        return type(state)(_map(part, change, *rest) for part, *rest in parts)
    return state
