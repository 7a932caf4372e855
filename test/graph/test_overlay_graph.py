# SPDX-License-Identifier: Apache-2.0
"""The overlay node: the path of a plan appears in pictures and markers, where it belongs."""

import signal

import numpy as np
import pytest
from sensor_msgs.msg import Image
from sensors import Sensors
from visualization_msgs.msg import Marker, MarkerArray

from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold
from dm0_ros.nodes.messages import chunk_from_plan
from dm0_ros.nodes.pictures import picture_from_image
from dm0_ros.nodes.quality import COMMAND, SENSOR, STATUS
from dm0_ros.nodes.stamps import read_clock, to_seconds, to_time
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.robots.cameras import Projection
from dm0_ros.robots.kinematics import Chain, load_urdf
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space
from dm0_ros.scaffold.drawing import BOX_COLOUR, PATH_COLOUR

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


# In a 32x32 picture of the view; on the table, between the blocks' places.
VIEW, BOX = "right_hand", [12.0, 18.0, 20.0, 26.0]
PATH = [6.0, 15.0, 10.0, 22.0, 26.0, 29.0]


def make_scaffold(graph, age=0.0, **changes):
    message = SpatialScaffold(view=VIEW, width=32, height=32, subtask="reach the red block")
    message.box, message.trajectory, message.valid = BOX, PATH, True
    for name, value in changes.items():
        setattr(message, name, value)
    message.header.stamp = to_time(read_clock(graph.node.get_clock()) - age)
    return message


def near(picture, colour):
    return np.abs(picture.astype(int) - colour).max(axis=2) < 40


def newest(graph, pictures):
    """A picture that was drawn after what was published before."""
    pictures.clear()
    graph.wait(lambda: len(pictures) > 2, "pictures")
    return picture_from_image(pictures[-1], "overlay")


def project_back(marker):
    """Pixels (N, 2) of a 32x32 picture where a marker's points are seen."""
    projection = Projection.of(SPEC.simulation.cameras[VIEW])
    points = np.array([[point.x, point.y, point.z] for point in marker.points])
    return projection.project(points) * 32 / projection.width


def test_scaffold_in_its_picture_and_as_markers(graph, overlay):
    Sensors(graph, SPEC)
    pictures = {s: graph.collect(Image, f"overlay/{s}/image", SENSOR) for s in STILL}
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    scaffolds = graph.publisher(SpatialScaffold, "scaffold", COMMAND)
    scaffolds.publish(make_scaffold(graph))
    shown = {(m.ns, m.id): m for m in graph.wait(lambda: markers, "markers")[-1].markers}
    goal, path, words = shown["goal", 0], shown["path", 0], shown["subtask", 0]
    assert {m.header.frame_id for m in shown.values()} == {ARM.base}
    assert {m.action for m in shown.values()} == {Marker.ADD}
    x0, y0, x1, y1 = BOX
    edges = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    np.testing.assert_allclose(project_back(goal), edges, atol=1e-6)
    np.testing.assert_allclose(project_back(path), np.reshape(PATH, (-1, 2)), atol=1e-6)
    assert {point.z for point in (*goal.points, *path.points)} == {0.0}, "on the table"
    assert words.type == Marker.TEXT_VIEW_FACING and words.text == "reach the red block"
    assert words.pose.position.z > 0.05
    assert words.pose.position.x == pytest.approx(np.mean([p.x for p in goal.points[:4]]))
    assert to_seconds(goal.lifetime) == pytest.approx(10.0)

    view = newest(graph, pictures[VIEW])
    scale = 512 // 32
    for x, y in ((16, 18), (16, 26), (12, 22), (20, 22)):
        corner = view[y * scale - 20 : y * scale + 20, x * scale - 20 : x * scale + 20]
        assert near(corner, BOX_COLOUR).any(), "the box is not where it was told"
    for x, y in np.reshape(PATH, (-1, 2)):
        assert near(view[int(y * scale), int(x * scale)][None, None], PATH_COLOUR).all()
    (other,) = (slot for slot in STILL if slot != VIEW)
    rest = newest(graph, pictures[other])[100:]
    assert not near(rest, BOX_COLOUR).any() and not near(rest, PATH_COLOUR).any()


def test_refused_scaffold_is_a_note_and_never_a_box(graph, overlay):
    Sensors(graph, SPEC)
    pictures = graph.collect(Image, f"overlay/{VIEW}/image", SENSOR)
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    scaffolds = graph.publisher(SpatialScaffold, "scaffold", COMMAND)
    clean = newest(graph, pictures)
    scaffolds.publish(make_scaffold(graph))
    graph.wait(lambda: markers, "markers of the valid one")
    refused = make_scaffold(graph, valid=False, error="the box has 3 numbers")
    scaffolds.publish(refused)
    graph.wait(lambda: len(markers) > 1, "markers of the refused one")
    *gone, words = markers[-1].markers
    assert {(m.ns, m.id, m.action) for m in gone} == {
        ("goal", 0, Marker.DELETE),
        ("path", 0, Marker.DELETE),
    }
    assert words.text == "scaffold refused: the box has 3 numbers"
    noted = newest(graph, pictures)
    assert (noted[:60] != clean[:60]).any(), "the caption says it"
    assert not near(noted[100:], BOX_COLOUR).any() and not near(noted[100:], PATH_COLOUR).any()


