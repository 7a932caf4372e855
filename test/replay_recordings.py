# SPDX-License-Identifier: Apache-2.0
"""Records a live policy and a live executor into a bag, by a clock of its own, without ROS."""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from replay_bags import (
    BEGIN,
    make,
    make_header,
    make_image,
    make_joint_state,
    make_positions,
    write,
)

from dm0_ros.control import Chunk, Executor, make_seam
from dm0_ros.errors import PlanError
from dm0_ros.policy.gathering import Gatherer
from dm0_ros.policy.protocol import Latency
from dm0_ros.policy.reasoning import ReasoningOptions
from dm0_ros.policy.registry import load_policy
from dm0_ros.policy.trace import Facts, Sight, Trace, digest_checkpoint, digest_robot
from dm0_ros.replay.bag import BagWriter
from dm0_ros.robots.loading import load_robot
from dm0_ros.stamps import to_seconds

ROBOT = load_robot("franka")
TICK = 0.01  # s, of executor and joint states
CAMERA_PERIOD = 0.07
PERIOD = 0.2  # s between plans
TOOK = 0.05  # s that a plan takes
LATENCY = Latency(10.0, 20.0, 0.0, 20.0)
STILL = 0.6  # s between tasks


@dataclass
class Live:
    """What happened, beside the bag."""

    observations: list = field(default_factory=list)
    plans: list = field(default_factory=list)
    followed: int = 0
    refused: int = 0


@dataclass
class Faults:
    """What goes wrong while recording."""

    lose: object = lambda topic, seconds: False  # what the recorder misses; s after BEGIN
    traced: bool = True
    reasoning: str = "off"  # that its facts claim
    thinking: ReasoningOptions = field(default_factory=ReasoningOptions)  # how it really does
    jump_at: float = 1e9  # s: from then on every stamp is 100 s late


