# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the executor while the arm moves; no command may leave the limits."""

import signal
import sys
from pathlib import Path

import numpy as np
from cell import (
    HOME,
    LIMITS,
    NAMES,
    PERIOD,
    Cell,
    check_path,
    move,
    write_gentle_robot,
    write_robot,
)
from diagnostic_msgs.msg import DiagnosticStatus
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64

from dm0_ros.msg import ExecutorStatus
from dm0_ros.nodes.quality import SENSOR
from dm0_ros.nodes.stamps import to_seconds, to_time

PLANNER = str(Path(__file__).with_name("planner.py"))
SPEED = "speed_scaling_state_broadcaster/speed_scaling"


def start_planner(graph, column, rate):
    return graph.run(sys.executable, PLANNER, str(column), str(rate))


class Passenger(Cell):
    """A cell whose plans come from another process."""

    def __init__(self, graph, *parameters, **options):
        super().__init__(graph, *parameters, **options)
        graph.node.destroy_publisher(self.plans)


def test_a_policy_that_is_killed_leaves_the_arm_at_rest(graph, tmp_path):
    robot, limits = write_gentle_robot(tmp_path)
    cell = Passenger(graph, robot=robot)
    planner = start_planner(graph, 0, 5)
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_commands(200)
    values = cell.wait_report(DiagnosticStatus.OK, "EXECUTING")
    assert values["vision and prefix (ms)"] == "20.0" and values["state"] == "EXECUTING"
    assert float(values["time left (s)"]) > 0.3
    assert planner.end(signal.SIGKILL) == -signal.SIGKILL
    cell.wait_state(ExecutorStatus.STARVED)
    cell.wait_state(ExecutorStatus.HOLD)
    assert "ran out and no newer one came" in cell.status[-1].reason
    assert not cell.status[-1].needs_reset
    cell.wait_commands(30)
    check_path(cell.path, limits)
    np.testing.assert_array_equal(cell.path[-1], cell.path[-20])


def test_two_publishers_of_plans_move_nothing(graph):
    cell = Passenger(graph)
    first = start_planner(graph, 0, 5)
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_commands(100)
    dropped = cell.status[-1].dropped
    second = start_planner(graph, 1, 5)
    graph.wait(lambda: cell.status[-1].dropped > dropped, "plans to be refused")
    words = "/action_chunk has 2 publishers (/planner_0, /planner_1); end all but one"
    cell.wait_report(DiagnosticStatus.ERROR, words)
    cell.wait_state(ExecutorStatus.HOLD)
    assert words in cell.status[-1].reason
    assert "a process that was killed counts until" in cell.status[-1].reason
    count = len(cell.commands)
    cell.wait_commands(100)
    np.testing.assert_array_equal(
        cell.path[count:], np.tile(cell.path[-1], (100, 1))[: len(cell.path) - count]
    )
    check_path(cell.path)
    # nothing of the second one's column was ever followed
    np.testing.assert_allclose(cell.path[:, 1], HOME[1], atol=1e-9)
    assert second.end() in (0, -signal.SIGINT, 1)
    cell.wait_state(ExecutorStatus.EXECUTING)
    assert first.running()


def test_a_flood_of_plans_stays_within_the_limits(graph, tmp_path):
    robot, limits = write_gentle_robot(tmp_path)
    cell = Passenger(graph, robot=robot)
    start_planner(graph, 0, 500)
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_commands(300)
    assert cell.process.running()
    assert cell.status[-1].sequence > 100
    check_path(cell.path, limits)
    cell.call("stop")
    cell.wait_state(ExecutorStatus.HOLD)
    cell.wait_commands(60)
    np.testing.assert_array_equal(cell.path[-1], cell.path[-10])
    check_path(cell.path, limits)


def test_a_stop_in_full_motion_brakes_within_the_limits(graph, tmp_path):
    robot, limits = write_gentle_robot(tmp_path)
    cell = Cell(graph, robot=robot)
    cell.plan(move(0.8, rows=30))
    cell.wait_commands(120)
    speed = abs(cell.path[-1] - cell.path[-2])[0] / PERIOD
    assert speed > 0.2
    assert cell.call("stop").success
    cell.wait_commands(80)
    np.testing.assert_array_equal(cell.path[-1], cell.path[-20])
    assert cell.path[-1][0] < HOME[0] + 0.7
    check_path(cell.path, limits)


BAD_IN_MOTION = [
    ({"values": move() * np.nan}, "nan"),
    ({"values": move() + 1e9}, "far outside its range"),
    ({"values": move() + 0.6 * np.eye(8)[1]}, "fr3_joint2"),
    ({"values": move(), "names": ("elbow", *NAMES[1:])}, "unknown column elbow"),
    ({"values": move(), "rows": 7}, "160 values for 7 rows"),
    ({"values": move(), "sequence": 1}, "plan 1 came before it"),
    ({"values": move(), "epoch": 3}, "the epoch is 0"),
    ({"values": move(), "delay": -60.0}, "came too late"),
]


