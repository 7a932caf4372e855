# SPDX-License-Identifier: Apache-2.0
"""The base of the package's lifecycle nodes, and how every node's process runs and ends."""

import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode as RclpyLifecycleNode
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dm0_ros.errors import Dm0Error
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.workers import WorkerExecutor

_WAKE_PERIOD = 0.1  # s: how long a signal may wait for the spinning thread
_PATIENCE = 3  # signals after which the process ends the hard way


class LifecycleNode(RclpyLifecycleNode):
    """A managed node whose transitions fail with a sentence and never end the process.

    Subclasses override `configure`, `activate`, `deactivate` and `release`, and raise `Dm0Error`
    for whatever a person can mend: it is logged, kept in `failure`, and the transition fails.
    """

    def __init__(self, name: str, **options) -> None:
        self.failure = ""
        super().__init__(name, **options)
        self.autostart = declare(
            self, "autostart", False, "Configure and activate at start", read_only=True
        )

    def configure(self) -> None:
        """Read parameters and make whatever the node needs. May raise `Dm0Error`."""

    def activate(self) -> None:
        """Begin to act. May raise `Dm0Error`. Lifecycle publishers are active already."""

    def deactivate(self) -> None:
        """Stop acting; lifecycle publishers still work here."""

    def release(self) -> None:
        """Undo `configure`, also where it failed half-way, or never ran."""

    def start(self) -> bool:
        """Configure and activate; whether both worked."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def stop(self) -> None:
        """Leave by the shutdown transition, from whatever state. Safe to call twice."""
        if self._state_machine.current_state[1] in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt("configure", self.configure)
        if result == TransitionCallbackReturn.SUCCESS:
            return super().on_configure(state)
        self._attempt("clean up", self.release)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        super().on_activate(state)
        result = self._attempt("activate", self.activate)
        if result != TransitionCallbackReturn.SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = self._attempt("deactivate", self.deactivate)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("clean up", self.release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        if state.label == "active":
            self._attempt("deactivate", self.deactivate)
        return self._attempt("shut down", self.release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error that is a defect of ours: back to unconfigured, nothing left running."""
        if state.label == "active":
            self._attempt("deactivate", self.deactivate)
        return self._attempt("clean up", self.release)

    def _attempt(self, what: str, step: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            step()
        except Dm0Error as error:
            self.failure = str(error)
            self.get_logger().error(f"cannot {what}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            # rclpy drops the exception of a transition; this is the only place that can tell.
            self.failure = f"{type(error).__name__}: {error}"
            self.get_logger().fatal(f"cannot {what}: {traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__change_state(self, transition: int) -> TransitionCallbackReturn:
        """Refuse a transition that the state does not have.

        rclpy 7.1 raises inside its service callback instead, which sends no reply and ends spin().
        """
        allowed = {entry[0]: entry[1] for entry in self._state_machine.available_transitions}
        if transition not in allowed:
            state = self._state_machine.current_state[1]
            names = ", ".join(sorted(set(allowed.values()))) or "none"
            self.get_logger().warning(
                f"refused transition {transition}: the state is {state}, which allows {names}"
            )
            return TransitionCallbackReturn.FAILURE
        return super()._LifecycleNodeMixin__change_state(transition)


def run_node(
    make_node: Callable[[], Node], arguments: Sequence[str] | None = None, threads: int = 1
) -> int:
    """Run one node until SIGINT or SIGTERM; returns the exit status of the process.

    A `LifecycleNode` with ``autostart`` is configured and activated first; where that fails the
    process ends with 1. Another node may have ``stop()``, called before it is destroyed, and
    ``done``, which becomes true when it has nothing left to do.
    ``threads`` > 1 runs callbacks of different groups at once.
    """
    stopping = _Stopping()
    try:
        # Our own handlers: rclpy's would end the context before the node could say goodbye.
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except rclpy_implementation.RCLError as error:
        return _complain(str(error))
    node = None
    try:
        node = make_node()
        return _serve(node, stopping, threads)
    except (Dm0Error, ParameterException) as error:
        return _complain(str(error), node)
    finally:
        _close(node)


class _Stopping:
    """Becomes true at the first SIGINT or SIGTERM; the third one ends the process at once."""

    def __init__(self) -> None:
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def __bool__(self) -> bool:
        return self.count > 0

    def _note(self, number: int, _frame) -> None:
        self.count += 1
        if self.count >= _PATIENCE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _serve(node: Node, stopping: _Stopping, threads: int) -> int:
    if getattr(node, "autostart", False) and not node.start():
        return 1
    executor = _make_executor(threads)
    executor.add_node(node)
    try:
        while not stopping and rclpy.ok() and not getattr(node, "done", False):
            executor.spin_once(timeout_sec=_WAKE_PERIOD)
        if hasattr(node, "stop"):
            node.stop()
    finally:
        executor.shutdown(timeout_sec=1.0)
    return 0


def _make_executor(threads: int) -> Executor:
    return SingleThreadedExecutor() if threads == 1 else WorkerExecutor(threads)


def _close(node: Node | None) -> None:
    if node is not None:
        if hasattr(node, "stop"):
            node.stop()
        node.destroy_node()
    rclpy.try_shutdown()


def _complain(sentence: str, node: Node | None = None) -> int:
    if node is None:
        sys.stderr.write(f"error: {sentence}\n")
    else:
        node.get_logger().fatal(sentence)
    return 1
