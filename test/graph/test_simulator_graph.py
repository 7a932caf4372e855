# SPDX-License-Identifier: Apache-2.0
"""The simulator node, from outside: what a driver and cameras would publish, and its manners."""

import ast
import signal
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

import dm0_ros.nodes
from dm0_ros.msg import SimulatorOutcome
from dm0_ros.nodes.pictures import picture_from_compressed, picture_from_image
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import to_seconds
from dm0_ros.robots.inverse import solve
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.sim.simulator import Simulator

SPEC = load_robot("franka")
ARM = SPEC.joint_names
GRIPPER = SPEC.grippers[0]
# As the driver reports it: one finger, which is half the opening.
HOME = {**SPEC.home, GRIPPER.name: SPEC.home[GRIPPER.name] / GRIPPER.opening_per_joint}


def positions(message):
    return dict(zip(message.name, message.position, strict=True))


def reached(states, targets, tolerance=0.01):
    def check():
        if not states:
            return False
        found = positions(states[-1])
        return all(abs(found[name] - value) < tolerance for name, value in targets.items())

    return check


def test_it_looks_like_a_robot_with_cameras(graph):
    graph.start("simulator", "robot:=franka", "seed:=3")
    states = graph.collect(JointState, "joint_states", SENSOR)
    pictures = {
        slot: graph.collect(Image, f"camera/{slot}/image_raw", SENSOR)
        for slot in SPEC.camera_slots
    }
    infos = {
        slot: graph.collect(CameraInfo, f"camera/{slot}/camera_info", SENSOR)
        for slot in SPEC.camera_slots
    }
    seen = [*pictures.values(), *infos.values()]
    graph.wait(lambda: all(len(messages) > 2 for messages in seen) and len(states) > 20)
    assert positions(states[0]) == pytest.approx(HOME, abs=1e-3)
    stamps = [to_seconds(message.header.stamp) for message in states]
    assert np.all(np.diff(stamps) > 0)
    reference = Simulator(SPEC, seed=3)
    for slot, messages in pictures.items():
        seen = picture_from_image(messages[-1], slot)
        expected = reference.render(slot)
        assert seen.shape == expected.shape
        check_info(infos[slot][-1], slot)
        assert stamps_of(infos[slot]) & stamps_of(messages)
        # The blocks lie where the seed put them; physics has settled them by a hair.
        assert np.abs(seen.astype(int) - expected).mean() < 1.0
    reference.close()


def stamps_of(messages):
    return {to_seconds(message.header.stamp) for message in messages}


def check_info(info, slot):
    camera = SPEC.simulation.cameras[slot]
    assert (info.width, info.height) == (camera.width, camera.height)
    assert info.header.frame_id == f"camera_{slot}_optical"
    # The upper edge of the picture, half a pixel above the middle of its first row.
    across, down, one = info.k.reshape(3, 3) @ [0.0, -np.tan(camera.field_of_view / 2), 1.0]
    assert (across, down, one) == pytest.approx(((camera.width - 1) / 2, -0.5, 1.0))
    assert info.p.reshape(3, 4)[:, :3].ravel() == pytest.approx(info.k)


def test_it_obeys_both_kinds_of_command(graph):
    process = graph.start("simulator", "camera_rate:=1.0")
    states = graph.collect(JointState, "joint_states", SENSOR)
    sink = SPEC.sinks[0]
    arm = graph.publisher(Float64MultiArray, sink.topic, COMMAND)
    target = {**HOME, ARM[0]: 0.3}
    arm.publish(Float64MultiArray(data=[target[name] for name in sink.names]))
    graph.wait(reached(states, {ARM[0]: 0.3, ARM[3]: SPEC.home[ARM[3]]}), "the arm to turn")

    controller = graph.publisher(
        JointTrajectory, "joint_trajectory_controller/joint_trajectory", COMMAND
    )
    point = JointTrajectoryPoint(positions=[-0.2], time_from_start=Duration(nanosec=500_000_000))
    controller.publish(JointTrajectory(joint_names=[ARM[0]], points=[point]))
    graph.wait(reached(states, {ARM[0]: -0.2}), "the arm to turn back")
    way = [positions(message)[ARM[0]] for message in states]
    assert np.abs(np.diff(way[way.index(max(way)) :])).max() < 0.05, "it jumped"

    arm.publish(Float64MultiArray(data=[0.0]))
    graph.wait(lambda: "1 values for 7 joints" in process.output, "a word on the wrong length")
    arm.publish(Float64MultiArray(data=[float("nan")] * 7))
    graph.wait(lambda: "not finite" in process.output, "a word on the NaN")
    assert process.running()


