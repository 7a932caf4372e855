# SPDX-License-Identifier: Apache-2.0
"""Rooms import one way, ROS stays in nodes/ and launch/, and modules stay short.

The checks read the source, so an import inside a function counts like one at the top.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "dm0_ros"
LONGEST_MODULE = 300

# Rooms that each room may import, beside itself.
ALLOWED = {
    "model": set(),
    "robots": set(),
    "engine": {"model"},
    "control": {"robots"},
    "sim": {"navigation", "robots", "scaffold"},
    "scaffold": {"robots"},
    "policy": {"engine", "model", "robots", "scaffold"},
    "navigation": {"policy", "robots"},
    "replay": {"control", "engine", "model", "policy", "robots", "scaffold"},
    "evaluation": {"control", "engine", "model", "policy", "replay", "robots", "scaffold"},
    "challenge": {"policy", "robots"},
    "libero": {"challenge", "policy", "robots", "sim"},
    "training": {"engine", "model", "navigation", "policy", "robots", "scaffold", "sim"},
    "viewing": {"control", "policy", "replay", "robots", "scaffold"},
    "datasets": {"policy", "replay", "robots", "training"},
    # at the top of the package: what the graph consists of, and the terminal
    "bringup": {"robots"},
}
# may be imported by every room, and import nothing but each other
COMMON = {"errors", "intervals", "resources", "stamps"}
# may import every room
ENTRANCES = {"nodes", "cli", "commands"}
# rooms that have to work where torch is not installed
WITHOUT_TORCH = {"robots", "control", "navigation", "scaffold", "sim", "bringup", *COMMON}
WITHOUT_TORCH |= {"libero", "viewing"}
INTERFACES = {"msg", "srv", "action"}
ROS = re.compile(
    r"(rclpy|launch|launch_\w+|ament_\w+|cv_bridge|tf2_\w+|rosidl_\w+|domain_coordinator"
    r"|\w+_msgs|\w+_srvs|\w+_interfaces)(\.|$)"
)
ROS_ROOMS = {"nodes"}


def imported_names(source, module):
    """(line, full dotted name) of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parts, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).split(".")[-1]
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def room_of(name):
    """Room (or module at the top) that a dotted name of this package lies in; None for others."""
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def forbidden(room, name):
    """Why `room` must not import `name`, or None."""
    target = room_of(name)
    if room not in ROS_ROOMS and (ROS.match(name) or target in INTERFACES):
        return "is ROS, which only nodes/ and launch/ import"
    if room in WITHOUT_TORCH and name.split(".")[0] == "torch":
        return f"is not for {room}, which runs without torch"
    if target is None or target == room or target in COMMON | INTERFACES or room in ENTRANCES:
        return None
    if target not in ALLOWED.get(room, set()) and is_part(target):
        return f"is against the direction: {room} may import {sorted(ALLOWED.get(room, set()))}"
    return None


def is_part(target):
    """Whether `target` is a room or module, not a name defined in dm0_ros/__init__.py."""
    return target in {*ALLOWED, *COMMON, *ENTRANCES} or (ROOT / PACKAGE / target).is_dir()


def problems(folder):
    """Every breach below `folder`, the root of a source tree, as 'file:line what'."""
    found = []
    for path in sorted((folder / PACKAGE).rglob("*.py")):
        relative = path.relative_to(folder)
        parts = relative.with_suffix("").parts
        room = "__init__" if parts[1:] == ("__init__",) else parts[1]
        if room not in {"__init__", *ALLOWED, *COMMON, *ENTRANCES}:
            found.append(f"{relative}:1 is in no room that this test knows")
        source = path.read_text()
        lines = len(source.splitlines())
        if lines > LONGEST_MODULE:
            found.append(f"{relative}:{lines} is longer than {LONGEST_MODULE} lines")
        # a package's own name counts as a module in it, so that `from . import x` resolves
        for line, name in imported_names(source, ".".join(parts)):
            if reason := forbidden(room, name):
                found.append(f"{relative}:{line} {name} {reason}")
    return found


def test_this_package_keeps_the_rules():
    assert problems(ROOT) == []


