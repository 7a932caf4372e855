# SPDX-License-Identifier: Apache-2.0
"""`dm0 demo`: a simulated robot is told what to do, and what came of it is shown."""

import datetime
import os
import platform
import random
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.bringup import Process, command, describe, environment
from dm0_ros.commands.figures import write_figures
from dm0_ros.errors import Dm0Error
from dm0_ros.stamps import to_seconds

_READY_TIME = 180.0  # s until every node must be ready; loading torch on a busy machine is slow
_FILM_RATE = 7.5  # pictures a second
_PICTURE_AGE = 0.5  # s that an instruction's first observation is older than it, at most
_DRAWING_TIME = 0.2  # s after a text that it is in the overlay's pictures
_TAIL_TIME = 0.35  # s after the end of an episode that the film shows
# Physics and commands must be on time; what looks, thinks and writes down may be late.
_NICENESS = {"policy": 5, "overlay": 10, "recorder": 2}
_LEFT = ("report.html", "demo.json", "episodes.json", "demo.mp4", "demo.webp", "overlay.png")
_DOMAINS = (1, 100)  # ROS domains whose ports are free of the system's own


@dataclass(frozen=True)
class Terms:
    """How instructions are given."""

    time_limit: float  # s for each
    keep_going: bool  # an instruction that the graph does not carry out costs only its episode


def demo(
    episodes: Annotated[int, typer.Option(min=1, help="instructions to give")] = 9,
    seed: Annotated[int, typer.Option(min=0, help="of scenes, objects and wordings")] = 0,
    robot: Annotated[str, typer.Option(help="name in config/, or a YAML file")] = "franka",
    task: Annotated[str, typer.Option(help="one of the world's [the checkpoint's own]")] = "",
    world: Annotated[str, typer.Option(help="in config/worlds/ [the checkpoint's own]")] = "",
    checkpoint: Annotated[
        str, typer.Option(help="name, or a checkpoint folder; dm0-nano: what fits robot and task")
    ] = "dm0-nano",
    device: Annotated[str, typer.Option(help="of the network: cpu, cuda, ...")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="of the network; 0: one a core")] = 1,
    time_limit: Annotated[float, typer.Option(min=1.0, help="s for each instruction")] = 20.0,
    out: Annotated[Path, typer.Option(help="folder for bag, film and report")] = Path("out/demo"),
    json_path: Annotated[Path | None, typer.Option("--json", help="file for the figures")] = None,
    compressed: Annotated[bool, typer.Option(help="send pictures as JPEG")] = False,
    keep_going: Annotated[
        bool, typer.Option(help="go on where the graph fails to do an instruction")
    ] = False,
) -> None:
    """Simulate a robot, give it instructions, and show what happened.

    Runs simulator, policy, executor, overlay and recorder as processes over DDS. Ends with 0 when
    every instruction was given, however many were followed, and with 1 where a node failed.
    """
    from dm0_ros.commands.display import Display
    from dm0_ros.policy.registry import FAMILY, choose_shipped, find_checkpoint
    from dm0_ros.replay.episodes import save_episodes
    from dm0_ros.robots.loading import load_robot
    from dm0_ros.sim.tasks import choose_tasks
    from dm0_ros.sim.world import load_world

    spec = load_robot(robot)
    if not spec.joints:
        raise Dm0Error(
            f"{robot} is a base alone, and the demo is for arms: type 'dm0 eval objectnav --robot "
            f"{robot}' to see how it finds things, or 'dm0 up {robot} --sim' to send it yourself"
        )
    if spec.simulation is None:
        raise Dm0Error(f"{robot}: its YAML has no 'simulation' section, so it cannot be simulated")
    if checkpoint == FAMILY:
        checkpoint = choose_shipped(spec.name, task)
    settings = find_checkpoint(checkpoint).load_settings()
    world = world or settings.world or spec.simulation.world
    task = task or settings.task or ""
    # rcl refuses a parameter without a value.
    scene = {"world": world, "task": task} if task else {"world": world}
    tasks = choose_tasks(load_world(world), episodes, seed, task)
    bag = _prepare(out)
    begun = time.monotonic()
    with Display(episodes) as display:
        done = _run_graph(
            display,
            _make_commands(
                robot,
                bag,
                {"policy": {"threads": threads}, "simulator": scene},
                checkpoint=checkpoint,
                device=device,
                compressed=str(compressed).lower(),
                seed=str(seed),
            ),
            _choose_environment(),
            [f"/{sink.topic}" for sink in spec.sinks],
            tasks,
            Terms(time_limit, keep_going),
            out,
        )
        save_episodes(out / "episodes.json", done)
        facts = _collect_facts(checkpoint, time.monotonic() - begun, bag)
        figures = _show(display, out, bag, done, spec, facts)
    for path in (out / "demo.json", json_path):
        write_figures(path, figures)


def _make_commands(
    robot: str, bag: Path, own: Mapping[str, Mapping[str, object]], **chosen: str
) -> dict[str, list[str]]:
    """Command of each process, ``own`` parameters added. The recorder must miss nothing: first."""
    recorder = Process("recorder", False, {"path": str(bag)})
    commands = {"recorder": command(recorder)}
    for process in describe(robot, sim="true", **chosen):
        parameters = {**process.parameters, **own.get(process.name, {})}
        commands[process.name] = command(replace(process, parameters=parameters))
    return commands


