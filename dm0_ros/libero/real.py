# SPDX-License-Identifier: Apache-2.0
"""LIBERO itself, where its package, its assets and a robosuite that fits are installed.

Nothing is downloaded here, and nothing of LIBERO is imported before all is known to be there: its
import asks questions on a terminal, and one of its editions fetches assets from the network.
"""

import importlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dm0_ros.challenge.errors import ChallengeError
from dm0_ros.challenge.payload import read_payload
from dm0_ros.libero.contract import PICTURE, Moment, check_action
from dm0_ros.libero.environment import check_episode
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.installation import check_installation
from dm0_ros.libero.suites import load_suites

_LARGEST_STATES = 64 * 1024 * 1024  # bytes
_PICTURES = ("agentview_image", "robot0_eye_in_hand_image")
_NUMBERS = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}


class RealEnvironment:
    """An `Environment` of one of LIBERO's suites. Renders from the thread that made it."""

    def __init__(self, suite: str, seed: int) -> None:
        """``seed`` is LIBERO's own. Raises `LiberoError` that says what is missing."""
        self._folders = check_installation()
        suites = load_suites()
        self._seed, self._episodes = seed, suites.trials
        self._benchmark = _load_benchmark(suite, suites.find(suite).tasks)
        self.instructions = tuple(
            self._benchmark.get_task(task).language for task in range(self._benchmark.n_tasks)
        )
        self._simulation: Any = None
        self._task: int | None = None  # of the simulation

    def reset(self, task: int, episode: int) -> Moment:
        """Begin; see `Environment`. Episodes are LIBERO's own initial states."""
        check_episode(task, len(self.instructions), episode, self._episodes)
        if self._task != task:
            self._open(task)
        check_episode(task, len(self.instructions), episode, len(self._states))
        self._simulation.reset()
        return _look(self._simulation.set_init_state(self._states[episode]))

    def step(self, action: np.ndarray) -> tuple[Moment, bool]:
        """Apply an action (7,); see `Environment`. LIBERO's own predicate says what is done."""
        shown, _, done, _ = self._simulation.step(check_action(action).tolist())
        return _look(shown), bool(done)

    def close(self) -> None:
        """Free what renders."""
        if self._simulation is not None:
            self._simulation.close()
            self._simulation, self._task = None, None

    def _open(self, task: int) -> None:
        self.close()
        item = self._benchmark.get_task(task)
        folder = item.problem_folder
        self._states = read_states(self._folders.states / folder / item.init_states_file)
        environments = importlib.import_module("libero.libero.envs")
        self._simulation = environments.OffScreenRenderEnv(
            bddl_file_name=str(self._folders.problems / folder / item.bddl_file),
            camera_heights=PICTURE,
            camera_widths=PICTURE,
        )
        self._simulation.seed(self._seed)
        self._task = task


def read_states(path: Path) -> np.ndarray:
    """A task's initial states (50, N), as LIBERO's files hold them.

    They are pickles within archives of torch, and are read without unpickling. Raises
    `LiberoError` that names the file where it is missing or holds something else.
    """
    if not path.is_file():
        raise LiberoError(f"{path} is missing: LIBERO is not installed whole; install it again")
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if archive.getinfo(name).file_size > _LARGEST_STATES:
                raise LiberoError(f"{path}: is larger than initial states are")
            states = read_payload(archive.read(name))
    except (OSError, ValueError, zipfile.BadZipFile, ChallengeError) as cause:
        raise LiberoError(
            f"{path}: holds no initial states ({cause}); install LIBERO again"
        ) from (cause)
    if not isinstance(states, np.ndarray) or states.ndim != 2 or states.dtype.kind != "f":
        raise LiberoError(f"{path}: holds no table of numbers; install LIBERO again")
    return states


def _load_benchmark(suite: str, tasks: int) -> Any:
    """LIBERO's table of a suite's tasks."""
    module = importlib.import_module("libero.libero.benchmark")
    known = module.get_benchmark_dict()
    if suite not in known:
        raise LiberoError(
            f"the installed LIBERO has no suite '{suite}'; it has {', '.join(known)}"
        )
    benchmark = known[suite]()
    if benchmark.n_tasks != tasks:
        raise LiberoError(
            f"the installed LIBERO has {benchmark.n_tasks} tasks in {suite}, not {tasks}: its "
            "scores would compare with no other; install a release"
        )
    return benchmark


def _look(shown: dict[str, Any]) -> Moment:
    """The moment of LIBERO's observations. Raises `LiberoError` where they are not as expected."""
    missing = [name for name in (*_PICTURES, *_NUMBERS) if name not in shown]
    if missing:
        raise LiberoError(f"LIBERO shows no {', '.join(missing)}; its version does not fit")
    pictures = [np.asarray(shown[name]) for name in _PICTURES]
    for name, picture in zip(_PICTURES, pictures, strict=True):
        if picture.shape != (PICTURE, PICTURE, 3) or picture.dtype != np.uint8:
            raise LiberoError(
                f"LIBERO's {name} is {picture.shape} {picture.dtype}, not {PICTURE} x {PICTURE} "
                "RGB of bytes; its version does not fit"
            )
    numbers = [np.asarray(shown[name], np.float64) for name in _NUMBERS]
    for (name, count), values in zip(_NUMBERS.items(), numbers, strict=True):
        if values.shape != (count,):
            raise LiberoError(f"LIBERO's {name} is {values.shape}, not ({count},)")
    return Moment(*pictures, *numbers)
