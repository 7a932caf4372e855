# SPDX-License-Identifier: Apache-2.0
"""Bags over workers: each counted once, whatever dies meanwhile, by processes and by Ray.

What is done with a bag is a stand-in here; test_evaluation_engines.py has the real one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from evaluation_works import (
    PATIENCE,
    Fancy,
    count_attempts,
    evaluate,
    read_table,
    tell_environment,
    wait_for,
)
from replay_bags import BEGIN, make_joint_state, write

from dm0_ros.errors import Dm0Error
from dm0_ros.evaluation.engines import EngineKind, make_engine
from dm0_ros.evaluation.folder import Folder
from dm0_ros.evaluation.processes import Processes
from dm0_ros.evaluation.scale import ATTEMPTS, evaluate_bags, evaluate_in_place
from dm0_ros.evaluation.work import Task
from dm0_ros.replay.bag import BagWriter

HERE = Path(__file__).parent
NAMES = [f"bag{number}" for number in range(8)]


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    for number, name in enumerate(NAMES):
        writer = BagWriter(folder / name)
        for moment in np.arange(5 + number) * 0.1:
            state = make_joint_state(BEGIN + moment, ["a"], [0.0])
            write(writer, "/joint_states", BEGIN + moment, state)
        writer.close()
    return [folder / name for name in NAMES]


def skip_without_ray(kind):
    # not imported here: how it listens is decided when it is
    if kind == "ray" and find_spec("ray") is None:
        pytest.skip("Ray is not installed (extra 'cluster')")


@pytest.fixture(params=["processes", "ray"])
def engine(request, monkeypatch):
    """Two workers, who end with the test."""
    # of whatever imports a stand-in
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    skip_without_ray(request.param)
    engine = make_engine(EngineKind(request.param), 2, 1)
    yield engine
    engine.close()


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def run(bags, out, engine, setting, **settings):
    courses = []
    with Folder(out) as folder:
        return evaluate_bags(
            *(bags, {"checkpoint": setting, **settings}, folder, engine, evaluate),
            courses.append,
        )


def expect(without):
    return {
        name: {"bag": name, "messages": 5 + number, "seed": 0}
        for number, name in enumerate(NAMES)
        if name not in without
    }


def test_each_bag_counts_once_whatever_becomes_of_its_workers(bags, tmp_path, marks, engine):
    setting = Fancy(
        marks,
        kill=("bag2", "bag5"),
        always=("bag3",),
        break_down=("bag1",),
        blunder=("bag6",),
    )
    missing = tmp_path / "nothing"
    course = run([*bags, missing], tmp_path / "out", engine, setting)
    assert (course.total, course.done, course.lost) == (9, 5, 2 + ATTEMPTS)
    assert read_table(tmp_path / "out") == expect(without=("bag1", "bag3", "bag6"))
    again = {"bag2": 2, "bag5": 2, "bag3": ATTEMPTS}
    assert {name: count_attempts(setting, name) for name in NAMES} == {
        **dict.fromkeys(NAMES, 1),
        **again,
    }
    said = {Path(name.split()[0]).name: why for name, why in course.failed.items()}
    assert said.keys() == {"bag1", "bag3", "bag6", "nothing"}
    assert said["bag1"].endswith("no pictures of camera slot high")
    assert "3 workers were lost over it: " in said["bag3"]
    assert "ZeroDivisionError: somewhere inside" in said["bag6"]
    assert "there is no such file or folder" in said["nothing"]
    for place in (tmp_path / "out/evaluation/checkpoint").iterdir():
        assert {path.name for path in place.iterdir()} == {"result.json", "plans.txt"}
        assert (place / "plans.txt").read_text() == "whole"
    assert not (tmp_path / "out/evaluation/.work").exists()


class Reluctant:
    """An engine that must not be asked."""

    size = 1

    def start(self, task):
        raise AssertionError(f"{task.key} was started")

    def wait(self, seconds):
        return []

    def close(self):
        pass


@pytest.fixture
def processes():
    engine = Processes(2)
    yield engine
    engine.close()


def test_only_what_is_missing_is_done(bags, tmp_path, marks, processes):
    setting, out = Fancy(marks, break_down=("bag1",)), tmp_path / "out"
    run(bags[:3], out, processes, setting)
    # the same bag by another way, and twice
    again = [*bags, bags[0], bags[0].parent / "." / "bag0"]
    course = run(again, out, processes, setting)
    assert (course.total, course.resumed, course.done) == (8, 2, 5)
    assert count_attempts(setting, "bag0") == 1 and count_attempts(setting, "bag1") == 2
    done = run([bags[0], *bags[2:]], out, Reluctant(), setting)
    assert done.resumed == done.total == 7


def test_another_setting_is_refused_by_name(bags, tmp_path, marks, processes):
    out = tmp_path / "out"
    run(bags[:1], out, processes, Fancy(marks), against=Fancy(marks, seed=1))
    with pytest.raises(Dm0Error, match=r"another setting \(against: seed was 1, now 2\)"):
        run(bags, out, processes, Fancy(marks), against=Fancy(marks, seed=2))
    with Folder(out) as folder:
        folder.forget()
    assert run(bags[:1], out, processes, Fancy(marks, seed=3)).done == 1
    assert read_table(out)["bag0"]["seed"] == 3
    assert not (out / "evaluation/against").exists()


def test_one_run_at_a_time(tmp_path):
    with Folder(tmp_path), pytest.raises(Dm0Error, match="another evaluation writes into it"):
        Folder(tmp_path)
    with Folder(tmp_path):
        pass


@pytest.mark.parametrize(("named", "gpus"), [(None, ["0", "1"]), ("5,GPU-7", ["5", "GPU-7"])])
def test_each_worker_sees_one_gpu(tmp_path, monkeypatch, named, gpus):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with closing(make_engine(EngineKind.PROCESSES, 0, 3, device="cuda")) as engine:
        assert engine.size == 2
        for number in range(2):
            engine.start(Task(str(number), tell_environment, (tmp_path / str(number),)))
        ended = []
        while len(ended) < 2:
            ended += engine.wait(PATIENCE)
    assert not any(one.fault or one.loss for one in ended)
    found = [json.loads((tmp_path / str(number)).read_text()) for number in range(2)]
    assert found == [[gpu, "3"] for gpu in gpus]


def test_what_a_worker_does_not_see_is_named(bags, tmp_path, marks):
    with Folder(tmp_path / "out") as folder:
        place = folder.find_place("checkpoint", "bag")
        with pytest.raises(Dm0Error, match=r"nothing: not to be seen from .*; keep bags on stor"):
            evaluate_in_place(evaluate, tmp_path / "nothing", Fancy(marks), place)
    # the folder is another machine's: here, nobody has made it
    with pytest.raises(Dm0Error, match=r"evaluation: not to be seen from .*; choose an --out on"):
        evaluate_in_place(evaluate, bags[0], Fancy(marks), place)


@pytest.mark.parametrize(
    ("address", "why"), [("127.0.0.1:9", "refused"), ("head", "an address is HOST:PORT")]
)
def test_a_cluster_that_is_not_there_is_named(address, why):
    with pytest.raises(Dm0Error, match=f"Ray at {address}: .*{why}.*ray status"):
        make_engine(EngineKind.RAY, 2, 1, address=address)


PROGRAM = """
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from evaluation_works import Fancy, evaluate
from dm0_ros.evaluation.engines import EngineKind, make_engine
from dm0_ros.evaluation.folder import Folder
from dm0_ros.evaluation.scale import evaluate_bags