def test_bad_plans_in_motion_change_nothing(graph):
    cell = Cell(graph)
    cell.plan(move(0.4, rows=60))
    cell.wait_state(ExecutorStatus.EXECUTING)
    for count, (plan, words) in enumerate(BAD_IN_MOTION, 1):
        cell.plan(**plan)
        cell.wait_dropped(words, count)
        assert cell.status[-1].state == ExecutorStatus.EXECUTING
        assert cell.status[-1].sequence == 1
    values = cell.wait_report(DiagnosticStatus.WARN, "plans refused, the last: plan")
    assert int(values["plans refused"]) > 0 and "plan" in values["refused, 1 back"]
    cell.wait_state(ExecutorStatus.HOLD)
    check_path(cell.path)
    np.testing.assert_allclose(cell.path[-1], move(0.4)[-1, :7], atol=1e-6)


def test_a_clock_that_freezes_freezes_the_arm_and_is_named(graph):
    clock = graph.node.create_publisher(Clock, "/clock", SENSOR)
    seconds = [1000.0]

    def advance():
        seconds[0] += 0.01
        clock.publish(Clock(clock=to_time(seconds[0])))

    timer = graph.node.create_timer(0.01, advance)
    cell = Cell(graph, "use_sim_time:=true")
    cell.now = lambda: seconds[0]
    graph.wait(lambda: to_seconds(cell.status[-1].header.stamp) < 1e6, "simulated time")
    cell.plan(move(rows=50))
    cell.wait_commands(60)
    timer.cancel()
    cell.wait_report(DiagnosticStatus.ERROR, "simulated time (/clock) stands still")
    frozen = cell.path[-1]
    cell.wait_commands(50)
    np.testing.assert_array_equal(cell.path[-1], frozen)
    timer.reset()
    cell.wait_commands(50)
    assert cell.status[-1].state == ExecutorStatus.EXECUTING
    assert not np.array_equal(cell.path[-1], frozen)
    steps = np.abs(np.diff(cell.path, axis=0))
    assert (steps <= 4.04 * LIMITS.velocity[:7] * PERIOD).all()


def test_the_robots_speed_slider_slows_and_pauses_the_plan(graph, tmp_path):
    scaling = {"topic": SPEED, "full": 100.0}
    cell = Cell(graph, robot=write_robot(tmp_path, speed_scaling=scaling))
    slider = graph.publisher(Float64, SPEED, SENSOR)

    def slide(value):
        """As the broadcaster does, all the time."""
        timer = graph.node.create_timer(0.05, lambda: slider.publish(Float64(data=value)))
        return lambda: graph.node.destroy_timer(timer)

    end = slide(50.0)
    cell.wait_report(DiagnosticStatus.OK, "IDLE")
    graph.wait(lambda: cell.reports[-1].status[0].values, "values")
    cell.plan(move(0.3, rows=10))
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_state(ExecutorStatus.HOLD)
    moving = np.abs(np.diff(cell.path[:, 0])) > 1e-9
    assert moving.sum() * PERIOD > 1.5  # one second of plan at half speed
    np.testing.assert_allclose(cell.path[-1], move(0.3)[-1, :7], atol=1e-6)

    cell.plan(move(-0.3, rows=30) + 0.3 * np.eye(8)[0])
    cell.wait_state(ExecutorStatus.EXECUTING)
    cell.wait_commands(50)
    end()
    end = slide(float("nan"))
    graph.wait(lambda: f"{SPEED} says nan; the plan pauses" in cell.process.output, "the warning")
    cell.wait_commands(100)
    np.testing.assert_array_equal(cell.path[-1], cell.path[-20])
    assert cell.path[-1][0] > HOME[0] + 0.01  # on its way
    end()
    slide(100.0)
    cell.wait_state(ExecutorStatus.HOLD)
    np.testing.assert_allclose(cell.path[-1], HOME[:7], atol=1e-6)
    check_path(cell.path)


def test_a_base_alone_is_refused_and_one_below_arms_stands_still(graph):
    process = graph.start("executor", "robot:=mobile_base", "autostart:=true")
    assert process.wait() == 1
    assert "is a base alone, which the node navigator drives" in process.output
    assert "Traceback" not in process.output
    process = graph.start("executor", "robot:=mobile_aloha", "autostart:=true")
    graph.wait(lambda: "plans that drive its base are refused" in process.output)


def test_scheduling_that_is_refused_is_said_and_done_without(graph):
    cell = Cell(graph, "cpu:=4000")
    words = "not on CPU 4000: Invalid argument; this process may use"
    assert f"the rate's thread gets {words}" in cell.process.output
    cell.wait_report(DiagnosticStatus.WARN, words)
    cell.plan(move())
    cell.wait_commands(20)


def test_joint_states_that_stop_are_an_error_in_diagnostics(graph, tmp_path):
    robot, limits = write_gentle_robot(tmp_path)
    cell = Cell(graph, robot=robot)
    cell.plan(move(0.8, rows=30))
    cell.wait_commands(120)
    cell.timer.cancel()
    cell.wait_state(ExecutorStatus.FAULT)
    cell.wait_report(DiagnosticStatus.ERROR, "FAULT: joint_states: fr3_joint1 is 0.")
    cell.wait_commands(60)
    check_path(cell.path, limits)
    cell.timer.reset()
    cell.call("reset")
    cell.reports.clear()
    cell.wait_report(DiagnosticStatus.OK, "IDLE")
