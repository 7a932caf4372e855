# SPDX-License-Identifier: Apache-2.0
"""Builds the Python package and, with it, the ROS interfaces of msg/.

`colcon build` and `pip install` both come through here. Names, versions and dependencies are in
setup.cfg. The interfaces need the generators of a ROS 2: a sourced one, or the wheels in the
running environment.
"""

import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

from setuptools import Command, find_packages, setup
from setuptools.command.build import build
from setuptools.command.develop import develop

NAME = "dm0_ros"
ROOT = Path(__file__).resolve().parent
RESOURCES = ("launch", "config", "urdf", "checkpoints")
NO_ROS = (
    "no ROS 2 found, so dm0_ros.msg and dm0_ros.action are not built. Remedy: source a ROS 2, or "
    "install requirements-ros.txt in this environment, and install again."
)
# colcon writes these itself
SHELL_HOOKS = re.compile(rf"share/{NAME}/(local_setup|package\.dsv|environment/)")


def ros_prefixes():
    """Prefixes that CMake searches for ROS packages: the sourced ones and this environment."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [p for p in dict.fromkeys([*prefixes, sys.prefix]) if Path(p, "share").is_dir()]


def has_generators(prefixes):
    return any(Path(p, "share/rosidl_default_generators").is_dir() for p in prefixes)


def resource_files():
    """(folder below the prefix, files) of everything that is data, as setuptools wants it."""
    table = {
        "share/ament_index/resource_index/packages": [f"resource/{NAME}"],
        f"share/{NAME}": ["package.xml"],
    }
    for kind in RESOURCES:
        for path in sorted((ROOT / kind).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                folder = path.parent.relative_to(ROOT).as_posix()
                table.setdefault(f"share/{NAME}/{folder}", []).append(
                    path.relative_to(ROOT).as_posix()
                )
    return list(table.items())


def child_environment():
    """The environment for CMake's own Python.

    colcon and pip put a sitecustomize on PYTHONPATH that hides packages from their children.
    """
    environment = dict(os.environ)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    kept = [p for p in paths if p and not Path(p, "sitecustomize.py").exists()]
    environment["PYTHONPATH"] = os.pathsep.join(kept)
    return environment


class BuildInterfaces(Command):
    """Generate, compile and stage the interfaces, then hand them to the installation."""

    description = "generate and compile the ROS interfaces of msg/"
    user_options = []
    # set by setuptools for `pip install --editable`
    editable_mode = False

    def initialize_options(self):
        self.build_base = None
        self.build_lib = None
        self.inplace_prefix = None

    def finalize_options(self):
        self.set_undefined_options(
            "build", ("build_base", "build_base"), ("build_lib", "build_lib")
        )

    def get_source_files(self):
        return [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.glob("msg/**/*.*"))]

    def get_outputs(self):
        return []

    def get_output_mapping(self):
        return {}

    def run(self):
        prefixes = ros_prefixes()
        if not has_generators(prefixes):
            self.warn(NO_ROS)
            return
        # CMake remembers where it found things: one folder per Python and set of prefixes
        key = zlib.crc32(os.pathsep.join(prefixes).encode())
        tag = f"interfaces-{sys.implementation.cache_tag}-{key:08x}"
        work = Path(self.build_base).resolve() / tag
        stage = work / "stage"
        self.copy_sources(work / "src")
        self.compile(work, stage, prefixes)
        for path in sorted(p for p in stage.rglob("*") if p.is_file()):
            self.place(path, path.relative_to(stage))

    def copy_sources(self, source):
        """One source tree as rosidl wants it. copy2 keeps times: no needless rebuild."""
        shutil.rmtree(source, ignore_errors=True)
        for kind, folder in (("msg", "msg"), ("srv", "msg/srv"), ("action", "msg/action")):
            for path in (ROOT / folder).glob(f"*.{kind}"):
                (source / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, source / kind)
        for path in ("package.xml", "msg/CMakeLists.txt"):
            shutil.copy2(ROOT / path, source)

    def compile(self, work, stage, prefixes):
        shutil.rmtree(stage, ignore_errors=True)
        configure = [
            *("cmake", "-S", str(work / "src"), "-B", str(work / "cmake")),
            "-DBUILD_TESTING=OFF",
            f"-DPython3_EXECUTABLE={sys.executable}",
            f"-DCMAKE_INSTALL_PREFIX={stage}",
            "-DCMAKE_PREFIX_PATH=" + ";".join(prefixes),
            "-DAMENT_CMAKE_ENVIRONMENT_PARENT_PREFIX_PATH_GENERATION=OFF",
            *os.environ.get("DM0_ROS_CMAKE_ARGS", "").split(),
        ]
        make = ["cmake", "--build", str(work / "cmake"), "--parallel", str(os.cpu_count())]
        environment = child_environment()
        environment["AMENT_PREFIX_PATH"] = os.pathsep.join(prefixes)
        for command in (configure, make, ["cmake", "--install", str(work / "cmake")]):
            subprocess.run(command, check=True, env=environment)

    def place(self, path, relative):
        """Python modules go next to ours; the rest goes below the prefix."""
        if {"site-packages", "dist-packages"} & set(relative.parts):
            inside = relative.parts.index(NAME) if NAME in relative.parts else None
            if inside is None or path.suffix in (".c", ".pyc"):
                return
            module = Path(*relative.parts[inside:])
            if module == Path(NAME, "__init__.py"):
                return
            self.place_module(path, relative, module)
        elif self.editable_mode:
            replace(self.unpacked("install_data") / relative, path, shutil.copy2)
        elif not SHELL_HOOKS.match(relative.as_posix()):
            data = self.distribution.data_files
            ours = {(folder, Path(f).name) for folder, files in data for f in files}
            if (relative.parent.as_posix(), relative.name) not in ours:
                data.append((relative.parent.as_posix(), [str(path)]))

    def place_module(self, path, relative, module):
        if self.editable_mode:
            replace(self.unpacked("install_lib") / module, path, shutil.copy2)
        elif self.inplace_prefix:
            replace(Path(self.inplace_prefix, relative), path, lambda a, b: b.symlink_to(a))
        else:
            replace(Path(self.build_lib, module), path, shutil.copy2)

    def unpacked(self, folder):
        """Where setuptools gathers the editable wheel: what lies there is installed by pip."""
        return Path(getattr(self.distribution.get_command_obj("install"), folder))


def replace(target, source, write):
    """Put `source` at `target`. The old file goes first: a process may have mapped it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    write(source, target)


class BuildAll(build):
    sub_commands = [*build.sub_commands, ("build_interfaces", None)]


class Develop(develop):
    """`colcon build --symlink-install`: it points sys.prefix at the install folder."""

    def run(self):
        if not self.uninstall:
            self.get_finalized_command("build_interfaces").inplace_prefix = sys.prefix
            self.run_command("build_interfaces")
        super().run()


setup(
    name=NAME,
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    # named, for then an editable installation is a path entry, and dm0_ros.msg is found beside it
    package_dir={"": "."},
    python_requires=">=3.10,<3.14",
    data_files=resource_files(),
    cmdclass={"build": BuildAll, "develop": Develop, "build_interfaces": BuildInterfaces},
)