if __name__ == "__main__":
    out, marks, kind, *bags = sys.argv[1:]
    setting = Fancy(Path(marks), hold=("bag2", "bag3"))
    with Folder(out) as folder, closing(make_engine(EngineKind(kind), 2, 1)) as engine:
        evaluate_bags(map(Path, bags), {"checkpoint": setting}, folder, engine, evaluate)
"""


@pytest.fixture
def short_folder():
    """For what a killed Ray leaves behind; paths of its sockets must not be long."""
    with tempfile.TemporaryDirectory(prefix="d") as folder:
        yield folder


@pytest.mark.parametrize(
    ("kind", "how"),
    [("processes", signal.SIGKILL), ("processes", signal.SIGINT), ("ray", signal.SIGKILL)],
)
def test_a_run_that_was_ended_is_continued(bags, tmp_path, marks, kind, how, short_folder):
    skip_without_ray(kind)
    out, program = tmp_path / "out", tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, program, out, marks, kind, *bags[:5]]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "TMPDIR": short_folder}
    with subprocess.Popen(list(map(str, command)), env=environment) as process:
        # the longest comes first: when these two hold, bag4 is done
        wait_for(marks / "bag3.holds")
        wait_for(marks / "bag2.holds")
        workers = {int(path.name.split(".")[2]) for path in marks.glob("*.begun.*")}
        process.send_signal(how)
        process.wait(PATIENCE)
    assert set(read_table(out)) == {"bag4"}
    for worker in workers:
        wait_for_end(worker)
    (marks / "go").touch()
    setting = Fancy(marks, hold=("bag2", "bag3"))
    with closing(Processes(2)) as engine:
        course = run(bags[:5], out, engine, setting)
    assert (course.resumed, course.done, course.failed) == (1, 4, {})
    assert count_attempts(setting, "bag4") == 1 and count_attempts(setting, "bag3") == 2
    assert set(read_table(out)) == set(NAMES[:5])


def wait_for_end(pid):
    """Of a process that is not our child."""
    while Path(f"/proc/{pid}").exists():
        status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        if status[0] == "Z":
            return
        os.sched_yield()