def _choose_environment() -> dict[str, str]:
    """The environment of this process and the nodes: this machine only, a domain of our own."""
    own = {
        "ROS_DOMAIN_ID": str(random.SystemRandom().randint(*_DOMAINS)),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    for name, value in {**own, **environment()}.items():
        os.environ.setdefault(name, value)
    return dict(os.environ)


def _run_graph(display, commands, variables, sinks, tasks, terms: Terms, out: Path):
    """Start the processes, wait until all are ready, do the tasks, end the processes."""
    from dm0_ros.commands.processes import Processes
    from dm0_ros.commands.trial import perform
    from dm0_ros.nodes.operator import Operator

    done = []
    with Processes(out / "logs", variables) as processes:
        for name, words in commands.items():
            processes.start(name, words, _NICENESS.get(name, 0))
        operator = Operator(idle=lambda: _look_after(processes, display, operator))
        try:
            _await_ready(operator, processes, display, sinks)

            def announce(number: int, task) -> None:
                display.begin(f"{number + 1}/{len(tasks)} {task.instruction}")

            for episode in perform(operator, tasks, terms.time_limit, terms.keep_going, announce):
                done.append(episode)
                display.finish(episode)
        finally:
            operator.close()
        display.begin("closing the bag")
        processes.stop("recorder")
        display.begin("ending the nodes")
    return done


def _look_after(processes, display, operator) -> None:
    processes.check()
    display.detail(operator.progress)


def _await_ready(operator, processes, display, sinks: list[str]) -> None:
    """Wait for every node. Raises `Dm0Error` that says which one is not ready, and why."""
    display.begin("waiting for the nodes")
    recorded = ("/joint_states", "/action_chunk", "/executor_status", *sinks)

    def ready() -> bool:
        missing = operator.missing(recorded)
        operator.progress = ", ".join(missing)
        return not missing

    if not operator.wait(ready, _READY_TIME):
        reasons = [
            f"{name} is not ready after {_READY_TIME:.0f} s: {reason}; it said last:\n"
            f"{processes.tail(name)}"
            for name, reason in operator.missing(recorded).items()
        ]
        raise Dm0Error("\n".join(reasons))
    operator.progress = ""


def _prepare(out: Path) -> Path:
    """Remove what an earlier demo left; returns where the bag goes."""
    bag = out / "bag"
    if bag.exists():
        strange = [p.name for p in bag.iterdir() if p.suffix not in (".mcap", ".yaml")]
        if strange:
            raise Dm0Error(f"{bag} holds more than a bag ({strange[0]}); choose another --out")
        shutil.rmtree(bag)
    for name in _LEFT:
        (out / name).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    return bag


def _collect_facts(checkpoint: str, seconds: float, bag: Path) -> dict[str, str]:
    size = sum(path.stat().st_size for path in bag.iterdir())
    return {
        "command": " ".join(["dm0", *sys.argv[1:]]),
        "checkpoint": checkpoint,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "bag": f"{bag}, {size / 1e6:.0f} MB",
        "duration": f"{seconds:.0f} s",
    }


def _show(display, out: Path, bag: Path, episodes, spec, facts: Mapping[str, str]) -> dict:
    """Measure, write the report and the film, say where they are; returns the figures."""
    from dm0_ros.replay.pictures import find_view, read_frames
    from dm0_ros.replay.report import evaluate, summarise, write_report
    from dm0_ros.replay.video import write_video

    display.begin("measuring")
    evaluation = evaluate(bag, episodes, spec)
    figures = summarise(evaluation)
    display.begin("writing the report")
    write_report(out / "report.html", bag, evaluation, spec, facts)
    display.begin("writing the film")
    topic = find_view(bag, spec.camera_slots)
    if topic is None:
        raise Dm0Error(f"{bag}: no pictures were recorded; see {out / 'logs' / 'simulator.log'}")

    def caption(moment: float) -> str | None:
        for episode in episodes:
            if episode.started <= moment <= episode.ended + _TAIL_TIME:
                what = episode.outcome.replace("_", " ")
                return f"{episode.instruction}: {what}, {episode.seconds:.1f} s"
        return None

    _save_still(out / "overlay.png", bag, topic, episodes)
    film = write_video(out / "demo.mp4", read_frames(bag, topic), _FILM_RATE, caption)
    display.say(
        f"{figures['successes']} of {figures['episodes']} instructions followed. "
        f"See {out / 'report.html'}, {film} and {bag} ({facts['bag'].rsplit(', ')[-1]})."
    )
    return figures


def _save_still(path: Path, bag: Path, topic: str, episodes) -> None:
    """One picture to show: on the way to a touch, where there was one."""
    from PIL import Image

    from dm0_ros.replay.pictures import pick_frames

    (frame,) = pick_frames(bag, topic, [_choose_moment(bag, episodes)])
    if frame is not None:
        Image.fromarray(frame.picture).save(path)


def _choose_moment(bag: Path, episodes) -> float:
    """When there is most to see (s): a text was just written, or else the arm is half-way."""
    from dm0_ros.replay.bag import read_messages

    told = [message for message in read_messages(bag, ["/scaffold"]) if message.content.valid]
    for episode in episodes:
        # By the touch there is no way left that plan or text could show.
        half = episode.started + 0.5 * episode.seconds
        for message in told if episode.success else ():
            seen = to_seconds(message.content.header.stamp)
            # Of an older picture, it was late, and about the instruction before.
            if message.time < half and seen > episode.started - _PICTURE_AGE:
                return message.time + _DRAWING_TIME
    best = max(episodes, key=lambda episode: episode.success)
    return best.started + 0.6 * best.seconds
