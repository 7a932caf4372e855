# SPDX-License-Identifier: Apache-2.0
"""Whether an arm feels where plans meet: peaks of velocity, acceleration and jerk, and lag.

Plans of a policy that is a little wrong every time, replaced twice a second, through every
strategy of the executor and through what other projects do; 500 Hz of commands, their finite
differences. --sweep adds delays, jitter, drops, bursts, jittery rows, and plans that dm0-nano made
in the simulator.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.record import make_parser, make_record, to_text, write_figures, write_result
from support.seam_plans import Delivery, Recorded, Rows, Synthetic
from support.seam_players import make_players
from support.seam_run import RATE, measure, play, react

from dm0_ros.robots import RobotSpec, load_robot

DELAYS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
UNEVEN = {
    "jitter": {"jitter": 0.1},
    "drops": {"drops": 0.3},
    "bursts": {"burst": 2},
}
RECORDED_ROWS = 4  # of 0.1 s, of dm0-nano's plans, that stop-and-go plays of each


def parse(arguments=None):
    """Options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--delay", type=float, default=0.2, help="from an observation to its plan, s")
    add("--seconds", type=float, default=12.0, help="of motion for every figure")
    add("--seed", type=int, default=0, help="of the plans' errors")
    add("--robot", default="franka", help="whose limits and blend time are used")
    add("--sweep", action="store_true", help="all delays and disturbances, and dm0-nano's plans")
    add("--json", type=Path, help="where to write the figures")
    add("--plots", type=Path, help="folder for pictures")
    return parser.parse_args(arguments)


def main(arguments=None) -> dict:
    """Measure, write and give the record."""
    options = parse(arguments)
    robot = load_robot(options.robot)
    robot = replace(robot, executor=replace(robot.executor, rate=RATE))
    middle = tuple((joint.lower + joint.upper) / 2 for joint in robot.joints)
    source = Synthetic(seed=options.seed, middle=middle)
    steady = Delivery(options.delay)
    strategies = compare(robot, source, steady, options.seconds)
    for name, make in make_players(robot, source.executed, source.step).items():
        strategies[name].update(react(make, source, steady, ideal=name == "rtc"))
    figures = {
        "delay": options.delay,
        "rate_hz": RATE,
        "seconds": options.seconds,
        "blend_time": robot.executor.blend_time,
        "strategies": strategies,
        **judge(strategies),
    }
    if options.sweep:
        figures["sweep"] = sweep(robot, source, options)
    record = make_record("seams", round_figures(figures))
    if options.json:
        write_figures(options.json, record)
    if options.write:
        write_result("seams", to_text(record))
    if options.plots:
        from support.seam_plots import draw

        draw(options.plots, robot, source, steady)
    sys.stdout.write(to_text(record))
    return record


def compare(robot: RobotSpec, source, delivery: Delivery, seconds: float) -> dict:
    """Figures of every strategy for the same plans."""
    step = source.plans[0].step if isinstance(source, Recorded) else source.step
    found = {}
    for name, make in make_players(robot, source.executed, step).items():
        if name == "rtc" and isinstance(source, Recorded):
            continue  # these plans were made without knowing what was committed
        found[name] = measure(play(make, source, delivery, seconds, ideal=name == "rtc"))
    return found


def judge(strategies: dict) -> dict:
    """How many times less jerk than the others."""
    own = strategies["blend"]["peak_jerk"]
    return {
        "jerk_ratio_linear_replace": strategies["linear_replace"]["peak_jerk"] / own,
        "jerk_ratio_average_03_07": strategies["average_03_07"]["peak_jerk"] / own,
    }


def sweep(robot: RobotSpec, source: Synthetic, options) -> dict:
    """Every delay, every disturbance at the chosen delay, jittery rows, and recorded plans."""
    seconds = options.seconds
    found = {
        f"delay {delay:g} s": compare(robot, source, Delivery(delay), seconds) for delay in DELAYS
    }
    for name, how in UNEVEN.items():
        found[name] = compare(robot, source, Delivery(options.delay, **how), seconds)
    jittery = replace(source, noise=0.002)
    found["jittery rows"] = compare(robot, jittery, Delivery(options.delay), seconds)
    recorded = record_plans(robot, options.seed)
    length = recorded.plans[-1].start + 1.0
    found["dm0-nano"] = compare(robot, recorded, Delivery(options.delay), length)
    return found


def record_plans(robot: RobotSpec, seed: int) -> Recorded:
    """Plans that dm0-nano made while it touched one block after another in the simulator."""
    import torch
    from support.delay_loop import STRATEGIES, Loop, Timing

    from dm0_ros.policy.registry import load_policy
    from dm0_ros.sim.simulator import Simulator
    from dm0_ros.sim.tasks import choose_tasks

    torch.set_num_threads(1)
    robot = load_robot(robot.name)
    simulator = Simulator(robot)
    simulator.reset(seed)
    tasks = choose_tasks(simulator.world, len(simulator.world.objects), seed)
    timing = Timing(0.1, 0.1, 0.4, limit=20.0, lag=0.1)
    policy = load_policy("dm0-nano", robot)
    loop = Loop(policy, simulator, STRATEGIES["blend"], timing, tasks)
    loop.run()
    simulator.close()
    columns = [policy.spec.action_names.index(name) for name in robot.joint_names]
    plans = [Rows(plan.start, plan.step, plan.values[:, columns]) for plan in loop.plans]
    # The arm rested until the first plan came.
    plans[0] = replace(plans[0], start=plans[0].start + timing.planning + timing.delay)
    begin = plans[0].start
    return Recorded(
        tuple(replace(plan, start=plan.start - begin) for plan in plans), RECORDED_ROWS
    )


def round_figures(value, digits: int = 4):
    """The same with numbers to so many significant digits; None for what there is no number of."""
    if isinstance(value, dict):
        return {key: round_figures(inner, digits) for key, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    return value


if __name__ == "__main__":
    main()
