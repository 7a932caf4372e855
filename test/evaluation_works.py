# SPDX-License-Identifier: Apache-2.0
"""Evaluations of bags that die, and stand-ins where only what is around them is tested.

Workers import this module. Whoever wants to die does so once a mark is in a folder, so nothing
waits for a time.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from dm0_ros.errors import Dm0Error
from dm0_ros.replay.bag import read_raw

PATIENCE = 120.0  # s


@dataclass(frozen=True)
class Fancy:
    """A setting. ``marks``: a folder for what the works say to each other."""

    marks: Path
    seed: int = 0
    kill: tuple[str, ...] = ()  # bags whose worker dies in the middle, at the first attempt
    always: tuple[str, ...] = ()  # ... at every attempt
    hold: tuple[str, ...] = ()  # bags that wait in the middle for the mark `go`
    break_down: tuple[str, ...] = ()  # bags with a fault of their own
    blunder: tuple[str, ...] = ()  # bags that meet a mistake in the program


def wait_for(path):
    """Until a file is there."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.01)


def evaluate(bag, setting, folder, tell):
    """Counts the messages of a bag, and leaves a mark for every attempt."""
    name, began = bag.name, time.time_ns()
    attempts = len(list(setting.marks.glob(f"{name}.begun.*")))
    (setting.marks / f"{name}.begun.{os.getpid()}.{began}").touch()
    if name in setting.break_down:
        raise Dm0Error(f"{bag}: no pictures of camera slot high")
    if name in setting.blunder:
        raise ZeroDivisionError("somewhere inside")
    count, begin = 0, None
    (folder / "plans.txt").write_text("half")
    for message in read_raw(bag):
        begin = message.time if begin is None else begin
        count += 1
        tell(message.time - begin)
        if count == 3:
            if name in setting.always or (name in setting.kill and not attempts):
                os.kill(os.getpid(), signal.SIGKILL)
            if name in setting.hold:
                (setting.marks / f"{name}.holds").touch()
                wait_for(setting.marks / "go")
    (folder / "plans.txt").write_text("whole")
    content = {"bag": name, "messages": count, "seed": setting.seed}
    (folder / "result.json").write_text(json.dumps(content))


def tell_environment(path):
    """What a worker was told: its GPU, and its threads."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    path.write_text(json.dumps([os.environ.get(name) for name in names]))


def count_attempts(setting, name):
    return len(list(setting.marks.glob(f"{name}.begun.*")))


def read_table(folder, setting="checkpoint"):
    """What the merger would read."""
    places = sorted((folder / "evaluation" / setting).iterdir())
    found = [json.loads((place / "result.json").read_text()) for place in places]
    return {content["bag"]: content for content in found}


def evaluate_or_die(bag, setting, folder, tell):
    """The real one; whose bag lies beside a file `kill` loses its worker in the middle, once."""
    # imports torch, for which the workers of other tests need not wait
    from dm0_ros.evaluation.keeping import evaluate_next

    def watch(share):
        tell(share)
        if share > 0.5 and (bag.parent / "kill").exists():
            (bag.parent / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    evaluate_next(bag, setting, folder, watch)
