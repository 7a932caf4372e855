# SPDX-License-Identifier: Apache-2.0
"""The engines by name, and how many workers there are to be."""

from __future__ import annotations

import os
from enum import Enum

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.processes import Processes
from dm0_ros.evaluation.work import Engine

_VISIBLE = "CUDA_VISIBLE_DEVICES"


class EngineKind(str, Enum):
    """Who does the work."""

    PROCESSES = "processes"  # of this machine
    RAY = "ray"  # of this machine, or of a cluster


def make_engine(
    kind: EngineKind, jobs: int, threads: int, device: str = "cpu", address: str = ""
) -> Engine:
    """An engine of ``jobs`` workers with ``threads`` threads each.

    ``jobs`` 0: one for as many processors as a worker has threads or, with device ``cuda``, one
    for each GPU. With ``cuda``, a worker sees one GPU, and workers take turns with GPUs; a device
    with a number, as ``cuda:1``, is used by all workers as it stands. Raises `Dm0Error` where
    there is no GPU, no Ray, or no cluster at ``address``.
    """
    if kind is EngineKind.RAY:
        # imported late: its import takes a second
        from dm0_ros.evaluation.ray_cluster import RayCluster

        return RayCluster(jobs or None, threads, address, int(device == "cuda"))
    if address:
        raise Dm0Error("--address is that of a Ray cluster: add --engine ray")
    if device != "cuda":
        return Processes(jobs or max(1, _count_processors() // threads), threads)
    gpus = _list_gpus()
    return Processes(jobs or len(gpus), threads, [{_VISIBLE: gpu} for gpu in gpus])


def _count_processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _list_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them. Raises `Dm0Error` where there is none."""
    import torch

    there = torch.cuda.device_count()
    if not there:
        raise Dm0Error("device is cuda, and no GPU is to be seen; choose --device cpu")
    named = os.environ.get(_VISIBLE)
    return named.split(",")[:there] if named else [str(number) for number in range(there)]