def test_old_scaffold_is_not_drawn_and_a_reset_ends_it(graph):
    graph.start("overlay", "robot:=franka", "scaffold_timeout:=5.0")
    Sensors(graph, SPEC)
    pictures = graph.collect(Image, f"overlay/{VIEW}/image", SENSOR)
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    scaffolds = graph.publisher(SpatialScaffold, "scaffold", COMMAND)
    status = graph.publisher(ExecutorStatus, "executor_status", STATUS)
    scaffolds.publish(make_scaffold(graph, age=6.0))
    graph.wait(lambda: markers, "markers")
    assert {m.action for m in markers[-1].markers} == {Marker.DELETE}
    assert not near(newest(graph, pictures)[100:], BOX_COLOUR).any()
    scaffolds.publish(make_scaffold(graph))
    graph.wait(lambda: len(markers) > 1, "markers of a young one")
    assert near(newest(graph, pictures)[100:], BOX_COLOUR).any()
    status.publish(ExecutorStatus(epoch=1))
    graph.wait(lambda: len(markers) > 2, "the markers' removal")
    assert {m.action for m in markers[-1].markers} == {Marker.DELETE}
    assert not near(newest(graph, pictures)[100:], BOX_COLOUR).any()


def test_scaffold_of_what_is_over_is_not_drawn(graph, overlay):
    """Neither what was said for another instruction nor what comes after a reset too late."""
    Sensors(graph, SPEC)
    pictures = graph.collect(Image, f"overlay/{VIEW}/image", SENSOR)
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    chunks = graph.publisher(ActionChunk, "action_chunk", COMMAND)
    scaffolds = graph.publisher(SpatialScaffold, "scaffold", COMMAND)
    status = graph.publisher(ExecutorStatus, "executor_status", STATUS)

    def plan_for(instruction):
        markers.clear()
        message = chunk_from_plan(make_plan(graph))
        message.instruction = instruction
        chunks.publish(message)
        graph.wait(lambda: any(m.ns == "plan" for m in all_markers()), "markers of the plan")

    def all_markers():
        return [marker for message in markers for marker in message.markers]

    def words():
        return [(m.action, m.text) for m in all_markers() if m.ns == "subtask"]

    scaffolds.publish(make_scaffold(graph, age=0.2))
    graph.wait(lambda: words() == [(Marker.ADD, "reach the red block")], "the scaffold's markers")
    late = make_scaffold(graph, age=0.1, subtask="late")
    plan_for("touch the red block")
    assert near(newest(graph, pictures)[100:], BOX_COLOUR).any()
    plan_for("touch the blue block")
    assert words() == [(Marker.DELETE, "")]
    assert not near(newest(graph, pictures)[100:], BOX_COLOUR).any()
    answer = make_scaffold(graph, subtask="reach the blue block")
    markers.clear()
    for message in (late, answer):
        scaffolds.publish(message)
    graph.wait(words, "markers of the answer")
    assert words() == [(Marker.ADD, "reach the blue block")]
    reset = ExecutorStatus(epoch=1)
    reset.header.stamp = to_time(read_clock(graph.node.get_clock()))
    markers.clear()
    status.publish(reset)
    graph.wait(words, "the markers' removal")
    scaffolds.publish(answer)
    plan_for("touch the blue block")
    assert words() == [], "it came after the reset"
    assert not near(newest(graph, pictures)[100:], BOX_COLOUR).any()


def test_two_arms_have_a_path_each(graph):
    graph.start("overlay", "robot:=aloha")
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    scaffolds = graph.publisher(SpatialScaffold, "scaffold", COMMAND)
    one, other, gap = [10.0, 20.0, 12.0, 22.0], [20.0, 24.0, 18.0, 22.0], [float("nan")] * 2
    for trajectory, count in (([*one, *gap, *other], 2), (one, 1)):
        known = len(markers)
        scaffolds.publish(make_scaffold(graph, view="high", trajectory=trajectory))
        shown = graph.wait(lambda known=known: len(markers) > known and markers[-1], "markers")
        paths = [m for m in shown.markers if m.ns == "path"]
        assert [m.id for m in paths] == [0, 1]
        assert [m.action for m in paths].count(Marker.ADD) == count
        assert len(paths[0].points) == 2 and paths[0].points[0].z == pytest.approx(-0.1)


def test_view_without_a_known_place_is_named_and_gets_words_alone(graph, overlay):
    markers = graph.collect(MarkerArray, "overlay/markers", COMMAND)
    scaffolds = graph.publisher(SpatialScaffold, "scaffold", COMMAND)
    scaffolds.publish(make_scaffold(graph, view="left_hand"))
    graph.wait(lambda: markers, "markers")
    actions = {m.ns: m.action for m in markers[-1].markers}
    assert actions == {"goal": Marker.DELETE, "path": Marker.DELETE, "subtask": Marker.ADD}
    graph.wait(lambda: "view 'left_hand' get no markers" in overlay.output, "a word on it")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly(graph, overlay, number):
    graph.publisher(ActionChunk, "action_chunk", COMMAND)
    assert overlay.end(number) == 0
    assert "Traceback" not in overlay.output


def test_unknown_robot(graph):
    process = graph.start("overlay", "robot:=nosuch")
    assert process.wait() == 1
    assert "nosuch.yaml" in process.output and "Traceback" not in process.output
