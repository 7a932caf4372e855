# SPDX-License-Identifier: Apache-2.0
"""What a delay costs: dm0-nano's success and time per episode in simulation, per strategy.

The real network, executor core and physics in one process and in simulated time, so that the same
seed gives the same figures on any machine. With --episodes-file every finished episode is kept,
and what is there already is not run again.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from support.delay_loop import STRATEGIES, Loop, Timing
from support.delay_report import summarise_episodes
from support.record import make_parser, make_record, to_text, write_figures, write_result

from dm0_ros.engine import EngineOptions
from dm0_ros.policy.registry import load_policy
from dm0_ros.robots.loading import load_robot
from dm0_ros.sim.simulator import Simulator
from dm0_ros.sim.tasks import Task, choose_tasks
from dm0_ros.sim.world import World

DELAYS = [0.0, 0.1, 0.2, 0.3, 0.5]


def parse(arguments=None):
    """Options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--episodes", type=int, default=2, help="of every strategy and delay")
    add("--seed", type=int, default=0, help="of scenes, wordings and the network's noise")
    add("--touches", type=int, default=1, help="objects to be touched, one instruction each")
    add("--delays", type=float, nargs="+", default=DELAYS, help="added, s")
    add("--strategies", nargs="+", choices=sorted(STRATEGIES), default=list(STRATEGIES))
    add("--planning", type=float, default=0.1, help="s that a plan takes without what is added")
    add("--period", type=float, default=0.2, help="least s between two observations")
    add("--time-limit", type=float, default=20.0, help="s of an episode")
    add("--lag", type=float, default=0.1, help="s, of the simulated servos: damping / stiffness")
    add("--checkpoint", default="dm0-nano")
    add("--robot", default="franka")
    add("--json", type=Path, help="where to write the figures")
    add("--episodes-file", type=Path, help="JSONL to append every episode to, and to resume from")
    add("--plots", type=Path, help="folder for pictures")
    return parser.parse_args(arguments)


def main(arguments=None) -> dict:
    """Run what is missing, write and give the record."""
    options = parse(arguments)
    torch.set_num_threads(1)  # or sums depend on how many there are
    episodes = read_episodes(options.episodes_file)
    for episode in run_missing(options, episodes):
        episodes.append(episode)
        if options.episodes_file:
            with options.episodes_file.open("a") as file:
                file.write(json.dumps(episode) + "\n")
    names = ("checkpoint", "robot", "seed", "touches")
    times = ("planning", "period", "time_limit", "lag")
    settings = {name: getattr(options, name) for name in names + times}
    wanted = {key(options, *which) for which in list_runs(options)}
    chosen = [episode for episode in episodes if tuple(episode["key"]) in wanted]
    record = make_record("closed_loop_delay", {**settings, **summarise_episodes(chosen)})
    if options.json:
        write_figures(options.json, record)
    if options.write:
        write_result("closed_loop_delay", to_text(record))
    if options.plots:
        from support.delay_plots import draw

        draw(options.plots, record["figures"])
    sys.stdout.write(to_text(record))
    return record


def list_runs(options) -> list[tuple[int, float, str]]:
    """Episode, delay and strategy of everything asked for; a part of it is balanced, too."""
    return [
        (episode, delay, strategy)
        for episode in range(options.episodes)
        for delay in options.delays
        for strategy in options.strategies
    ]


def key(options, episode: int, delay: float, strategy: str) -> tuple:
    """What an episode depends on."""
    common = options.checkpoint, options.robot, options.seed, options.touches
    times = options.planning, options.period, options.time_limit, options.lag
    return (*common, *times, episode, delay, strategy)


def choose_tour(world: World, options, episode: int) -> list[Task]:
    """Different objects, each with an instruction that no policy was trained on."""
    tasks = choose_tasks(world, len(world.objects), 1000 * options.seed + episode)
    return tasks[: options.touches]


def read_episodes(path: Path | None) -> list[dict]:
    """Episodes of earlier runs; a last line that was not finished is an error of `json`."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_missing(options, known: list[dict]):
    """Run, and yield, every episode that is not among the known ones."""
    done = {tuple(episode["key"]) for episode in known}
    missing = [which for which in list_runs(options) if key(options, *which) not in done]
    if not missing:
        return
    robot = load_robot(options.robot)
    simulator = Simulator(robot)
    policies = {
        guidance: load_policy(
            options.checkpoint,
            robot,
            options=EngineOptions(guidance=guidance),
            seed=options.seed,
        )
        for guidance in {STRATEGIES[strategy].guidance for _, _, strategy in missing}
    }
    most = max(episode for episode, _, _ in missing) + 1
    tasks = [choose_tour(simulator.world, options, episode) for episode in range(most)]
    scenes = np.random.default_rng(options.seed).integers(2**31, size=most)
    try:
        for episode, delay, name in missing:
            simulator.reset(int(scenes[episode]))
            strategy = STRATEGIES[name]
            timing = Timing(
                options.planning, delay, options.period, options.time_limit, options.lag
            )
            loop = Loop(policies[strategy.guidance], simulator, strategy, timing, tasks[episode])
            outcome = asdict(loop.run())
            yield {
                "key": list(key(options, episode, delay, name)),
                "episode": episode,
                "delay": delay,
                "strategy": name,
                **outcome,
            }
    finally:
        simulator.close()


if __name__ == "__main__":
    main()
