# SPDX-License-Identifier: Apache-2.0
"""A fake of the LIBERO package, with the names and files that dm0_ros/libero/real.py uses.

It simulates nothing: the hand goes where it is told, and is done above a height. The real package
has 200 MB of assets that nobody may ship; docs/libero.md says what was run with it.
"""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np

CODE = {
    "__init__.py": "",
    "libero/__init__.py": "",
    "libero/benchmark/__init__.py": """
from collections import namedtuple
Task = namedtuple("Task", "language problem_folder bddl_file init_states_file")

class Suite:
    def __init__(self):
        self.n_tasks = {tasks}

    def get_task(self, number):
        name = f"task_{{number}}"
        states = name + ".pruned_init"
        return Task(f"do thing {{number}}", "libero_spatial", name + ".bddl", states)

def get_benchmark_dict():
    return {{"libero_spatial": Suite}}
""",
    "libero/envs/__init__.py": """
import numpy as np

class OffScreenRenderEnv:
    def __init__(self, bddl_file_name, camera_heights, camera_widths):
        open(bddl_file_name).close()
        self.size = camera_heights, camera_widths
        self.calls = []

    def seed(self, seed):
        self.calls.append(("seed", seed))

    def reset(self):
        self.calls.append(("reset",))

    def set_init_state(self, state):
        self.place, self.fingers = np.array(state[:3]), 0.02
        return self.look()

    def step(self, action):
        assert isinstance(action, list) and len(action) == 7
        self.place = self.place + 0.05 * np.array(action[:3])
        return self.look(), 0.0, bool(self.place[2] > 1.0), {{}}

    def look(self):
        picture = np.zeros((*self.size, 3), np.uint8)
        picture[0, 0] = 255
        return {{
            "agentview_image": picture, "robot0_eye_in_hand_image": picture,
            "robot0_eef_pos": self.place, "robot0_eef_quat": np.array([1.0, 0.0, 0.0, 0.0]),
            "robot0_gripper_qpos": np.array([self.fingers, -self.fingers]),
        }}

    def close(self):
        self.size = None
""",
}


def states(task: int) -> np.ndarray:
    """The initial states of a task."""
    return np.random.default_rng(task).uniform(0, 0.5, (50, 5))


def write_states(path: Path, content: object) -> None:
    """As torch.save writes them: a pickle in an archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))


def install(folder: Path, monkeypatch, tasks: int = 10, versions=None) -> Path:
    """Put the fake package into a folder and onto the path; returns its folder libero/libero."""
    for name, code in CODE.items():
        path = folder / "libero" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code.format(tasks=tasks))
    package = folder / "libero" / "libero"
    (package / "assets" / "scenes").mkdir(parents=True)
    problems = package / "bddl_files" / "libero_spatial"
    problems.mkdir(parents=True)
    for task in range(tasks):
        (problems / f"task_{task}.bddl").touch()
        write_states(
            package / "init_files" / "libero_spatial" / f"task_{task}.pruned_init", states(task)
        )
    settings = f"bddl_files: {package}/bddl_files\ninit_states: {package}/init_files\n"
    (folder / "config.yaml").write_text(settings)
    monkeypatch.setenv("LIBERO_CONFIG_PATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "libero"]:
        monkeypatch.delitem(sys.modules, name)
    known = {"robosuite": "1.4.0", "mujoco": "3.8.1", **(versions or {})}
    monkeypatch.setattr("importlib.metadata.version", known.__getitem__)
    return package


def uninstall() -> None:
    """Forget what was imported of it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "libero"]:
        del sys.modules[name]
