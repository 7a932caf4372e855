# SPDX-License-Identifier: Apache-2.0
"""Ray as an engine: actors on this machine alone, or on those of a cluster that runs already.

Ray pickles what goes between its processes: whoever reaches its ports and knows its token can run
code. A Ray that is started here listens on the loopback interface only, with a token of its own.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
from types import ModuleType

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.work import Ended, Task, perform, set_up_worker

_LOOPBACK = "127.0.0.1"
_PATIENCE = 10.0  # s for a cluster to answer
# Tasks and sentences are all that it holds; pictures and plans go to files.
_OBJECT_STORE = 80 * 1024 * 1024  # bytes; Ray refuses less than 75 MB
# Ray reads it once in a process, however often it is started in it.
_TOKEN = secrets.token_hex(32)
_FAULTS = (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError)


class RayCluster:
    """The engine. A lost actor, or one whose machine was lost, is replaced."""

    def __init__(
        self, size: int | None = None, threads: int = 1, address: str = "", gpus: int = 0
    ) -> None:
        """Up to ``size`` actors of ``threads`` processors and ``gpus`` GPUs; None: all that fit.

        ``address`` is that of a running cluster, such as ``10.0.0.1:6379``; empty: a Ray of
        this machine alone, which ends with `close`. Raises `Dm0Error` where Ray is not
        installed, the cluster does not answer, or has no room for an actor.
        """
        self._temporary = ""
        self._idle: list = []  # actors
        self._running: dict = {}  # by reference to what will be returned: task, actor
        if address:
            _knock(address)
        _set_environment(alone=not address)
        self._ray = _import_ray()
        try:
            if address:
                self._ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
            else:
                self._start(size, threads, gpus)
        except (*_FAULTS, self._ray.exceptions.RayError) as error:
            self.close()
            raise _explain(address, error) from error
        places = self._count_places(threads, gpus)
        self.size = min(size or places, places)
        self._threads = threads
        remote = self._ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=0)
        self._make_worker = remote(_Worker).remote

    def _start(self, size: int | None, threads: int, gpus: int) -> None:
        # sockets lie in it, and their paths may have 107 characters
        self._temporary = tempfile.mkdtemp(prefix="dm0-ray-")
        workers = size or max(1, len(os.sched_getaffinity(0)) // threads)
        self._ray.init(
            "local",
            num_cpus=workers * threads,
            num_gpus=None if gpus else 0,  # None: Ray looks for itself
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=_OBJECT_STORE,
            _temp_dir=self._temporary,
        )
        if (there := self._ray.util.get_node_ip_address()) != _LOOPBACK:
            raise RuntimeError(f"it listens on {there}; was it imported before dm0_ros?")

    def _count_places(self, threads: int, gpus: int) -> int:
        there = self._ray.cluster_resources()
        count = int(there.get("CPU", 0) // threads)
        if gpus:
            count = min(count, int(there.get("GPU", 0) // gpus))
        if not count:
            self.close()
            wanted = f"{threads} processors" + (f" and {gpus} GPU" if gpus else "")
            raise Dm0Error(f"Ray: no machine has {wanted} for a worker; see 'ray status'")
        return count

    def start(self, task: Task) -> None:
        """Give a task to an idle worker."""
        actor = self._idle.pop() if self._idle else self._make_worker(self._threads)
        self._running[actor.perform.remote(task)] = task, actor

    def wait(self, seconds: float) -> list[Ended]:
        """Tasks that ended; also those whose actor or machine did."""
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [self._collect(reference) for reference in ready]

    def _collect(self, reference) -> Ended:
        task, actor = self._running.pop(reference)
        try:
            fault = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)  # where only the way to it was lost
            return Ended(task, loss=" ".join(str(error).split()))
        self._idle.append(actor)
        return Ended(task, fault=fault)

    def close(self) -> None:
        """End every worker, and the Ray that was started here."""
        for actor in [*self._idle, *(actor for _, actor in self._running.values())]:
            self._ray.kill(actor)
        self._idle, self._running = [], {}
        self._ray.shutdown()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)


class _Worker:
    """One actor, in its process."""

    def __init__(self, threads: int) -> None:
        set_up_worker(threads, {})

    def perform(self, task: Task) -> str:
        """See `dm0_ros.evaluation.work.perform`."""
        return perform(task)


def _set_environment(alone: bool) -> None:
    """What Ray looks for when it is imported; its processes inherit it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if alone:
        # its name notwithstanding: without clusters, Ray keeps to the loopback interface
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN


def _knock(address: str) -> None:
    """Raise `Dm0Error` where nobody answers; Ray itself asks for minutes."""
    host, _, port = address.rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise ValueError("an address is HOST:PORT")
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _explain(address, error) from error


def _explain(address: str, error: Exception) -> Dm0Error:
    return Dm0Error(
        f"Ray at {address or 'this machine'}: {error}; see 'ray status', or give no --address for "
        "a Ray of this machine alone"
    )


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise Dm0Error(
            "Ray is not installed: pip install 'dm0_ros[cluster]', or choose --engine processes"
        ) from error
    return ray