BAD = {
    "model/net.py": ("from dm0_ros.robots import spec", "model may import []"),
    "control/late.py": ("def f():\n    import torch.nn", "control, which runs without torch"),
    "control/policy.py": ("from ..policy import protocol", "control may import ['robots']"),
    "policy/msgs.py": ("from sensor_msgs.msg import Image", "only nodes/ and launch/"),
    "policy/ours.py": ("from dm0_ros.msg import ActionChunk", "only nodes/ and launch/"),
    "policy/short.py": ("from dm0_ros import msg", "only nodes/ and launch/"),
    "sim/late.py": ("def f():\n    if 1:\n        import rclpy.node", "only nodes/ and launch/"),
    "sim/hidden.py": ("import importlib\nimportlib.import_module('rclpy')", "only nodes/"),
    "sim/room.py": (
        "import dm0_ros.policy.protocol",
        "sim may import ['navigation', 'robots', 'scaffold']",
    ),
    "robots/up.py": ("from dm0_ros import control", "robots may import []"),
    "scaffold/node.py": ("from dm0_ros.nodes.stamps import now", "scaffold may import"),
    "cli.py": ("import rclpy", "only nodes/ and launch/"),
    "errors.py": ("from dm0_ros.robots import spec", "errors may import []"),
    "bringup.py": ("import launch_ros.actions", "only nodes/ and launch/"),
    "replay/long.py": ("x = 1\n" * 301, "longer than 300 lines"),
    "lobby/x.py": ("", "no room that this test knows"),
}


@pytest.mark.parametrize("name", BAD)
def test_each_breach_is_found(name, tmp_path):
    source, reason = BAD[name]
    path = tmp_path / PACKAGE / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    (found,) = problems(tmp_path)
    assert found.startswith(f"{PACKAGE}/{name}:")
    assert reason in found


GOOD = {
    "nodes/policy.py": "import rclpy\nfrom dm0_ros.msg import ActionChunk\nimport dm0_ros.sim.a",
    "policy/dm0.py": "import torch\nfrom dm0_ros.model import net\nfrom ..errors import Dm0Error",
    "training/run.py": "from dm0_ros.policy import a\nfrom dm0_ros.sim import b\nfrom . import c",
    "cli.py": "from dm0_ros import __version__\nfrom dm0_ros.training import run",
    "replay/bag.py": "import rosbags.rosbag2\nimport mcap\nfrom dm0_ros.resources import find",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_allowed_is_not_reported(name, tmp_path):
    path = tmp_path / PACKAGE / name
    path.parent.mkdir(parents=True)
    path.write_text(GOOD[name])
    assert problems(tmp_path) == []


IMPORT_ALL = """
import importlib, pkgutil, sys
for name in {absent!r}:
    sys.modules[name] = None  # as if it were not installed
for room in {rooms!r}:
    package = importlib.import_module("dm0_ros." + room)
    for module in pkgutil.iter_modules(getattr(package, "__path__", []), package.__name__ + "."):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize(
    ("absent", "rooms"),
    [
        (("torch", "rclpy"), sorted(WITHOUT_TORCH)),
        (("rclpy",), sorted({*ALLOWED, *COMMON})),
        # of the extras sim and bags
        (("mujoco",), sorted({*ALLOWED, *COMMON} - {"libero", "sim", "training"})),
        (
            ("rosbags", "mcap", "mcap_ros2"),
            sorted({*ALLOWED, *COMMON} - {"datasets", "evaluation", "replay", "viewing"}),
        ),
        (("rerun",), sorted({*ALLOWED, *COMMON})),
        (("ray",), sorted({*ALLOWED, *COMMON})),
    ],
)
def test_rooms_import_where_others_are_not_installed(absent, rooms):
    """The modules really load; what they import in turn counts too."""
    there = [r for r in rooms if list((ROOT / PACKAGE).glob(f"{r}/__init__.py"))]
    there += [r for r in rooms if (ROOT / PACKAGE / f"{r}.py").is_file()]
    assert {"robots", "errors"} <= set(there)
    program = IMPORT_ALL.format(absent=absent, rooms=there)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
