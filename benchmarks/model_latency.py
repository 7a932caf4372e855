# SPDX-License-Identifier: Apache-2.0
"""How long DM0 takes from uint8 frames in host memory to actions in host memory, and why.

Times the readable network, the fast one in several variants and, with --against, the reference
implementation, turn by turn in one process; next to every time stand its error and two floors.
Without arguments: the shipped checkpoint on the CPU, about a minute. docs/performance.md says how
to use it on a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from support.ceilings import measure_ceilings
from support.contenders import Contender, Eager, Fast, Reference, make_engine
from support.floor import GPUS, find_gpu
from support.latency_report import LatencyReport, compare_to_reference
from support.networks import cast, load_network
from support.record import make_parser
from support.setting import MATRICES, Setting, add_floors, ask_oracle, measure
from support.speech import measure_speech

from dm0_ros.errors import Dm0Error
from dm0_ros.model import DM0

# What each variant of the engine changes; the order is that of facts/performance.md, 4.1.
VARIANTS = {
    "best": {},
    "plain": {"graphs": False, "kernels": False, "attention": "default"},
    "graphs": {"kernels": False, "attention": "default"},
    "attention": {"kernels": False},
    "compiled": {"kernels": False, "compiled": True},
    "triton": {"kernels": True},
    "triton-compiled": {"kernels": True, "compiled": True},
}
# Where an option is not given: of the device.
DEFAULTS = {
    "cpu": {"size": "nano", "views": [2], "dtype": ["fp32"], "text": 24, "count": 60},
    "cuda": {"size": "full", "views": [1, 2, 3], "dtype": ["bf16"], "text": 100, "count": 300},
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options, those that were not given filled in by the device."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--device", choices=sorted(DEFAULTS), default="cpu")
    add("--size", help="full or tiny (random weights), nano, or a checkpoint folder")
    add("--views", type=int, nargs="+")
    add("--dtype", nargs="+", choices=sorted(MATRICES))
    add("--batch", type=int, nargs="+", default=[1], help="robots in one call")
    add("--variants", nargs="+", choices=sorted(VARIANTS), default=["best"])
    add("--still", type=int, nargs="+", default=[0], help="first views that never change")
    add("--text", type=int, help="tokens of the prompt")
    add("--tokens", type=int, default=0, help="also generate a text of so many")
    add("--steps", type=int, default=10, help="of the Euler integration")
    add("--count", type=int, help="turns of each round")
    add("--rounds", type=int, default=2)
    add("--warm-ups", type=int, default=20)
    add("--seed", type=int, default=0, help="of random weights")
    add("--threads", type=int, default=0, help="of torch on a CPU; 0: its own choice")
    add("--against", metavar="PATH", help="a checkout of dexmal/dexbotic, timed alongside")
    add("--no-eager", action="store_true", help="leave the readable network untimed")
    add("--profile", action="store_true", help="list the kernels that take longest")
    add("--time-limit", type=float, default=3600.0, help="s; what is there by then is written")
    add("--json", type=Path, metavar="FILE", help="rewritten after every setting")
    options = parser.parse_args(arguments)
    for name, value in DEFAULTS[options.device].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main(arguments: Sequence[str] | None = None) -> dict:
    """Runs the benchmark; gives the record that it writes."""
    begun = time.perf_counter()
    options = parse(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Dm0Error("there is no CUDA device; run with --device cpu")
    # The oracle is float32, not TensorFloat-32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if options.threads:
        torch.set_num_threads(options.threads)
    report = make_report(options, device)
    if device.type == "cuda":
        report.figures["ceilings"] = measure_ceilings(device)
    run_settings(options, device, report, begun + options.time_limit)
    print(report.make_table(options.profile))
    return report.record


def make_report(options: argparse.Namespace, device: torch.device) -> LatencyReport:
    """The record before anything was measured."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    gpu = find_gpu(name) or GPUS[0]
    size = Path(options.size).name
    figures = {
        "device": name,
        "size": size,
        "threads": torch.get_num_threads(),
        "floors_of": gpu.name,
    }
    return LatencyReport(
        f"model_latency_{options.device}_{size}", figures, options.json, options.write
    )


def run_settings(
    options: argparse.Namespace, device: torch.device, report: LatencyReport, deadline: float
) -> None:
    """Every number of robots and views, one after another."""
    rounded = None if set(options.dtype) == {"fp32"} else True
    model = load_network(options.size, device, options.seed, rounded)
    gpu = find_gpu(report.figures["floors_of"])
    settings = [
        Setting(views, batch, options.text, options.steps, still)
        for still, batch, views in itertools.product(options.still, options.batch, options.views)
        if still < views and (batch == 1 or not still)
    ]
    truths = [ask_oracle(model, setting) for setting in settings]
    config = model.config
    report.figures["config"] = config.to_dict()
    contenders = make_contenders(options, model, report.figures)
    del model  # the oracle has answered; where float32 is not timed, its memory is free again
    for number, (setting, truth) in enumerate(zip(settings, truths, strict=True)):
        now = time.perf_counter()
        end = now + (deadline - now) / (len(settings) - number)
        entries = measure(
            contenders, truth, options.warm_ups, options.count, options.rounds, end, device
        )
        add_floors(entries, gpu, config, setting)
        found = {**asdict(setting), "sight": truth.sight, "contenders": entries}
        report.add({**found, "against": compare_to_reference(entries)})
        print(f"done: {setting}, {time.perf_counter() - now:.0f} s", file=sys.stderr, flush=True)
    if options.tokens:
        most = max(range(len(settings)), key=lambda number: settings[number].order)
        report.figures["text"] = measure_speech(
            contenders, settings[most], truths[most].batches, options.tokens, gpu, config, deadline
        )
        report.save()


def make_contenders(options: argparse.Namespace, model: DM0, figures: dict) -> list[Contender]:
    """Everything that was asked for; what cannot be made is noted in `figures`, and why."""
    networks = {"fp32": model}
    if set(options.dtype) != {"fp32"}:
        networks["bf16"] = cast(model, torch.bfloat16)
    plans: dict[str, Callable[[], Contender]] = {}
    for dtype, variant in itertools.product(options.dtype, options.variants):
        network = networks["fp32" if dtype == "fp32" else "bf16"]
        plans[f"{variant} {dtype}"] = partial(make_fast, options, network, variant, dtype)
    kinds = [kind for kind in networks if kind in options.dtype]
    if not options.no_eager:
        for kind in kinds:
            plans[f"eager {kind}"] = partial(Eager, networks[kind], kind, options.steps)
    if options.against:
        kind = list(networks)[-1]
        given = options.against, networks[kind], kind, options.steps
        plans[f"reference {kind}"] = partial(Reference, *given)
    made, refused = [], figures.setdefault("refused", {})
    for name, plan in plans.items():
        try:
            made.append(plan())
        except Exception as error:  # must not cost the others their time on a GPU
            refused[name] = f"{type(error).__name__}: {error}"
    return made


def make_fast(options: argparse.Namespace, network: DM0, variant: str, dtype: str) -> Fast:
    """The engine of one variant, with room for prompt and text."""
    changes = {**VARIANTS[variant], "steps": options.steps, "fp8": dtype == "fp8"}
    return Fast(make_engine(network, options.text + options.tokens, changes), variant, dtype)


if __name__ == "__main__":
    try:
        main()
    except Dm0Error as error:
        sys.exit(f"model_latency: {error}")
