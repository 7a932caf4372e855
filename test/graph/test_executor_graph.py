# SPDX-License-Identifier: Apache-2.0
"""The executor node, from outside: its process, its topics, its services, its manners."""

import math
import signal

import numpy as np
import pytest
import yaml
from cell import HOME, LIMITS, NAMES, PERIOD, Cell, check_path, move
from lifecycle_msgs.srv import ChangeState, GetState
from rosgraph_msgs.msg import Clock

from dm0_ros.msg import ActionChunk, ExecutorStatus
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.nodes.stamps import to_seconds, to_time
from dm0_ros.resources import find_resource


def test_a_plan_becomes_smooth_commands_and_starvation_holds(graph):
    cell = Cell(graph)
    assert not cell.commands
    cell.plan(move())
    cell.wait_state(ExecutorStatus.EXECUTING)
    assert cell.status[-1].sequence == 1
    cell.wait_state(ExecutorStatus.HOLD)
    states = [message.state for message in cell.status]
    assert ExecutorStatus.STARVED in states
    assert "plan 1 ran out" in cell.status[-1].reason
    cell.wait_commands(50)
    path = cell.path
    check_path(path)
    np.testing.assert_allclose(path[0], HOME[:7], atol=1e-3)
    np.testing.assert_allclose(path[-1], move()[-1, :7], atol=1e-6)
    np.testing.assert_array_equal(path[-20:], np.tile(path[-1], (20, 1)))
    assert cell.openings[-1].data[0] == pytest.approx(HOME[7])
    # Two seconds of plan, a few dozen commands of holding.
    assert len(path) > 150
    assert not math.isnan(cell.status[-1].period_p99)


def test_plans_one_after_another_are_one_motion(graph):
    cell = Cell(graph)
    for index in range(6):
        target = cell.joints + 0.04 * np.eye(8)[index % 3]
        ramp = np.linspace(0, 1, 10)[:, None]
        cell.plan(target + ramp * 0.2 * np.eye(8)[0])
        graph.wait(lambda count=index + 1: cell.status[-1].sequence == count, "the plan in use")
        cell.wait_commands(30)
        assert cell.status[-1].seam < 0.35
    assert all(m.state == ExecutorStatus.EXECUTING for m in list(cell.status)[-20:])
    check_path(cell.path)


def test_stop_and_reset(graph):
    cell = Cell(graph)
    cell.plan(move(0.3, rows=50))
    cell.wait_commands(100)
    answer = cell.call("stop")
    assert answer.success and "HOLD" in answer.message
    cell.wait_state(ExecutorStatus.HOLD)
    assert cell.status[-1].reason == "stopped by ~/stop"
    cell.wait_commands(60)
    stopped = cell.path[-1]
    old = cell.status[-1].epoch
    cell.plan(move())
    cell.wait_dropped("reset first")
    cell.wait_commands(50)
    np.testing.assert_array_equal(cell.path[-1], stopped)
    check_path(cell.path)

    assert cell.call("reset").success
    graph.wait(lambda: cell.status[-1].epoch == old + 1, "the next epoch")
    assert cell.status[-1].state == ExecutorStatus.IDLE
    graph.spin(0.2)
    count = len(cell.commands)
    graph.spin(0.3)
    assert len(cell.commands) == count
    here = np.tile(cell.joints, (20, 1))
    cell.plan(here, epoch=old)
    cell.wait_dropped(f"the epoch is {old + 1}", count=2)
    assert len(cell.commands) == count
    cell.plan(here)
    cell.wait_state(ExecutorStatus.EXECUTING)


def test_bad_plans_are_refused_by_name_and_move_nothing(graph):
    cell = Cell(graph)
    broken = move()
    broken[7, 3] = math.nan
    far = move() + 0.4 * np.eye(8)[1]
    trials = [
        ({"values": broken}, "fr3_joint4 is nan in row 7"),
        ({"values": far}, "fr3_joint2"),
        ({"values": move() + 1e9}, "far outside its range"),
        ({"values": move(), "names": ("elbow", *NAMES[1:])}, "unknown column elbow"),
        ({"values": move()[:, 1:], "names": NAMES[1:]}, "lacks fr3_joint1"),
        ({"values": move(), "rows": 7}, "160 values for 7 rows of 8 columns"),
        ({"values": move(), "space": 9}, "there is no space 9"),
        ({"values": move(), "space": ActionChunk.BASE_TWIST}, "base_twist"),
        ({"values": move(), "step": 0.0}, "step"),
        ({"values": move(), "delay": -60.0}, "came too late"),
        ({"values": move(), "delay": 60.0}, "clocks"),
        ({"values": move(), "epoch": 4}, "the epoch is 0"),
    ]
    for count, (plan, words) in enumerate(trials, 1):
        cell.plan(**plan)
        cell.wait_dropped(words, count)
        assert cell.status[-1].state == ExecutorStatus.IDLE
    assert not cell.commands
    assert cell.process.running()


