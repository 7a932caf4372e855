# SPDX-License-Identifier: Apache-2.0
"""The `policy` node: instructions in through an action, plans out; see docs/nodes.md.

The network works in one thread of its own, from its loading on; ROS is served by others.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import JointState

from dm0_ros.errors import Dm0Error, ObservationError
from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.diagnostics import PlanDiagnostics
from dm0_ros.nodes.goal_node import GoalNode
from dm0_ros.nodes.instructions import InstructionServer
from dm0_ros.nodes.lifecycle import run_node
from dm0_ros.nodes.messages import chunk_from_plan
from dm0_ros.nodes.parameters import declare
from dm0_ros.nodes.pictures import find_camera_topic
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.reasoning import Reasoning, declare_reasoning
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.nodes.stop_guard import StopGuard
from dm0_ros.nodes.tracing import Tracing, collect_facts
from dm0_ros.policy.commitment import Execution
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Plan, Policy
from dm0_ros.policy.reasoning import ReasoningOptions
from dm0_ros.policy.registry import find_checkpoint, load_policy
from dm0_ros.policy.task import Task, TaskSettings
from dm0_ros.policy.threads import choose_threads
from dm0_ros.policy.trace import Facts
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.loading import as_simulated, load_robot

_THREADS = 4  # of ROS: lifecycle and parameters, sensors, the waiting action, timers


class PolicyNode(GoalNode):
    """Loads a policy in configure, and while active pursues one instruction at a time."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._declare_parameters()
        self._status = ExecutorStatus()
        self._guard = StopGuard()
        self._sequence = 0

    def _declare_parameters(self) -> None:
        fixed = partial(declare, self, read_only=True)
        fixed("robot", "franka", "Robot: a name in config/, or the path of a YAML")
        fixed("simulated", False, "Latencies of the robot's simulation, not of the real one")
        fixed("checkpoint", "dm0-nano", "Checkpoint: a name, see docs/checkpoints.md, or a path")
        fixed("device", "cpu", "Where the network works: cpu, cuda, cuda:1 ...")
        fixed("dtype", "", "float32 or bfloat16; empty: what the checkpoint says")
        fixed(
            "guidance", "none", "How plans continue each other: none, identity, jacobian, prefix"
        )
        fixed("compiled", False, "Compile the network's layers: slower to start, then faster")
        fixed("fp8", False, "8-bit products, on GPUs that have them: actions change a little")
        fixed(
            "threads", 0, "CPU threads of the network; 0: half of the cores, 4 at most", (0, 256)
        )
        fixed("niceness", 5, "Priority that the network gives up to other work", (0, 19))
        fixed("seed", 0, "Seed of the noise, set again for every instruction", (0, 2**31 - 1))
        fixed("compressed", False, "Subscribe to JPEG pictures instead of raw ones")
        fixed("load_timeout", 300.0, "Longest loading and warming up (s)", (0.01, 3600.0))
        declare_reasoning(self)
        tuned = partial(declare, self)
        period = "Least time between two plans (s); 0: as the checkpoint's authors, or else 0.2"
        tuned("period", 0.0, period, (0.0, 60.0))
        tuned("time_limit", 60.0, "Of goals that set none (s)", (0.1, 86400.0))
        tuned("observation_timeout", 2.0, "How long sensors may be unusable (s)", (0.0, 600.0))
        tuned("progress_threshold", 0.95, "Progress at which a task has succeeded", (0.0, 1.0))
        tuned("rest_time", 1.5, "So long plans must ask for no motion (s)", (0.0, 600.0))
        tuned("rest_distance", 0.03, "Which is: rows this near the joints (rad)", (0.0, 3.0))

    def configure(self) -> None:
        """Load and warm up the policy, then open the topics."""
        self._robot = load_robot(self.value("robot"))
        if self.value("simulated"):
            self._robot = as_simulated(self._robot)
        settings = find_checkpoint(self.value("checkpoint"), self._robot.name).load_settings()
        diagnostics = PlanDiagnostics("policy", settings.name)
        self._reasoning = Reasoning(self, diagnostics)
        self._undo.append(self._reasoning.destroy)
        options = self._reasoning.read_options(settings)
        self.employ()
        limit = self.value("load_timeout")
        loading = self._worker.submit(self._load, options)
        try:
            self._policy = loading.result(limit)
        except FutureTimeoutError as error:
            loading.add_done_callback(_close_late)
            raise Dm0Error(
                f"the checkpoint was not ready within {limit:g} s; raise load_timeout"
            ) from error
        spec = self._policy.spec
        if driven := [name for name in spec.action_names if name in BASE_COLUMNS]:
            raise Dm0Error(
                f"{spec.name} drives a base ({', '.join(driven)}), which the executor does not: "
                "choose a checkpoint of a layout of joints or poses alone"
            )
        self._gatherer = Gatherer(spec, self._robot)
        self._open_topics(spec.camera_slots)
        self._tracing = Tracing(self, self._worker.submit(self._collect_facts, options).result())
        self._undo.append(self._tracing.destroy)
        server = InstructionServer(self, self._make_task, self.run)
        self.serve(server, diagnostics)

    def _load(self, reasoning: ReasoningOptions) -> Policy:
        from dm0_ros.engine import EngineOptions

        self.settle_in(self._choose_threads())
        policy = load_policy(
            self.value("checkpoint"),
            self._robot,
            device=self.value("device"),
            dtype=self.value("dtype") or None,
            options=EngineOptions(
                guidance=self._choose_guidance(),
                compiled=self.value("compiled"),
                fp8=self.value("fp8"),
            ),
            seed=self.value("seed"),
            reasoning=reasoning,
        )
        try:
            latency, spec = policy.warm_up(), policy.spec
        except Exception:
            policy.close()  # it may reason already, in a thread that nobody else would end
            raise
        self.get_logger().info(
            f"{spec.name} is ready: pictures from {', '.join(spec.camera_slots)}, "
            f"{spec.horizon} rows of {spec.step:g} s, {latency.total:.0f} ms a plan, "
            f"reasoning {reasoning.mode.value}"
        )
        return policy

    def _choose_threads(self) -> int:
        return self.value("threads") or choose_threads()

    def _collect_facts(self, reasoning: ReasoningOptions) -> Facts:
        name, mode = self._policy.spec.name, reasoning.mode.value
        return collect_facts(self, self._robot, name, mode, self._choose_threads())

    def _choose_guidance(self):
        from dm0_ros.model.guidance import Guidance

        name = self.value("guidance")
        known = [kind.value for kind in Guidance]
        if name not in known:
            raise Dm0Error(f"guidance is '{name}'; choose one of {', '.join(known)}")
        return Guidance(name)

    def _open_topics(self, slots: tuple[str, ...]) -> None:
        sensors = MutuallyExclusiveCallbackGroup()
        subscribe = partial(self.subscribe, group=sensors)
        for slot in slots:
            kind, topic, decode = find_camera_topic(slot, self.value("compressed"))
            subscribe(kind, topic, partial(self._take_picture, slot, decode), SENSOR)
        subscribe(JointState, "joint_states", self._take_joints, SENSOR)
        subscribe(ExecutorStatus, "executor_status", self._take_status, STATUS)
        self._chunks = self.create_lifecycle_publisher(ActionChunk, "action_chunk", COMMAND)
        self._undo.append(partial(self.destroy_publisher, self._chunks))

    def _take_picture(self, slot: str, decode: Callable, message) -> None:
        stamp = to_seconds(message.header.stamp)
        self._reasoning.frames[slot] = message.header.frame_id
        self._gatherer.add_picture(slot, stamp, partial(decode, message))

    def _take_joints(self, message: JointState) -> None:
        stamp = to_seconds(message.header.stamp)
        try:
            self._gatherer.add_joints(stamp, message.name, message.position)
        except ObservationError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)

    def _take_status(self, message: ExecutorStatus) -> None:
        self._status = message
        self._guard.note(message)

    def _make_task(self, instruction: str, time_limit: float) -> Task:
        self._policy.check_instruction(instruction)
        self._guard.begin()
        robot = self._robot.executor
        names = ("observation_timeout", "progress_threshold", "rest_time")
        settings = TaskSettings(
            period=self.value("period") or self._policy.spec.period,
            time_limit=time_limit or self.value("time_limit"),
            rest_distance=self.value("rest_distance"),
            latency=robot.observation_latency + robot.actuation_latency,
            **{name: self.value(name) for name in names},
        )
        return Task(
            self._policy,
            self._gatherer,
            instruction,
            settings,
            frozenset(self._robot.joint_names),
            publish=partial(self._publish, instruction),
            look=self._look,
            now=self.now,
            find_fault=self._guard.find_fault,
            monotonic=self.choose_stopwatch(),
            witness=self._tracing.tell,
        )

    def _look(self) -> Execution:
        status = self._status
        resting = status.state in (ExecutorStatus.IDLE, ExecutorStatus.HOLD)
        return Execution(status.sequence, status.dropped, resting)

    def _publish(self, instruction: str, plan: Plan) -> int:
        message = chunk_from_plan(plan)
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self._robot.end_effectors[0].base
        # One that was started anew goes on from the plan in use, or its plans would count as old.
        self._sequence = max(self._sequence, self._status.sequence) + 1
        message.sequence, message.epoch = self._sequence, self._guard.epoch
        message.instruction, message.policy = instruction, self._policy.spec.name
        self._chunks.publish(message)
        self._diagnostics.add(plan)
        return self._sequence

    def ages(self) -> dict[str, float]:
        """See `GoalNode`."""
        ages = self._gatherer.ages(self.now())
        return {f"camera {slot}": age for slot, age in ages.items()}

    def complaint(self) -> str:
        """See `GoalNode`."""
        task = self._server.errand
        return task.complaint if task else ""


def _close_late(loading: Future) -> None:
    """End a policy that was loaded when nobody waited for it any more."""
    if not loading.cancelled() and loading.exception() is None:
        loading.result().close()


def main() -> int:
    """Run the node until SIGINT or SIGTERM."""
    return run_node(PolicyNode, threads=_THREADS)


if __name__ == "__main__":
    sys.exit(main())
