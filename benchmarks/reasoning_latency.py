# SPDX-License-Identifier: Apache-2.0
"""What reasoning costs a plan: time to a plan with text off, before every plan, and beside them.

The network of a checkpoint with random weights: its text says nothing, but is as long as asked,
and plans are made to see it. Observations come at the pace of plans; the modes take turns, so that
other work on the machine weighs on all of them alike.
"""

import itertools
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from support.observations import make_observations
from support.record import make_parser, make_record, report, summarise, write_figures

from dm0_ros.policy.prompt import STOP
from dm0_ros.policy.protocol import Observation, Plan
from dm0_ros.policy.reasoning import ReasoningMode, ReasoningOptions, Thought
from dm0_ros.policy.registry import find_checkpoint, load_policy
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec
from dm0_ros.scaffold.content import Scaffold

STAGES = ("preprocessing", "prefix", "reasoning", "flow", "total")
SETTLE = 5  # plans at the begin of each turn that do not count
TURNS = 4  # of each mode


@dataclass
class Contender:
    """One mode: its policy, and what came of it."""

    policy: object
    plans: list[Plan] = field(default_factory=list)
    took: list[float] = field(default_factory=list)  # ms, as the caller sees it
    thoughts: list[Thought] = field(default_factory=list)

    def describe(self) -> dict:
        """Its figures."""
        return {
            "plan_ms": summarise(self.took),
            "ms": {s: summarise([getattr(p.latency, s) for p in self.plans]) for s in STAGES},
            "plans_with_text": sum(plan.thought is not None for plan in self.plans),
            "text_ms": summarise([thought.milliseconds for thought in self.thoughts]),
            "text_tokens": sorted({len(thought.token_ids) for thought in self.thoughts}),
            "text_age_s": summarise(
                [p.start - p.thought.observed for p in self.plans if p.thought is not None]
            ),
        }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--checkpoint", default="dm0-nano", help="whose sizes to take")
    parser.add_argument("--robot", default="franka")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--tokens", type=int, default=90, help="of each text")
    parser.add_argument("--count", type=int, default=100, help="plans of each mode")
    parser.add_argument("--period", type=float, default=0.2, help="s between two plans")
    parser.add_argument("--json", type=Path, help="also into this file, figures at the top")
    options = parser.parse_args()
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    begin = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        modes = measure(make_checkpoint(Path(folder), options), options)
    figures = {
        "checkpoint": options.checkpoint,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "tokens": options.tokens,
        "period_s": options.period,
        "load": {"begin": begin, "end": os.getloadavg()},
        "modes": modes,
    }
    report("reasoning_latency", figures, options.write)
    if options.json:
        write_figures(options.json, make_record("reasoning_latency", figures))


def make_checkpoint(folder: Path, options) -> Path:
    """The same sizes and files with random weights, and a section on scaffolds."""
    import torch
    from tokenizers import AddedToken, Tokenizer

    from dm0_ros.model import DM0
    from dm0_ros.model.config import read_config

    source = find_checkpoint(options.checkpoint, options.robot).folder
    folder = shutil.copytree(source, folder / "random")
    torch.manual_seed(0)
    DM0(read_config(source)).save_pretrained(folder)
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.add_tokens([AddedToken(STOP, normalized=False)])
    tokenizer.save(path)
    settings = yaml.safe_load((folder / "policy.yaml").read_text())
    masked = settings.get("masked_slots") or []
    view = next(slot for slot in settings["camera_slots"] if slot not in masked)
    settings["scaffold"] = {
        "grammar": "nano",
        "levels": ["subtask"],
        "view": view,
        "limit": options.tokens,
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(settings))
    return folder


def measure(checkpoint: Path, options) -> dict:
    """Figures of each mode; the last writes its next text as soon as it has one."""
    robot = load_robot(options.robot)
    contenders = {
        "off": contend(checkpoint, robot, options, ReasoningMode.OFF),
        "every_plan": contend(checkpoint, robot, options, ReasoningMode.EVERY_PLAN),
        "asynchronous": contend(checkpoint, robot, options, ReasoningMode.ASYNCHRONOUS),
        "asynchronous_without_pause": contend(
            checkpoint, robot, options, ReasoningMode.ASYNCHRONOUS, period=1e-3
        ),
    }
    spec = contenders["off"].policy.spec
    observations = list(itertools.islice(make_observations(spec, robot), 4))
    for _ in range(TURNS):
        for contender in contenders.values():
            take_turn(contender, observations, options)
    for contender in contenders.values():
        contender.policy.close()
    return {name: contender.describe() for name, contender in contenders.items()}


def contend(
    checkpoint: Path, robot: RobotSpec, options, mode: ReasoningMode, **how: float
) -> Contender:
    thoughts: list[Thought] = []
    reasoning = ReasoningOptions(mode, listen=thoughts.append, **how)
    policy = load_policy(checkpoint, robot, device=options.device, reasoning=reasoning)
    if mode is not ReasoningMode.OFF:
        force_text(policy._answers, options.tokens)
    policy.warm_up()
    return Contender(policy, thoughts=thoughts)


def force_text(answers, tokens: int) -> None:
    """Let every text have so many tokens and pass for a scaffold: random weights write garbage."""
    answers._stop_ids = frozenset()
    answers._is_complete = lambda ids: len(ids) >= tokens
    answers._parse = lambda _written: Scaffold("anything")


def take_turn(contender: Contender, observations: list[Observation], options) -> None:
    """Some plans in a row, one every `period` s where they are not slower than that."""
    due = time.monotonic()
    for number in range(SETTLE + options.count // TURNS):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + options.period, time.monotonic())
        seen = observations[number % len(observations)]
        observation = replace(seen, stamp=time.monotonic())
        begin = time.perf_counter()
        plan = contender.policy.infer(observation)
        took = 1e3 * (time.perf_counter() - begin)
        if number >= SETTLE:
            contender.plans.append(plan)
            contender.took.append(took)


if __name__ == "__main__":
    main()
