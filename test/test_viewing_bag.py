# SPDX-License-Identifier: Apache-2.0
"""`dm0 view` of a bag writes a file in which everything that was recorded is found again.

Needs the extra `view`; without it only the error that says so is tested.
"""

import io
import os
import socket
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from replay_bags import (
    BEGIN,
    make,
    make_header,
    make_image,
    make_joint_state,
    make_positions,
    write,
)

from dm0_ros.commands.view import view
from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import BagWriter
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import SinkKind
from dm0_ros.viewing.bag import Part, tell_bag

SPEC = load_robot("franka")
VIEW, NAN = "right_hand", float("nan")
PIXELS = 336  # of a side of the view's pictures


def run(*arguments, **options):
    command = [sys.executable, "-m", "dm0_ros.cli", "view", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def make_plan(seconds, epoch=0, instruction="touch it"):
    """Ten rows, a tenth of a second each: every column rises from its home by 0.01 a row."""
    names = SPEC.column_names
    home = np.array([SPEC.home[name] for name in names])
    header = make_header(seconds, "base")
    return make(
        "dm0_ros/msg/ActionChunk",
        header=header,
        start=header.stamp,
        step=make("builtin_interfaces/msg/Duration", sec=0, nanosec=100_000_000),
        sequence=1,
        epoch=epoch,
        space=0,
        names=list(names),
        rows=10,
        values=(home + 0.01 * np.arange(10)[:, None]).ravel(),
        progress=NAN,
        instruction=instruction,
        policy="none",
        latency_ms=np.array([1, 20, 300, 4], np.float32),
    )


def make_status(seconds, state=2, reason="following plan 1", epoch=0):
    numbers = {"sequence": 1, "time_left": 1.5, "observation_age": 0.1, "seam": 0.0, "dropped": 0}
    return make(
        "dm0_ros/msg/ExecutorStatus",
        header=make_header(seconds),
        **{"IDLE": 0, "APPROACH": 1, "EXECUTING": 2, "STARVED": 3, "HOLD": 4, "FAULT": 5},
        **{"state": state, "reason": reason, "needs_reset": False, "epoch": epoch, "limited": []},
        **numbers,
        period_p99=0.01,
    )


def make_scaffold(seconds, valid=True):
    return make(
        "dm0_ros/msg/SpatialScaffold",
        header=make_header(seconds),
        **{"view": VIEW, "width": PIXELS // 2, "height": PIXELS // 2, "subtask": "reach the cup"},
        box=np.array([10, 20, 30, 40], np.float32),
        trajectory=np.array([1, 2, 3, 4, 5, 6], np.float32),
        action_tokens=np.empty(0, np.uint16),
        **{"text": "as it was written", "valid": valid, "error": "" if valid else "no numbers"},
    )


def write_bag(path, prefix=""):
    """One second of a graph: plan, commands and joints at 20 Hz, pictures at 10 Hz."""
    writer = BagWriter(path)
    write(writer, f"{prefix}/executor_status", BEGIN, make_status(BEGIN, 0, "no plan yet"))
    write(writer, f"{prefix}/action_chunk", BEGIN + 0.05, make_plan(BEGIN))
    write(writer, f"{prefix}/executor_status", BEGIN + 0.1, make_status(BEGIN + 0.1))
    home = [SPEC.home[name] for name in SPEC.column_names]
    scales = {g.name: 1 / g.opening_per_joint for g in SPEC.grippers}
    reported = [v * scales.get(n, 1.0) for n, v in zip(SPEC.column_names, home, strict=True)]
    picture = np.full((PIXELS, PIXELS, 3), (200, 100, 50), np.uint8)
    for tick in range(20):
        moment = BEGIN + 0.1 + 0.05 * tick
        state = make_joint_state(moment, SPEC.column_names, reported)
        write(writer, f"{prefix}/joint_states", moment + 0.001, state)
        for sink in SPEC.sinks:
            assert sink.kind is SinkKind.FORWARD_POSITION
            values = make_positions([SPEC.home[name] + 0.005 for name in sink.names])
            write(writer, f"{prefix}/{sink.topic}", moment, values)
        if tick % 2 == 0:
            image = make_image(moment + 0.02, picture)
            write(writer, f"{prefix}/camera/{VIEW}/image_raw", moment + 0.025, image)
    for sink in SPEC.sinks:
        values = make_positions([SPEC.home[name] + 0.005 for name in sink.names])
        write(writer, f"{prefix}/{sink.topic}", BEGIN + 4.0, values)
    write(writer, f"{prefix}/scaffold", BEGIN + 0.6, make_scaffold(BEGIN + 0.3))
    write(writer, f"{prefix}/scaffold", BEGIN + 1.2, make_scaffold(BEGIN + 1.1, valid=False))
    writer.close()
    return path


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Rows of the file that the command wrote: entity -> component -> list of values."""
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    folder = tmp_path_factory.mktemp("view")
    bag, file = write_bag(folder / "bag"), folder / "view.rrd"
    result = run("franka", "--bag", bag, "--save", file)
    assert result.returncode == 0, result.stderr
    assert "messages" in result.stdout and str(file) in result.stdout
    assert "Warning" not in result.stderr and "WARN" not in result.stderr
    reader = RrdReader(file)
    assert len(reader.blueprints()) == 1, "the arrangement of the windows"
    rows = defaultdict(lambda: defaultdict(list))
    for chunk in reader.stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            column = batch.column(name)
            if str(column.type).startswith("timestamp"):
                column = column.cast("int64")  # nanoseconds, which datetime has no room for
            found = [value for value in column.to_pylist() if value is not None]
            rows[chunk.entity_path.strip("/")][name] += found
    return rows


def values(told, entity):
    return [number for row in told[entity]["Scalars:scalars"] for number in row]


def test_plan_command_and_measured_of_every_joint(told):
    for name in SPEC.column_names:
        home = SPEC.home[name]
        np.testing.assert_allclose(values(told, f"joints/{name}/measured"), home)
        commands = np.array(values(told, f"joints/{name}/command"))
        assert np.isnan(commands[-2]), "a gap where commands paused"
        np.testing.assert_allclose(np.delete(commands, -2), home + 0.005)
        steps = np.arange(2, 20) * 0.005
        planned = home + np.minimum(steps, 0.09)  # until the plan ends
        np.testing.assert_allclose(values(told, f"joints/{name}/plan"), planned, atol=1e-6)


def test_times_on_the_timeline(told):
    moments = told["joints/fr3_joint1/measured"]["ros_time"]
    seconds = np.array(moments) / 1e9 - BEGIN
    np.testing.assert_allclose(seconds, 0.1 + 0.05 * np.arange(20), atol=1e-5)


def test_latencies_by_stage(told):
    stages = ("preprocessing", "prefix", "reasoning", "flow", "total")
    found = {stage: values(told, f"latency/{stage}") for stage in stages}
    assert found == dict(zip(stages, ([1], [20], [300], [4], [325]), strict=True))


def test_states_of_the_executor(told):
    assert told["executor/state"]["StateChange:state"] == [["IDLE"], ["EXECUTING"]]
    assert set(values(told, "executor/time_left")) == {1.5}
    written = [line for (line,) in told["log"]["TextLog:text"]]
    assert written[0] == "IDLE: no plan yet"
    assert "instruction: touch it" in written and "EXECUTING: following plan 1" in written
    assert written[-1] == "scaffold refused: no numbers"


def test_pictures_with_plan_and_scaffold(told):
    pictures = told[f"camera/{VIEW}"]["EncodedImage:blob"]
    assert len(pictures) == 10
    picture = np.asarray(Image.open(io.BytesIO(bytes(pictures[0][0]))))
    assert picture.shape == (PIXELS, PIXELS, 3)
    assert np.abs(picture[5, 5].astype(int) - (200, 100, 50)).max() < 8
    strips = told[f"camera/{VIEW}/plan"]["LineStrips2D:strips"]
    left = [len(pieces) for pieces in strips]
    assert left == [8, 7, 6, 5, 4, 3, 2, 1, 0, 0], "what is left of ten rows"
    place = f"camera/{VIEW}/scaffold"
    (centre,) = told[f"{place}/goal"]["Boxes2D:centers"][0]
    np.testing.assert_allclose(centre, [40, 60], err_msg="scaled to the picture's size")
    (path,) = told[f"{place}/path"]["LineStrips2D:strips"][0]
    np.testing.assert_allclose(path, [[2, 4], [6, 8], [10, 12]])
    assert len(told[f"{place}/goal"]["Boxes2D:centers"]) == 1, "a refused one is never a box"
    assert len(told[place]["Clear:is_recursive"]) == 1
    words = [text for (text,) in told["scaffold"]["TextDocument:text"]]
    assert "reach the cup" in words[0] and "as it was written" in words[0]
    assert "refused" in words[1] and "reach" not in words[1]


def moments_of(file, entity, component):
    """When something of an entity was told: s after BEGIN."""
    from rerun.chunk import RrdReader

    found = []
    for chunk in RrdReader(file).stream():
        batch = chunk.to_record_batch()
        if chunk.entity_path.strip("/") == entity and component in batch.schema.names:
            times = batch.column("ros_time").cast("int64").to_pylist()
            there = batch.column(component).to_pylist()
            found += [t / 1e9 - BEGIN for t, what in zip(times, there, strict=True) if what]
    return sorted(found)


def test_the_first_words_about_another_instruction_stay(tmp_path):
    """They are about a picture from before the plan that ended the words before them."""
    pytest.importorskip("rerun")
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/action_chunk", BEGIN + 0.1, make_plan(BEGIN))
    write(writer, "/scaffold", BEGIN + 0.2, make_scaffold(BEGIN))
    later = make_plan(BEGIN + 0.4, instruction="go home")
    later.header = make_header(BEGIN + 0.5, "base")
    write(writer, "/action_chunk", BEGIN + 0.51, later)
    write(writer, "/scaffold", BEGIN + 0.7, make_scaffold(BEGIN + 0.4))
    writer.close()
    file = tmp_path / "view.rrd"
    assert run("franka", "--bag", tmp_path / "bag", "--save", file).returncode == 0
    words = moments_of(file, "scaffold", "TextDocument:text")
    assert moments_of(file, "scaffold", "Clear:is_recursive") == pytest.approx([0.5], abs=1e-5)
    assert words == pytest.approx([0.0, 0.5], abs=1e-5), "they would go as soon as they came"


def test_a_plan_is_shown_to_a_camera_on_the_robots_root(tmp_path):
    pytest.importorskip("rerun")
    spec = load_robot("mobile_aloha")
    names = spec.column_names
    still = make_plan(BEGIN)
    still.names, still.rows = list(names), 2
    still.values = np.tile([spec.home[name] for name in names], 2)
    writer = BagWriter(tmp_path / "bag")
    write(writer, "/action_chunk", BEGIN + 0.01, still)
    image = make_image(BEGIN + 0.02, np.zeros((PIXELS, PIXELS, 3), np.uint8))
    for slot in ("high", "left_hand"):
        write(writer, f"/camera/{slot}/image_raw", BEGIN + 0.03, image)
    writer.close()
    file = tmp_path / "view.rrd"
    result = run("mobile_aloha", "--bag", tmp_path / "bag", "--save", file)
    assert result.returncode == 0, result.stderr
    strips = "LineStrips2D:strips"
    assert moments_of(file, "camera/high/plan", strips) == pytest.approx([0.02], abs=1e-5)
    assert not moments_of(file, "camera/left_hand/plan", strips), "it moves with the arm"


def test_graph_in_a_namespace(tmp_path):
    pytest.importorskip("rerun")
    bag = write_bag(tmp_path / "bag", "/left")
    wrong = run("franka", "--bag", bag, "--save", tmp_path / "a.rrd")
    assert wrong.returncode == 1 and "--namespace" in wrong.stderr
    assert "/left/joint_states" in wrong.stderr and "Traceback" not in wrong.stderr
    right = run("franka", "--bag", bag, "--save", tmp_path / "b.rrd", "--namespace", "left")
    assert right.returncode == 0, right.stderr


def test_a_part_of_a_bag(tmp_path):
    """From and to are s after the bag's beginning, as in `dm0 replay`."""
    story, bag = Heard(), write_bag(tmp_path / "bag")
    assert tell_bag(bag, SPEC, story, part=Part(0.5, 0.78)) == len(story.heard)
    assert [name for name, _ in story.heard].count("scaffold") == 1
    moments = [seconds - BEGIN for name, seconds in story.heard if name == "joints"]
    np.testing.assert_allclose(moments, np.arange(0.5, 0.76, 0.05) + 0.001, atol=1e-5)
    with pytest.raises(Dm0Error, match=r"no message in that part; the bag lasts 4\.0 s"):
        tell_bag(bag, SPEC, Heard(), part=Part(7.0))
    with pytest.raises(Dm0Error, match="name it with --bag"):
        view("franka", begin=3.0)


class Heard:
    """A story that keeps what it was told, and when that was received."""

    def __init__(self):
        self.heard = []

    def __getattr__(self, name):
        return lambda *told: self.heard.append((name.removeprefix("take_"), told[-1]))


def test_existing_file_is_kept(tmp_path):
    pytest.importorskip("rerun")
    file = tmp_path / "old.rrd"
    file.write_text("precious")
    result = run("franka", "--bag", tmp_path, "--save", file)
    assert result.returncode == 1 and "choose another name" in result.stderr
    assert file.read_text() == "precious"


def test_without_a_display_the_window_says_what_to_do_instead(tmp_path):
    pytest.importorskip("rerun")
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET")
    blind = {name: value for name, value in os.environ.items() if name not in hidden}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = run("franka", "--bag", write_bag(tmp_path / "bag"), "--port", port, env=blind)
    assert result.returncode == 1 and "use --web or --save" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_rerun_the_remedy_is_one_line():
    program = (
        "import sys; sys.modules['rerun'] = None; sys.argv = ['dm0', 'view']\n"
        "from dm0_ros.cli import main; main()"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "pip install 'rerun-sdk>=0.41,<0.42'" in line or "Python 3.11" in line