def test_joints_and_columns_in_any_order(graph):
    order = np.random.default_rng(3).permutation(8)
    cell = Cell(graph, names=[NAMES[index] for index in order])
    back = order[::-1]
    cell.plan(move()[:, back], names=[NAMES[index] for index in back])
    cell.wait_state(ExecutorStatus.HOLD)
    cell.wait_commands(5)
    check_path(cell.path)
    np.testing.assert_allclose(cell.path[-1], move()[-1, :7], atol=1e-6)


def test_a_joint_that_is_missing_is_named(graph):
    cell = Cell(graph, names=[name for name in NAMES if name != "fr3_joint6"])
    cell.plan(move())
    cell.wait_dropped("joint_states lacks fr3_joint6")
    assert not cell.commands


def test_joint_states_that_stop_are_a_fault_until_reset(graph):
    cell = Cell(graph)
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    cell.timer.cancel()
    cell.wait_state(ExecutorStatus.FAULT)
    assert "fr3_joint1 is 0." in cell.status[-1].reason
    cell.wait_commands(50)
    np.testing.assert_array_equal(cell.path[-1], cell.path[-10])
    check_path(cell.path)
    cell.timer.reset()
    cell.plan(move())
    cell.wait_dropped("reset first")
    cell.call("reset")
    cell.wait_state(ExecutorStatus.IDLE)


def test_a_joint_that_is_nan_is_a_fault_by_name(graph):
    cell = Cell(graph)
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    cell.tell_joints(fr3_joint3=math.nan)
    cell.wait_state(ExecutorStatus.FAULT)
    assert cell.status[-1].reason == "joint_states says nan for fr3_joint3"


def test_a_robot_that_cannot_be_read_fails_with_a_sentence(graph, tmp_path):
    content = yaml.safe_load(find_resource("config", "franka.yaml").read_text())
    del content["executor"]["rate"]
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(content))
    process = graph.start("executor", f"robot:={path}", "autostart:=true")
    assert process.wait() == 1
    assert f"cannot configure: {path}:" in process.output
    assert ": executor: missing key rate; add it" in process.output
    assert "Traceback" not in process.output

    process = graph.start("executor", "seam:=glue", "autostart:=true")
    assert process.wait() == 1
    assert "'glue' is not one of blend, replace" in process.output


def test_parameters_overrule_the_robot(graph):
    cell = Cell(graph, "max_first_distance:=0.05", "rate:=50.0", "seam:=replace")
    cell.plan(move() + 0.1)
    cell.wait_dropped("(max_first_distance) is 0.050 rad")
    cell.plan(move())
    cell.wait_state(ExecutorStatus.HOLD)
    # Two seconds of motion at 50 Hz; at the robot's own 100 Hz there would be twice as many.
    assert len(np.unique(cell.path, axis=0)) < 130
    process = graph.start("executor", "rate:=0.0", "autostart:=true")
    assert process.wait() == 1
    assert "rate: must be positive, found 0" in process.output


def test_lifecycle_by_hand(graph):
    process = graph.start("executor", "robot:=no_such_robot")

    def change(transition):
        request = ChangeState.Request()
        request.transition.id = transition
        return graph.call(ChangeState, "executor/change_state", request).success

    def state():
        return graph.call(GetState, "executor/get_state").current_state.label

    assert not change(3)  # activate before configure: rclpy alone would die of it
    assert not change(1)
    assert state() == "unconfigured"
    graph.wait(lambda: "no_such_robot" in process.output, "the sentence")
    assert process.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly_in_motion_and_at_rest(graph, number):
    cell = Cell(graph)
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    assert cell.process.end(number) == 0
    assert "Traceback" not in cell.process.output
    graph.spin(0.3)
    check_path(cell.path)
    step = np.abs(cell.path[-1] - cell.path[-2])
    assert (step <= LIMITS.acceleration[:7] * PERIOD**2 + 1e-9).all()  # it came to rest first


def test_simulated_time_that_steps_back_holds(graph):
    clock = graph.node.create_publisher(Clock, "/clock", SENSOR)
    seconds = [1000.0]

    def advance():
        seconds[0] += 0.01
        clock.publish(Clock(clock=to_time(seconds[0])))

    graph.node.create_timer(0.01, advance)
    cell = Cell(graph, "use_sim_time:=true")
    cell.now = lambda: seconds[0]
    graph.wait(lambda: to_seconds(cell.status[-1].header.stamp) < 1e6, "simulated time")
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    assert to_seconds(cell.status[-1].header.stamp) == pytest.approx(seconds[0], abs=1.0)
    seconds[0] -= 500
    cell.wait_state(ExecutorStatus.HOLD)
    assert "the clock stepped back by 4" in cell.status[-1].reason
    # Simulated time may have passed in steps that are four periods long.
    assert (np.abs(np.diff(cell.path, axis=0)) <= 4.04 * LIMITS.velocity[:7] * PERIOD).all()
