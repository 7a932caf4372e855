# SPDX-License-Identifier: Apache-2.0
"""Whether LIBERO can be run here, found out without importing it."""

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from dm0_ros.libero.errors import LiberoError

_PAGE = "see docs/libero.md"
# robosuite 1.5 has other controllers; MuJoCo 3.9 and later break the robosuite before.
_FITTING = {"robosuite": ((1, 4), (1, 5)), "mujoco": ((3, 0), (3, 9))}


@dataclass(frozen=True)
class Folders:
    """Where LIBERO's files lie."""

    problems: Path  # bddl files
    states: Path  # initial states
    assets: Path


def check_installation() -> Folders:
    """Where LIBERO's files lie. Raises `LiberoError` that names what is missing, and a remedy."""
    package = _find_package()
    for name, (lower, upper) in _FITTING.items():
        _check_version(name, lower, upper)
    settings = _read_settings(package)
    folders = Folders(
        problems=Path(settings["bddl_files"]),
        states=Path(settings["init_states"]),
        assets=package / "assets",  # whatever config.yaml says: both editions look here
    )
    for what, path in (("bddl_files", folders.problems), ("init_states", folders.states)):
        if not path.is_dir():
            raise LiberoError(
                f"LIBERO's config.yaml says that {what} lie in {path}, and there is no such "
                "folder; correct it"
            )
    if not (folders.assets / "scenes").is_dir():
        raise LiberoError(
            f"LIBERO's assets are not in {folders.assets}: its package on PyPI has none. Copy "
            "libero/libero/assets of github.com/Lifelong-Robot-Learning/LIBERO, or the data set "
            f"lerobot/libero-assets of huggingface.co, there; {_PAGE}"
        )
    return folders


def _find_package() -> Path:
    """The folder libero/libero of the installation."""
    try:
        found = importlib.util.find_spec("libero")
    except ValueError:  # somebody has put a stand-in without a spec among the modules
        found = None
    places = [] if found is None else list(found.submodule_search_locations or [])
    for place in places:
        if (Path(place) / "libero" / "benchmark").is_dir():
            return Path(place) / "libero"
    if places:
        raise LiberoError(
            f"the package 'libero' in {places[0]} is not the LIBERO benchmark: uninstall it, and "
            f"install hf-libero in an environment of its own; {_PAGE}"
        )
    raise LiberoError(
        "LIBERO is not installed: its suites need the package hf-libero (or LIBERO from source) "
        f"with robosuite 1.4 and its assets, in an environment of its own; {_PAGE}. The suite "
        "'offline' needs nothing"
    )


def _check_version(name: str, lower: tuple[int, int], upper: tuple[int, int]) -> None:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise LiberoError(f"LIBERO needs {name}, which is not installed; {_PAGE}") from None
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not lower <= found < upper:
        bounds = f">={lower[0]}.{lower[1]},<{upper[0]}.{upper[1]}"
        raise LiberoError(
            f"{name} {version} does not fit LIBERO: pip install '{name}{bounds}', in an "
            f"environment of its own; {_PAGE}"
        )


def _read_settings(package: Path) -> dict[str, str]:
    """LIBERO's config.yaml; without one its import would ask for it on the terminal."""
    folder = Path(os.environ.get("LIBERO_CONFIG_PATH", Path.home() / ".libero"))
    path = folder / "config.yaml"
    example = "\n".join(
        f"  {key}: {package / name}"
        for key, name in (
            ("benchmark_root", "."), ("bddl_files", "bddl_files"), ("init_states", "init_files"),
            ("datasets", "../datasets"), ("assets", "assets"),
        )
    )  # fmt: skip
    remedy = f"write into it (LIBERO_CONFIG_PATH names another folder)\n{example}"
    if not path.is_file():
        raise LiberoError(f"{path} is missing, which says where LIBERO's files lie: {remedy}")
    try:
        settings = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as cause:
        raise LiberoError(f"{path}: is no YAML ({cause}); {remedy}") from cause
    needed = ("bddl_files", "init_states")
    if not isinstance(settings, dict) or not all(
        isinstance(settings.get(key), str) for key in needed
    ):
        raise LiberoError(f"{path}: lacks one of {', '.join(needed)}; {remedy}")
    return settings
