# SPDX-License-Identifier: Apache-2.0
"""`dm0 eval`: judge policies on tasks whose truth is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.commands.evaluation import bags
from dm0_ros.commands.figures import write_figures
from dm0_ros.commands.libero import libero
from dm0_ros.commands.table30 import table30
from dm0_ros.errors import Dm0Error

eval = typer.Typer(
    help="Judge policies on tasks whose truth is known.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

eval.command()(table30)
eval.command()(libero)
eval.command()(bags)

POLICIES = ("shortest_path", "random", "nano")


@eval.callback()
def _group() -> None:
    """Judge policies on tasks whose truth is known."""


@eval.command()
def objectnav(
    episodes: Annotated[int, typer.Option(min=1, help="starts; categories take turns")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="of starts, wordings and noise")] = 7,
    policies: Annotated[str, typer.Option(help="which, with commas between")] = ",".join(POLICIES),
    robot: Annotated[str, typer.Option(help="a base: name in config/, or a YAML")] = "mobile_base",
    house: Annotated[str, typer.Option(help="in config/worlds/ [the robot's own]")] = "",
    checkpoint: Annotated[str, typer.Option(help="of the policy 'nano'")] = "dm0-nano",
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="of the network; 0: one a core")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="file for the figures")] = None,
) -> None:
    """ObjectNav with Habitat's rules: success rate, SPL, SoftSPL, distance to goal.

    `shortest_path` knows the house and `random` knows nothing: they bracket `nano`, which sees one
    camera and an instruction. The same seed gives the same figures.
    """
    from dm0_ros.navigation.house import load_house
    from dm0_ros.robots import load_robot

    wanted = [name.strip() for name in policies.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in POLICIES]
    if unknown or not wanted:
        said = ", ".join(unknown) or "none"
        raise Dm0Error(f"policies: {said}: choose among {', '.join(POLICIES)}")
    spec = load_robot(robot)
    if spec.simulation is None:
        raise Dm0Error(f"{robot}: its YAML has no 'simulation' section, so it has no house")
    task, close = _make_task(load_house(house or spec.simulation.world))
    try:
        figures = {
            name: _judge(
                name,
                task,
                _make_agent(name, task, spec, checkpoint, device, threads, seed),
                episodes,
                seed,
            )
            for name in wanted
        }
    finally:
        close()
    result = {
        "task": "objectnav",
        "house": task.house.name,
        "episodes": episodes,
        "seed": seed,
        "policies": figures,
    }
    _show(figures)
    write_figures(json_path, result)


def _make_task(house) -> tuple[object, Callable[[], None]]:
    """The task with the simulator's camera, and what frees that."""
    from dm0_ros.navigation.objectnav import ObjectNav, Rules
    from dm0_ros.sim.house_scene import HouseCamera

    rules = Rules()
    camera = HouseCamera(house, rules.width, rules.height, rules.vertical_field_of_view)

    def look(position, yaw, tilt):
        view = camera.look(position, yaw, tilt, want_depth=True)
        return view.colour, view.depth

    return ObjectNav(house, rules, look), camera.close


def _make_agent(name: str, task, spec, checkpoint: str, device: str, threads: int, seed: int):
    from dm0_ros.navigation.agents import RandomWalker, ShortestPath

    if name == "shortest_path":
        return ShortestPath(task)
    if name == "random":
        return RandomWalker(seed)
    import torch

    from dm0_ros.navigation.driver import Driver
    from dm0_ros.policy.registry import load_policy

    if threads:
        torch.set_num_threads(threads)
    policy = load_policy(checkpoint, spec, device=device, seed=seed)
    return Driver(policy, task.house.instructions.test, seed)


def _judge(name: str, task, agent, count: int, seed: int) -> dict:
    from rich.progress import Progress

    from dm0_ros.navigation.metrics import summarise
    from dm0_ros.navigation.objectnav import choose_episodes

    results = []
    with Progress(transient=True) as display:
        for episode in display.track(choose_episodes(task, count, seed), description=name):
            task.begin(episode)
            agent.begin(len(results))
            while not task.over:
                task.step(agent.act(task))
            results.append(task.result())
    return summarise(results)