def test_it_tells_the_truth_about_touches_and_resets(graph):
    graph.start("simulator", "seed:=5", "camera_rate:=1.0")
    outcomes = graph.collect(SimulatorOutcome, "simulator/outcome", STATUS)
    states = graph.collect(JointState, "joint_states", SENSOR)
    graph.wait(lambda: outcomes, "the first scene")
    assert outcomes[-1].episode == 1 and not outcomes[-1].names

    twin = Simulator(SPEC, seed=5)
    block = twin.object_pose("green")[:3]
    arm = graph.publisher(Float64MultiArray, SPEC.sinks[0].topic, COMMAND)
    tool = Chain(load_urdf(SPEC), SPEC.end_effectors[0].base, SPEC.end_effectors[0].tool)
    down = tool.pose(SPEC.home)
    for height in (0.12, 0.01):
        goal = down.copy()
        goal[:3, 3] = block + np.array([0.0, 0.0, height])
        target = solve(tool, SPEC.joints, goal, SPEC.home)
        arm.publish(Float64MultiArray(data=[target[name] for name in SPEC.sinks[0].names]))
        above = reached(states, target, 0.02)
        graph.wait(lambda done=above: done() or outcomes[-1].names, f"the hand at {height} m")
    graph.wait(lambda: outcomes[-1].names, "a touch")
    assert list(outcomes[-1].names) == ["green"] and outcomes[-1].seconds[0] > 0

    answer = graph.call(Trigger, "simulator/reset")
    assert answer.success and "seed 5" in answer.message
    graph.wait(lambda: outcomes[-1].episode == 2)
    assert not outcomes[-1].names
    graph.wait(reached(states, HOME), "the arm at home")


def test_compressed_pictures_and_simulated_time(graph):
    graph.start("simulator", "compressed:=true", "publish_clock:=true")
    pictures = graph.collect(CompressedImage, "camera/high/compressed", SENSOR)
    clocks = graph.collect(Clock, "/clock", SENSOR)
    states = graph.collect(JointState, "joint_states", SENSOR)
    graph.wait(lambda: pictures and len(clocks) > 10 and len(states) > 10)
    camera = SPEC.simulation.cameras["high"]
    seen = picture_from_compressed(pictures[-1], "high")
    assert seen.shape == (camera.height, camera.width, 3)
    times = [to_seconds(message.clock) for message in clocks]
    assert np.all(np.diff(times) > 0) and times[0] < 60.0
    assert 0.0 < to_seconds(states[-1].header.stamp) < 60.0
    assert graph.node.count_publishers("camera/high/image_raw") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(graph, number):
    process = graph.start("simulator")
    states = graph.collect(JointState, "joint_states", SENSOR)
    graph.wait(lambda: states)
    assert process.end(number) == 0
    assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("robot:=nosuch", "nosuch.yaml"),
        ("world:=nosuch", "worlds/nosuch.yaml"),
        ("seed:=-1", "seed"),
        ("camera_rate:=0.0", "camera_rate"),
    ],
)
def test_bad_parameters_get_a_sentence(graph, parameter, sentence):
    process = graph.start("simulator", parameter)
    assert process.wait() == 1
    assert sentence in process.output and "Traceback" not in process.output


def test_nothing_that_acts_can_read_the_truth():
    """Only the simulator's own node names the outcome or the room that knows it."""
    nodes = Path(dm0_ros.nodes.__file__).parent
    package = nodes.parent
    acting = [nodes / "policy.py", nodes / "executor.py"]
    acting += [*(nodes / "sinks").glob("*.py")]
    acting += [*(package / "policy").glob("*.py"), *(package / "control").glob("*.py")]
    sources = {path: path.read_text() for path in acting if path.exists()}
    assert sources
    for path, source in sources.items():
        assert "outcome" not in _words_of_topics(source), f"{path} reads the simulator's truth"
        assert "SimulatorOutcome" not in source, f"{path} reads the simulator's truth"
        assert "dm0_ros.sim" not in source, f"{path} imports the simulator"


def _words_of_topics(source):
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return {word for text in texts if isinstance(text, str) for word in text.split("/")}
