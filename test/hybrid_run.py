# SPDX-License-Identifier: Apache-2.0
"""A tiny training run as a program, which tests start: python or torchrun hybrid_run.py FOLDER.

It prints its losses of every step as JSON. ``--until`` ends it early, as an interruption would.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from hybrid_samples import tiny_recipe, tiny_trainer

from dm0_ros.training import trainer
from dm0_ros.training.processes import join_processes


class Interruption(Exception):
    """Ends a run."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--until", type=int)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--stale", type=float, help="share of samples whose text is not learnt")
    parser.add_argument("--exact", action="store_true", help="no bfloat16, whatever is faster")
    options = parser.parse_args()
    if options.exact:
        trainer.has_fast_bfloat16 = lambda device: False

    def report(step, losses):
        if step == options.until:
            raise Interruption

    with join_processes("cpu") as processes:
        recipe = tiny_recipe(**options.settings)
        if options.stale is not None:
            recipe = replace(recipe, hybrid=replace(recipe.hybrid, stale=options.stale))
        run = tiny_trainer(options.folder, recipe, processes)
        try:
            network = run.run(report)
        except Interruption:
            network = None
        if processes.leads:
            if network:
                torch.save(network.state_dict(), options.folder / "network.pt")
            json.dump(run.losses, sys.stdout)


if __name__ == "__main__":
    main()