def _show(figures: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("policy", "category", "episodes", "SR", "SPL", "SoftSPL", "DTG (m)", "steps")
    for name, summary in figures.items():
        for category, values in [("all", summary), *summary["categories"].items()]:
            numbers = [f"{values[key]:.2f}" for key in ("sr", "spl", "soft_spl", "dtg")]
            row = (str(values["episodes"]), *numbers, f"{values['steps']:.0f}")
            table.add_row(name if category == "all" else "", category, *row)
        table.add_section()
    Console().print(table)


@eval.command()
def scaffold(
    episodes: Annotated[int, typer.Option(min=1, help="objects take turns being named")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="of scenes, wordings and noise")] = 7,
    robot: Annotated[str, typer.Option(help="an arm: name in config/, or a YAML")] = "franka",
    task: Annotated[str, typer.Option(help="of the world [the checkpoint's own]")] = "",
    checkpoint: Annotated[str, typer.Option(help="[a shipped one that reasons]")] = "",
    recipe: Annotated[str, typer.Option(help="it was trained by [as its policy.yaml says]")] = "",
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="of the network; 0: one a core")] = 1,
    json_path: Annotated[Path | None, typer.Option("--json", help="file for the figures")] = None,
    pictures: Annotated[Path | None, typer.Option(help="folder for some frames")] = None,
) -> None:
    """What a policy says it will do, against the truth: box, path, subtask, and success.

    In closed loop with the simulator, on scenes and wordings that it was not trained on, a text
    before every plan. Without the milliseconds, the same seed gives the same figures.
    """
    import sys

    import torch

    from dm0_ros.commands.scaffold_report import choose_checkpoint, find_recipe, show
    from dm0_ros.policy.reasoning import ReasoningMode, ReasoningOptions
    from dm0_ros.policy.registry import load_policy
    from dm0_ros.robots import load_robot
    from dm0_ros.sim.simulator import Simulator
    from dm0_ros.sim.world import load_world
    from dm0_ros.training.scaffold_scores import summarise
    from dm0_ros.training.scaffold_trial import Oracle

    if threads:
        torch.set_num_threads(threads)
    spec = load_robot(robot)
    name, settings = choose_checkpoint(checkpoint, spec.name, task)
    chosen = find_recipe(recipe, settings, task)
    reasoning = ReasoningOptions(ReasoningMode.EVERY_PLAN)
    policy = load_policy(name, spec, device=device, seed=seed, reasoning=reasoning)
    simulator = Simulator(spec, load_world(chosen.world), 0, chosen.task)
    try:
        scored = _roll_out(policy, simulator, Oracle(chosen, simulator), episodes, seed, pictures)
    finally:
        simulator.close()
        policy.close()
    subject = {"checkpoint": name, "robot": spec.name, "world": chosen.world, "task": chosen.task}
    levels = [level.value for level in chosen.scaffold.levels]
    figures = summarise(scored)
    command = " ".join(["dm0", *sys.argv[1:]])
    show(figures)
    result = {**figures, "seed": seed, **subject, "levels": levels, "command": command}
    write_figures(json_path, result)


def _roll_out(policy, simulator, oracle, count: int, seed: int, pictures: Path | None) -> list:
    from rich.progress import Progress

    from dm0_ros.training.rollout import draw_trials
    from dm0_ros.training.scaffold_pictures import Album
    from dm0_ros.training.scaffold_trial import ignore, perform

    trials = draw_trials(simulator.world, count, seed, oracle.recipe.task)
    witness = Album(pictures).add if pictures else ignore
    runs = perform(policy, simulator, oracle, trials, witness=witness)
    with Progress(transient=True) as display:
        return list(display.track(runs, total=count, description="scaffold"))
