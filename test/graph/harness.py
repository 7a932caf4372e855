# SPDX-License-Identifier: Apache-2.0
"""What tests of nodes start and ask: processes that always end, and waiting with a deadline."""

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

DEADLINE = 60.0  # s: far more than anything here takes on a loaded machine


class Process:
    """A process of ours, its output line by line, and a bounded end."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.lines: list[str] = []
        self._popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._popen.stdout:
            self.lines.append(line)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    @property
    def output(self) -> str:
        """Everything said so far."""
        return "".join(self.lines)

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._popen.poll() is None

    def end(self, number: int = signal.SIGINT, timeout: float = 20.0) -> int:
        """Send a signal and wait; returns the exit status. Kills after ``timeout`` seconds."""
        if self.running():
            self._popen.send_signal(number)
        try:
            return self.wait(timeout)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise AssertionError(f"did not end within {timeout} s:\n{self.output}") from None

    def wait(self, timeout: float = DEADLINE) -> int:
        """Wait for the process to end by itself; returns the exit status."""
        status = self._popen.wait(timeout)
        self._reader.join(timeout)
        return status


class Graph:
    """A node of the test's own, and the processes that it started."""

    def __init__(self) -> None:
        rclpy.init()
        self.node = rclpy.create_node("judge")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._processes: list[Process] = []

    def start(self, name: str, *parameters: str, arguments: tuple[str, ...] = ()) -> Process:
        """Run ``dm0_ros.nodes.<name>`` with parameters as ``name:=value``, and ROS arguments."""
        given = [word for parameter in parameters for word in ("-p", parameter)]
        command = (sys.executable, "-m", f"dm0_ros.nodes.{name}", "--ros-args", *given, *arguments)
        return self.run(*command)

    def run(self, *command: str, **environment: str) -> Process:
        """Run any command; it is ended with the test."""
        process = Process(*command, **environment)
        self._processes.append(process)
        return process

    def collect(self, kind: type, topic: str, quality, keep: int = 1000) -> collections.deque:
        """Subscribe; messages are appended to what is returned while the graph spins."""
        messages: collections.deque = collections.deque(maxlen=keep)
        self.node.create_subscription(kind, topic, lambda m: messages.append(m), quality)
        return messages

    def publisher(self, kind: type, topic: str, quality):
        """A publisher that someone listens to."""
        publisher = self.node.create_publisher(kind, topic, quality)
        self.wait(publisher.get_subscription_count, f"a listener on {topic}")
        return publisher

    def wait(self, condition: Callable[[], object], what: str = "", timeout: float = DEADLINE):
        """Spin until the condition holds, and return what it gave; fails after ``timeout`` s."""
        end = time.monotonic() + timeout
        while not (result := condition()):
            if time.monotonic() > end:
                said = "\n".join(process.output for process in self._processes)
                pytest.fail(f"waited {timeout} s for {what or condition}; processes said:\n{said}")
            self._executor.spin_once(timeout_sec=0.05)
        return result

    def spin(self, seconds: float) -> None:
        """Spin for a while, to see that something does not happen."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def call(self, kind: type, service: str, request=None):
        """Call a service; returns its response."""
        client = self.node.create_client(kind, service)
        self.wait(client.service_is_ready, f"service {service}")
        future = client.call_async(request or kind.Request())
        self.wait(future.done, f"an answer from {service}")
        self.node.destroy_client(client)
        return future.result()

    def close(self) -> None:
        """End every process and the node."""
        try:
            for process in self._processes:
                process.end()
        finally:
            self._executor.shutdown()
            self.node.destroy_node()
            rclpy.try_shutdown()
