# SPDX-License-Identifier: Apache-2.0
"""What each level of the scaffold is worth, and what decoupled gradients are: docs/ablation.md.

Every cell with every seed has a folder of its own below --out. What is finished there is read, not
run again; what was killed goes on. --docs writes the table, its plot and the record of what is
finished into the documentation.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from support.ablation_cells import CELLS, Cell
from support.ablation_folder import read_result
from support.ablation_report import draw, insert_table, make_table, summarise_cells
from support.ablation_run import Plan, read_results, record, run_cell, run_first, run_trunk
from support.record import make_parser, make_record, to_text, write_figures, write_result

ROOT = Path(__file__).resolve().parents[1]
NAMES = [cell.name for cell in CELLS]
SETTINGS = (
    "steps",
    "trunk_steps",
    "first_steps",
    "recorded",
    "episodes",
    "frames",
    "period",
    "time_limit",
)


def parse(arguments=None):
    """Options."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("out/ablation"), help="folder of all cells")
    add("--seeds", type=int, nargs="+", default=[0, 1], help="of networks, noise and trials")
    add("--only", nargs="+", choices=NAMES, default=NAMES, help="these cells")
    add("--list", action="store_true", help="say what is finished, run nothing")
    add("--steps", type=int, default=1500, help="of each cell")
    add("--trunk-steps", type=int, default=2000, help="of the network that all begins with")
    add("--first-steps", type=int, default=800, help="of the stage before, with questions")
    add("--recorded", type=int, default=3000, help="episodes that are learnt from")
    add("--data", type=Path, help="a recording of these that there is already")
    add("--episodes", type=int, default=40, help="of each kind, in closed loop")
    add("--frames", type=int, default=60, help="that questions are asked about")
    add("--period", type=float, default=0.5, help="s between plans")
    add("--time-limit", type=float, default=10.0, help="s of an episode")
    add("--jobs", type=int, default=2, help="cells at a time, with one thread each")
    add("--json", type=Path, help="where to write the figures")
    add("--docs", action="store_true", help="write docs/ablation.md's table and plot")
    return parser.parse_args(arguments)


def main(arguments=None) -> dict:
    """Run what is missing, write and give the record of what is there."""
    options = parse(arguments)
    plan = make_plan(options)
    cells = [cell for cell in CELLS if cell.name in options.only]
    if options.list:
        list_cells(plan, cells, options.seeds)
        return {}
    torch.set_num_threads(1)
    record(plan, options.jobs, tell)
    # All seeds begin with one trunk, and where their first stage ended; then no cell waits for
    # another.
    run_trunk(plan, tell)
    run_all([(run_first, (plan, seed, tell)) for seed in options.seeds], options.jobs)
    # Seeds in turn: half of the table is worth more than one half of the cells.
    run_all(
        [(run_cell, (plan, cell, seed, tell)) for seed in options.seeds for cell in cells],
        options.jobs,
    )
    results = read_results(plan, options.seeds)
    settings = {key: getattr(options, key) for key in SETTINGS}
    figures = {**settings, "seeds": options.seeds, **summarise_cells(results, options.time_limit)}
    result = make_record("ablation", figures)
    if options.json:
        write_figures(options.json, result)
    if options.write:
        write_result("ablation", to_text(result))
    if options.docs:
        insert_table(ROOT / "docs/ablation.md", make_table(figures))
        draw(ROOT / "docs/images/ablation.png", figures)
    sys.stdout.write(make_table(figures) + "\n")
    return result


def make_plan(options) -> Plan:
    """How much of everything."""
    values = {key: getattr(options, key) for key in SETTINGS}
    return Plan(out=options.out, data=options.data, **values)


def list_cells(plan: Plan, cells: list[Cell], seeds: list[int]) -> None:
    """Say of every run whether it is finished."""
    write_state("trunk", plan.trunk)
    for seed in seeds:
        for name in ["first", *(cell.name for cell in cells)]:
            write_state(f"{name} seed {seed}", plan.folder(name, seed))


def write_state(name: str, folder: Path) -> None:
    """How far a run is."""
    state = "finished" if read_result(folder) else "begun" if folder.exists() else "-"
    sys.stdout.write(f"{name}: {state}\n")


def run_all(tasks: list[tuple[Callable, tuple]], jobs: int) -> None:
    """All of them, some at a time; a first error ends it when those under way have ended."""
    if jobs == 1:
        for function, arguments in tasks:
            function(*arguments)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, begin_work) as pool:
        futures = [pool.submit(function, *arguments) for function, arguments in tasks]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def begin_work() -> None:
    """A worker computes alone, and ends when whoever started it is killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    watch = threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True)
    watch.start()


def tell(line: str) -> None:
    """To whoever watches."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
