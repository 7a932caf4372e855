# SPDX-License-Identifier: Apache-2.0
"""A policy, the executor and the simulator in closed loop: one process, simulated time.

A plan comes a set time after its observation, whatever the network really took, so that the same
seed gives the same motion. One plan is made at a time, as in the policy node.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dm0_ros.control import Chunk, Executor, State, make_seam
from dm0_ros.errors import PlanError
from dm0_ros.model.guidance import Guidance
from dm0_ros.policy.commitment import Commitments, Execution
from dm0_ros.policy.protocol import Observation, Plan, Policy
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.tasks import Task


@dataclass(frozen=True)
class Strategy:
    """A seam, and how the network is told about it."""

    seam: str
    guidance: Guidance = Guidance.NONE
    rows: int = 10  # played of each plan, by those that stop and go

    @property
    def waits(self) -> bool:
        """Whether to observe only when a plan has been played to its end."""
        return self.seam == "hold_until_done"


# DM0 as published plays 10 to 50 of its 50 rows between two observations, by task.
STRATEGIES = {
    "hold_until_done": Strategy("hold_until_done"),
    "blend": Strategy("blend"),
    "rtc_identity": Strategy("rtc", Guidance.IDENTITY),
    "rtc_jacobian": Strategy("rtc", Guidance.JACOBIAN),
    "replace": Strategy("replace"),
    "temporal_ensemble": Strategy("temporal_ensemble"),
    "hold_until_done_5": Strategy("hold_until_done", rows=5),
    "hold_until_done_25": Strategy("hold_until_done", rows=25),
    "hold_until_done_50": Strategy("hold_until_done", rows=50),
}


@dataclass(frozen=True)
class Timing:
    """When plans are made and come; s."""

    planning: float  # from an observation to its plan, without what is added
    delay: float  # added to that
    period: float  # least time between two observations
    limit: float  # of an episode
    lag: float  # of the simulated servos, which the executor is told as its actuation latency


@dataclass(frozen=True)
class Outcome:
    """What happened in one episode."""

    instructions: tuple[str, ...]  # each given when what the one before names was touched
    targets: tuple[str, ...]
    touched: tuple[str, ...]
    success: bool  # all named objects were touched, in this order, and no other
    seconds: float  # from the first instruction to the last touch, a wrong touch, or the limit
    plans: int
    refused: int
    at_rest: float  # share of the time in which the command did not move
    seam: float  # rad: largest distance between a plan and the motion that it took over from
    peak_velocity: float  # rad/s, of any joint's command
    peak_acceleration: float
    peak_jerk: float


class Loop:
    """One episode. Everything happens in `run`."""

    def __init__(
        self,
        policy: Policy,
        simulator: Simulator,
        strategy: Strategy,
        timing: Timing,
        tasks: Sequence[Task],
    ) -> None:
        """The simulator has been reset; it holds the scene."""
        self._policy, self._simulator, self._tasks = policy, simulator, tasks
        self._strategy, self._timing = strategy, timing
        robot = _tell(simulator.spec, strategy, timing)
        seam = make_seam(strategy.seam, robot.executor.blend_time, strategy.rows)
        self._executor = Executor(robot, seam)
        self._commitments = Commitments(policy.spec, timing.period, timing.lag)
        self._coming: tuple[float, Plan] | None = None
        self._stage = 0  # instructions that were followed
        self._next = 0.0  # s: no observation before this
        self.plans: list[Plan] = []
        self._seam = 0.0
        self._commands: list[np.ndarray] = []

    def run(self) -> Outcome:
        """Act until all is touched, something wrong is, or the time is over."""
        simulator, executor = self._simulator, self._executor
        self._policy.reset()
        dt = 1.0 / simulator.spec.executor.rate
        while simulator.time < self._timing.limit and not self._done:
            now = simulator.time
            executor.measure(simulator.measured(), now, now)
            if self._coming is None and now >= self._next - 1e-9 and self._may_observe():
                self._plan(now)
            self._take_over(now)
            point = executor.tick(now)
            if point is not None:
                simulator.command(executor.names, point.positions)
                self._commands.append(point.positions[: len(simulator.spec.joints)])
            simulator.step(dt)
        return self._judge(dt)

    @property
    def _done(self) -> bool:
        touched, wanted = self._simulator.touches, [task.object for task in self._tasks]
        names = [touch.name for touch in touched]
        return len(names) >= len(wanted) or names != wanted[: len(names)]

    def _may_observe(self) -> bool:
        return not self._strategy.waits or self._executor.state is not State.EXECUTING

    def _plan(self, now: float) -> None:
        spec, simulator = self._policy.spec, self._simulator
        measured = simulator.measured()
        observation = Observation(
            pictures={slot: simulator.render(slot) for slot in spec.camera_slots},
            state=np.array([measured[name] for name in spec.state_names]),
            instruction=self._tasks[len(simulator.touches)].instruction,
            stamp=now,
        )
        if self._stage != len(simulator.touches):
            # As the policy node does for an instruction: nothing said before is kept.
            self._stage = len(simulator.touches)
            timing = self._timing
            self._commitments = Commitments(spec, timing.period, timing.lag)
        prefix = self._commitments.commit(now, self._look(now)) if spec.needs_prefix else None
        plan = self._policy.infer(observation, prefix)
        self._coming = now + self._timing.planning + self._timing.delay, plan
        self._next = now + self._timing.period

    def _take_over(self, now: float) -> None:
        if self._coming is None or now < self._coming[0] - 1e-9:
            return
        (_, plan), self._coming = self._coming, None
        self.plans.append(plan)
        number = len(self.plans)
        self._commitments.note(plan, number, now, self._look(now))
        chunk = Chunk(plan.start, plan.step, plan.space, plan.names, plan.values, number, 0)
        moving = self._executor.state is State.EXECUTING
        try:
            self._executor.accept(chunk, now)
        except PlanError:
            return  # the executor counts it
        if moving:
            self._seam = max(self._seam, self._executor.status(now).seam)

    def _look(self, now: float) -> Execution:
        status = self._executor.status(now)
        resting = status.state in (State.IDLE, State.HOLD)
        return Execution(status.sequence, status.dropped, resting)

    def _judge(self, dt: float) -> Outcome:
        path = np.array(self._commands).reshape(-1, len(self._simulator.spec.joints))
        peaks = [
            float(np.abs(np.diff(path, order, axis=0)).max(initial=0.0)) / dt**order
            for order in (1, 2, 3)
        ]
        touches = self._simulator.touches
        touched = tuple(touch.name for touch in touches)
        targets = tuple(task.object for task in self._tasks)
        seconds = touches[-1].time if self._done else self._simulator.time
        moved = np.abs(np.diff(path, axis=0)).max(1, initial=0.0) > 1e-9
        return Outcome(
            instructions=tuple(task.instruction for task in self._tasks),
            targets=targets,
            touched=touched,
            success=touched == targets,
            seconds=round(float(seconds), 4),
            plans=len(self.plans),
            refused=self._executor.dropped,
            at_rest=round(1 - float(moved.sum()) * dt / float(seconds), 4),
            seam=round(self._seam, 5),
            peak_velocity=round(peaks[0], 4),
            peak_acceleration=round(peaks[1], 3),
            peak_jerk=round(peaks[2], 2),
        )


def _tell(robot: RobotSpec, strategy: Strategy, timing: Timing) -> RobotSpec:
    """The robot with its servos' lag; its deadmen, which judge computers, are off.

    Those that stop and go need no lag, and observe as soon as the command is at rest.
    """
    lag = 0.0 if strategy.waits else timing.lag
    settings = replace(
        robot.executor,
        actuation_latency=lag,
        gripper_latency=lag,
        state_timeout=timing.limit,
        plan_timeout=0.0,
    )
    return replace(robot, executor=settings)
