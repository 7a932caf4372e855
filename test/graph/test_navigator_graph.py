# SPDX-License-Identifier: Apache-2.0
"""The navigator and the house's simulator over DDS: words in, velocities out, and faults."""

import math
import signal
import sys

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from driving import Drive, write_base
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry, Path
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from dm0_ros.action import NavigateToObject
from dm0_ros.nodes.bases import fix_from_odometry
from dm0_ros.nodes.pictures import picture_from_image
from dm0_ros.nodes.quality import COMMAND, SENSOR
from dm0_ros.robots import load_robot
from dm0_ros.sim.house_simulator import HouseSimulator

BASE = load_robot("mobile_base").base
Result = NavigateToObject.Result


def newest(health):
    """The newest status and its values, or None before there is one."""
    if not health:
        return None
    (status,) = health[-1].status
    return status, {entry.key: entry.value for entry in status.values}


def test_the_simulator_looks_like_a_base_with_a_camera(graph):
    graph.start("house_simulator", "seed:=3")
    odometry = graph.collect(Odometry, "odom", SENSOR)
    truths = graph.collect(Odometry, "simulator/ground_truth", SENSOR)
    pictures = graph.collect(Image, "camera/front/image_raw", SENSOR)
    depths = graph.collect(Image, "camera/front/depth", SENSOR)
    infos = graph.collect(CameraInfo, "camera/front/camera_info", SENSOR)
    told = (pictures, depths, truths, infos)
    graph.wait(lambda: len(odometry) > 5 and all(told), "all topics")
    assert (odometry[0].header.frame_id, odometry[0].child_frame_id) == ("odom", "base_link")
    assert fix_from_odometry(odometry[0]).pose == pytest.approx([0, 0, 0])
    reference = HouseSimulator(load_robot("mobile_base"), seed=3)
    assert fix_from_odometry(truths[-1]).pose == pytest.approx(reference.pose)
    view = reference.look("front", want_depth=True)
    reference.close()
    assert np.array_equal(picture_from_image(pictures[-1], "picture"), view.colour)
    depth = depths[-1]
    assert (depth.encoding, depth.step, depth.header.frame_id) == (
        "32FC1",
        4 * 640,
        "camera_front_optical",
    )
    found = np.frombuffer(depth.data, "<f4").reshape(480, 640)
    assert found == pytest.approx(view.depth, abs=1e-3)
    check_floor(infos[-1], found, reference.spec.simulation.cameras["front"])
    assert graph.call(Trigger, "house_simulator/reset").success
    graph.wait(
        lambda: not np.allclose(fix_from_odometry(truths[-1]).pose, reference.pose),
        "another start",
    )


def check_floor(info, depth, camera):
    """By the camera's geometry and the depth, the floor is flat and where it is."""
    assert (info.height, info.width) == depth.shape
    assert info.header.frame_id == "camera_front_optical"
    rows, columns = np.mgrid[: info.height, : info.width]
    rays = np.linalg.solve(
        info.k.reshape(3, 3),
        np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1).astype(float),
    )
    ahead, _, up = np.subtract(camera.target, camera.position)
    tilt = math.atan2(up, ahead)
    heights = camera.position[2] + depth.ravel() * (math.sin(tilt) - math.cos(tilt) * rays[1])
    floor = np.abs(heights) < 0.02
    assert floor.sum() > 10000
    assert np.median(np.abs(heights[floor])) < 1e-5  # half a pixel would be 2e-3


def test_words_drive_the_base_and_the_drive_is_judged(graph):
    drive = Drive(graph, "house:=house")
    handle = drive.send("find the chair")
    assert handle.accepted
    graph.wait(lambda: len(drive.odometry) > 5, "odometry")
    begun = fix_from_odometry(drive.odometry[-1]).pose
    drive.say("turn left 45 degrees")

    def turned():
        pose = fix_from_odometry(drive.odometry[-1]).pose
        return abs(pose[2] - begun[2] - math.pi / 4) < 0.1

    graph.wait(turned, "the turn")
    graph.wait(lambda: drive.feedback and drive.feedback[-1].state == "ARRIVED", "the arrival")
    assert drive.feedback[-1].reason == "at the end of the route"
    assert not drive.send().accepted  # one at a time
    result = drive.stop_by_words(handle)
    assert (result.outcome, result.message) == (Result.SUCCEEDED, "the plan says: here")
    assert result.plans >= 4 and result.elapsed.sec < 60
    assert result.judged and result.success == 0.0 and result.spl == 0.0
    assert result.distance_to_goal == pytest.approx(result.start_distance, abs=0.3)
    assert result.start_distance > 0.1
    speeds = np.array([(m.linear.x, m.linear.y, m.angular.z) for m in drive.commands])
    assert np.abs(speeds[:, 0]).max() <= BASE.velocity
    assert 0.3 < np.abs(speeds[:, 2]).max() <= BASE.turn_velocity
    assert not speeds[-1].any()