class Recorder:
    """A graph that runs tasks one after another, and its recording."""

    def __init__(self, path, checkpoint, faults=None, seed=0):
        self.faults = faults or Faults()
        self.policy = load_policy(checkpoint, ROBOT, seed=seed, reasoning=self.faults.thinking)
        self.writer = BagWriter(path)
        self.gatherer = Gatherer(self.policy.spec, ROBOT)
        self.executor = Executor(ROBOT, make_seam("blend", ROBOT.executor.blend_time, 1000))
        self.live, self.now, self.sequence = Live(), BEGIN, 0
        self.coming = []  # plans on their way to the executor: when, chunk
        self.random = np.random.default_rng(0)
        self.position = np.array([ROBOT.home[name] for name in ROBOT.column_names])
        self.told = None
        if self.faults.traced:
            facts = make_facts(checkpoint, seed, self.faults.reasoning)
            self.save("policy_facts", make("std_msgs/msg/String", data=facts.dump()))

    def save(self, topic, message, delay=0.001):
        """Received a little later than it is now, unless the recorder misses it."""
        if not self.faults.lose(topic, self.now - BEGIN):
            write(self.writer, f"/{topic}", self.now + delay, message)

    def stamp(self):
        """Of the drivers' clocks."""
        late = 100.0 if self.now - BEGIN >= self.faults.jump_at else 0.0
        return round((self.now - late) * 1e9) / 1e9

    def tick(self, count):
        stamp = self.stamp()
        gaps = {g.name: 1 / g.opening_per_joint for g in ROBOT.grippers}
        names = ROBOT.column_names[::-1]
        values = dict(zip(ROBOT.column_names, self.position, strict=True))
        joints = make_joint_state(stamp, names, [values[n] * gaps.get(n, 1.0) for n in names])
        stamp = to_seconds(joints.header.stamp)
        # the policy misses every seventh, which the recorder has
        if count % 7:
            self.gatherer.add_joints(stamp, names, joints.position)
        self.save("joint_states", joints)
        self.executor.measure(values, stamp, self.now)
        self.see(count)
        self.command()

    def see(self, count):
        """Cameras in turn."""
        slots = self.policy.spec.camera_slots
        if count % round(CAMERA_PERIOD / TICK):
            return
        slot = slots[count // round(CAMERA_PERIOD / TICK) % len(slots)]
        picture = self.random.integers(0, 255, (24, 32, 3), np.uint8)
        image = make_image(self.stamp(), picture)
        stamp = to_seconds(image.header.stamp)
        self.gatherer.add_picture(slot, stamp, lambda: picture)
        self.save(f"camera/{slot}/image_raw", image, 0.012)

    def command(self):
        while self.coming and self.coming[0][0] <= self.now:
            try:
                self.follow(self.coming.pop(0)[1])
                self.live.followed += 1
            except PlanError:  # the network is untrained; a replay is to refuse it, too
                self.live.refused += 1
        point = self.executor.tick(self.now)
        status = self.executor.status(self.now)
        if (status.state, status.sequence) != self.told:
            self.told = status.state, status.sequence
            self.save("executor_status", make_status(status, self.now))
        if point is None:
            return
        self.position = point.positions
        for sink in ROBOT.sinks:
            columns = [ROBOT.column_names.index(name) for name in sink.names]
            self.save(sink.topic, make_positions(point.positions[columns]), 0.0)

    def follow(self, chunk):
        """As the executor's node does."""
        draft = self.executor.consider(chunk, self.now, 0.01)
        draft.design()
        self.executor.adopt(draft, self.now)

    def plan(self, index, instruction):
        observation = self.gatherer.observe(instruction, self.stamp())
        plan = replace(self.policy.infer(observation), latency=LATENCY)
        self.live.observations.append(observation)
        self.live.plans.append(plan)
        self.sequence += 1
        sight = Sight(self.sequence, index, observation, None, plan)
        self.publish(plan, instruction)
        if self.faults.traced:
            trace = make("std_msgs/msg/String", data=Trace.of(sight).dump())
            self.save("policy_trace", trace, TOOK + 0.004)

    def publish(self, plan, instruction):
        message = make_plan(plan, self.now + TOOK, self.sequence, instruction)
        self.save("action_chunk", message, TOOK)
        chunk = Chunk(plan.start, plan.step, plan.space, plan.names, plan.values, self.sequence, 0)
        self.coming.append((self.now + TOOK, chunk))

    def run(self, tasks, seconds):
        """Every task for so many seconds; each ends with a plan that stays where the arm is."""
        count = 0
        for instruction in tasks:
            self.policy.reset()
            begun, index = self.now, 0
            while self.now - begun < seconds + STILL:
                self.tick(count)
                passed, count = self.now - begun, count + 1
                if passed + 1e-9 >= STILL and passed >= STILL + index * PERIOD - 1e-9:
                    self.plan(index, instruction)
                    index += 1
                self.now = BEGIN + count * TICK
        self.writer.close()
        return self.live


def make_facts(checkpoint, seed, reasoning="off"):
    same = {"simulated": False, "dtype": "", "guidance": "none", "compiled": False, "fp8": False}
    return Facts(
        robot="franka",
        robot_digest=digest_robot(ROBOT),
        checkpoint=str(checkpoint),
        checkpoint_digest=digest_checkpoint(checkpoint),
        policy="tiny",
        seed=seed,
        device="cpu",
        threads=1,
        reasoning=reasoning,
        reasoning_level="",
        temperature=0.0,
        compressed=False,
        version="",
        commit="",
        **same,
    )


def make_plan(plan, published, sequence, instruction):
    step = make("builtin_interfaces/msg/Duration", sec=0, nanosec=round(plan.step * 1e9))
    latency = plan.latency
    stages = [latency.preprocessing, latency.prefix, latency.reasoning, latency.flow]
    return make(
        "dm0_ros/msg/ActionChunk",
        header=make_header(published, "fr3_link0"),
        start=make_header(plan.start).stamp,
        step=step,
        sequence=sequence,
        epoch=0,
        space=0,
        names=list(plan.names),
        rows=len(plan.values),
        values=plan.values.ravel(),
        progress=plan.progress,
        instruction=instruction,
        policy="tiny",
        latency_ms=np.array(stages, np.float32),
    )


def make_status(status, now):
    return make(
        "dm0_ros/msg/ExecutorStatus",
        header=make_header(now),
        state=int(status.state),
        reason=status.reason,
        needs_reset=status.needs_reset,
        epoch=status.epoch,
        sequence=status.sequence,
        time_left=status.time_left,
        observation_age=status.observation_age,
        seam=status.seam,
        limited=list(status.limited),
        dropped=status.dropped,
        period_p99=status.period_p99,
    )


def record(path, checkpoint, tasks=("touch the red block", "touch it"), seconds=1.0, **faults):
    """A bag at ``path``, and what happened."""
    return Recorder(path, checkpoint, Faults(**faults)).run(tasks, seconds)


def losing(*topics, begin=0.0, end=1e9):
    """A recorder that misses these topics for a while."""
    return partial(_loses, topics, begin, end)


def _loses(topics, begin, end, topic, seconds):
    return topic in topics and begin <= seconds < end
