# SPDX-License-Identifier: Apache-2.0
"""Where the package's files that are not code lie: launch/, config/, urdf/ and checkpoints/."""

import os
import sys
from pathlib import Path

from dm0_ros.errors import ResourceError

KINDS = ("launch", "config", "urdf", "checkpoints")
PACKAGE = "dm0_ros"


def resource_folders(kind: str) -> list[Path]:
    """Folders that may hold files of `kind`, the most specific first.

    The source tree that this module was imported from, then share/dm0_ros of every sourced ROS
    prefix, then that of the running Python.
    """
    if kind not in KINDS:
        raise ResourceError(f"No resource kind '{kind}'. The kinds are: {', '.join(KINDS)}.")
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    roots = [p / "share" / PACKAGE for p in [*prefixes, Path(sys.prefix)]]
    source = Path(__file__).resolve().parent.parent
    if (source / "package.xml").is_file():
        roots.insert(0, source)
    return list(dict.fromkeys(root / kind for root in roots))


def find_resource(kind: str, name: str) -> Path:
    """Absolute path of a file or folder, e.g. `find_resource("config", "franka.yaml")`.

    Raises ResourceError, which names every folder that was searched.
    """
    folders = resource_folders(kind)
    for folder in folders:
        path = folder / name
        if _is_inside(path, folder) and path.exists():
            return path
    raise ResourceError(
        f"No '{name}' among the package's {kind}. Looked in: {', '.join(map(str, folders))}. "
        f"{_describe_present(folders)}"
    )


def find_config(name_or_path: str | Path, folder: str = "") -> Path:
    """The YAML file at that path, or else ``config/<folder>/<name>.yaml``.

    A path is what ends in .yaml or .yml. Raises ResourceError where there is no such name.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    return find_resource("config", os.path.join(folder, f"{name_or_path}.yaml"))


def list_resources(kind: str, suffix: str = "") -> list[str]:
    """Sorted names of the resources of `kind` that end in `suffix`, over all folders."""
    present = (path for folder in resource_folders(kind) for path in folder.glob(f"*{suffix}"))
    return sorted({path.name for path in present if not path.name.startswith(("_", "."))})


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` stays below `folder`: a name with .. or a leading / does not."""
    return Path(os.path.normpath(path)).is_relative_to(folder)


def _describe_present(folders: list[Path]) -> str:
    present = sorted({p.name for folder in folders for p in folder.glob("[!_.]*")})
    return f"There: {', '.join(present)}." if present else "There is nothing there."
