# SPDX-License-Identifier: Apache-2.0
"""The overlay node: the path of a plan appears in pictures and markers, where it belongs."""

import signal

import numpy as np
import pytest
from sensor_msgs.msg import Image
from sensors import Sensors
from visualization_msgs.msg import Marker, MarkerArray

from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.messages import chunk_from_plan
from dm0_ros.nodes.pictures import picture_from_image
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import read_clock, to_seconds
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space

SPEC = load_robot("franka")
ARM = SPEC.end_effectors[0]
STILL = [slot for slot, camera in SPEC.simulation.cameras.items() if camera.link is None]
ROWS, STEP = 30, 1.0


@pytest.fixture
def overlay(graph):
    return graph.start("overlay", "robot:=franka", "width:=400")


def make_plan(graph):
    """The arm turns slowly about its first joint; columns in an order of their own."""
    names = SPEC.column_names[::-1]
    rows = np.tile([SPEC.home[name] for name in names], (ROWS, 1))
    rows[:, names.index(SPEC.joint_names[0])] = np.linspace(-0.3, 0.5, ROWS)
    start = read_clock(graph.node.get_clock())
    latency = Latency(1.0, 1.0, 0.0, 1.0)
    return Plan(start, STEP, Space.JOINT_POSITION, names, rows, 0.25, latency)


def find_path(plan):
    chain = Chain(load_urdf(SPEC), ARM.base, ARM.tool)
    rows = (dict(zip(plan.names, row, strict=True)) for row in plan.values)
    return np.stack([chain.pose(row)[:3, 3] for row in rows])


def test_path_in_pictures_and_markers(graph, overlay):
    Sensors(graph, SPEC)
    pictures = {s: graph.collect(Image, f"overlay/{s}/image", SENSOR) for s in STILL}
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    chunks = graph.publisher(ActionChunk, "action_chunk", COMMAND)
    status = graph.publisher(ExecutorStatus, "executor_status", STATUS)
    graph.wait(lambda: all(pictures.values()), "pictures before there is a plan")
    before = {slot: picture_from_image(seen[-1], slot) for slot, seen in pictures.items()}
    plan = make_plan(graph)
    message = chunk_from_plan(plan)
    message.instruction = "turn"
    status.publish(ExecutorStatus(state=ExecutorStatus.EXECUTING))
    chunks.publish(message)
    (marker,) = graph.wait(lambda: markers, "markers")[-1].markers
    check_marker(marker, find_path(plan))
    for seen in pictures.values():
        seen.clear()
    graph.wait(lambda: all(len(seen) > 2 for seen in pictures.values()), "pictures with the plan")
    for slot, seen in pictures.items():
        after = picture_from_image(seen[-1], slot)
        # The test's pictures are 32 pixels wide, doubled until they are 512.
        assert after.shape == (512, 512, 3)
        check_picture(before[slot], after, Projection.of(SPEC.simulation.cameras[slot]), plan)
    status.publish(ExecutorStatus(epoch=1))
    graph.wait(
        lambda: all(is_clean(before[slot], seen[-1]) for slot, seen in pictures.items()),
        "pictures without the plan that a reset made void",
    )


def is_clean(before, message):
    after = picture_from_image(message, "overlay")
    return not (np.abs(after[100:].astype(int) - before[100:]).max(axis=2) > 30).any()


def check_marker(marker, path):
    assert marker.type == Marker.LINE_STRIP and marker.header.frame_id == ARM.base
    points = np.array([[point.x, point.y, point.z] for point in marker.points])
    np.testing.assert_allclose(points, path, atol=1e-12)
    assert len(marker.colors) == ROWS and marker.colors[0] != marker.colors[-1]
    assert to_seconds(marker.lifetime) == pytest.approx(ROWS * STEP)


def check_picture(before, after, projection, plan):
    pixels = projection.project(find_path(plan)) * 512 / projection.width
    changed = np.abs(after.astype(int) - before).max(axis=2) > 30
    for x, y in pixels[len(pixels) // 2 :]:
        if 100 < y < 512 and 0 <= x < 512:
            assert changed[int(y), int(x)], "the path is not where the tool will be"
    caption = changed[:60]
    assert caption.any(), "the caption did not change"
    below = np.argwhere(changed[100:]) + np.array([100, 0])
    nearest = np.linalg.norm(below[:, None] - pixels[None, :, ::-1], axis=2).min(axis=1)
    assert nearest.max() < 60, "something is drawn away from the path"


def test_plan_that_makes_no_sense_is_named_and_survived(graph, overlay):
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    chunks = graph.publisher(ActionChunk, "action_chunk", COMMAND)
    chunks.publish(ActionChunk(sequence=3, rows=2, names=["fr3_joint1"], values=[1.0]))
    graph.wait(lambda: "plan 3: 1 values" in overlay.output, "a word on it")
    chunks.publish(chunk_from_plan(make_plan(graph)))
    graph.wait(lambda: markers, "markers of the next plan")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(graph, overlay, number):
    graph.publisher(ActionChunk, "action_chunk", COMMAND)
    assert overlay.end(number) == 0
    assert "Traceback" not in overlay.output


def test_unknown_robot(graph):
    process = graph.start("overlay", "robot:=nosuch")
    assert process.wait() == 1
    assert "nosuch.yaml" in process.output and "Traceback" not in process.output