def test_a_holonomic_base_with_stamped_commands_and_waypoints(graph, tmp_path):
    robot = write_base(tmp_path, drive="holonomic", command="twist_stamped")
    drive = Drive(graph, "head:=waypoints", robot=robot, words=False, kind=TwistStamped)
    commands = drive.commands
    handle = drive.send("go there")
    paths = graph.publisher(Path, "answer", COMMAND)
    path = Path()
    path.header.frame_id = "base_link"
    place = PoseStamped()
    place.pose.position.y, place.pose.orientation.w = 0.12, 1.0
    path.poses = [place]
    paths.publish(path)
    graph.wait(lambda: drive.feedback and drive.feedback[-1].state == "ARRIVED", "the arrival")
    speeds = np.array([(m.twist.linear.x, m.twist.linear.y, m.twist.angular.z) for m in commands])
    assert speeds[:, 1].max() > 0.05 and np.abs(speeds[:, [0, 2]]).max() < 0.05
    assert commands[0].header.frame_id == "base_link" and commands[0].header.stamp.sec > 0
    handle.cancel_goal_async()
    result = drive.wait_result(handle)
    assert result.outcome == Result.CANCELLED and math.isnan(result.spl) and not result.judged


def test_cancel_brings_the_base_to_rest(graph):
    drive = Drive(graph)
    handle = drive.send()
    drive.say("move forward 75 cm")
    graph.wait(lambda: drive.commands and drive.commands[-1].linear.x > 0.1, "motion")
    graph.wait(handle.cancel_goal_async().done, "an answer to the cancel")
    result = drive.wait_result(handle)
    assert (result.outcome, result.message) == (Result.CANCELLED, "cancelled on request")
    graph.wait(lambda: not drive.commands[-1].linear.x, "rest")
    count = len(drive.commands)
    graph.spin(0.5)
    assert len(drive.commands) == count  # silent at rest: a person may drive now


def test_a_base_whose_odometry_ends_is_stopped_and_named(graph):
    health = graph.collect(DiagnosticArray, "/diagnostics", 10)
    drive = Drive(graph)

    def tells(text, level):
        told = newest(health)
        return told and text in told[0].message and told[0].level == level

    idle = "waits for an instruction; the base is IDLE"
    graph.wait(lambda: tells(idle, DiagnosticStatus.OK), "a healthy navigator")
    handle = drive.send()
    graph.wait(lambda: tells("pursues 'find the chair'", DiagnosticStatus.OK), "its work")
    status, values = newest(health)
    assert (status.name, status.hardware_id) == ("navigator: mobile_base", "mobile_base")
    assert set(values) == {"age of odometry (s)"}  # who answers in words has the pictures
    assert 0.0 <= float(values["age of odometry (s)"]) < 60.0
    drive.say("move forward 75 cm")
    graph.wait(lambda: drive.commands and drive.commands[-1].linear.x > 0.1, "motion")
    drive.simulator.end(signal.SIGKILL)
    result = drive.wait_result(handle)
    assert result.outcome == Result.FAULT and "newest odometry is" in result.message
    graph.wait(lambda: not drive.commands[-1].linear.x, "rest")
    assert any("the last odometry is" in feedback.reason for feedback in drive.feedback)
    graph.wait(lambda: tells("newest odometry is", DiagnosticStatus.WARN), "a complaint")
    assert drive.process.running()


def test_empty_instructions_and_time_limits(graph):
    drive = Drive(graph)
    result = drive.wait_result(drive.send("  "))
    assert (result.outcome, result.message) == (
        Result.REJECTED,
        "the instruction is empty; say what to find",
    )
    result = drive.wait_result(drive.send(limit=1))
    assert (result.outcome, result.message) == (Result.TIME_LIMIT, "not there within 1 s")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (("robot:=franka",), "franka: has no base; the navigator drives one"),
        (("head:=song",), "is not one of words, steps, waypoints, velocities"),
        (("checkpoint:=/nowhere",), "no folder '/nowhere'"),
        (("head:=words", "house:=nowhere"), "No 'worlds/nowhere.yaml'"),
    ],
)
def test_what_is_wrong_is_said_at_configure(graph, parameters, says):
    process = graph.start("navigator", "autostart:=true", *parameters)
    assert process.wait() == 1
    assert says in process.output and "Traceback" not in process.output


def test_dm0_up_starts_and_ends_both(graph):
    code = "from dm0_ros.cli import main; main()"
    up = graph.run(sys.executable, "-c", code, "up", "mobile_base", "--sim", COLUMNS="200")
    pictures = graph.collect(Image, "camera/front/image_raw", SENSOR)
    graph.wait(lambda: pictures, "pictures")

    def active():
        return graph.call(GetState, "navigator/get_state").current_state.label == "active"

    graph.wait(active, "an active navigator")
    assert "dm0-nano-navigation is ready" in up.output
    health = graph.collect(DiagnosticArray, "/diagnostics", 10)
    client = ActionClient(graph.node, NavigateToObject, "navigate_to_object")
    graph.wait(client.server_is_ready, "the action server")
    client.send_goal_async(NavigateToObject.Goal(instruction="find the chair"))

    def planned():
        told = newest(health)
        return told and "plan latency p99 (ms)" in told[1]

    graph.wait(planned, "the latency of a plan")
    values = newest(health)[1]
    assert {"age of odometry (s)", "age of picture (s)"} <= set(values)
    assert float(values["flow p50 (ms)"]) > 0.0
    assert up.end(signal.SIGINT, timeout=40.0) == 0
    assert "Traceback" not in up.output
