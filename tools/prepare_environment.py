# SPDX-License-Identifier: Apache-2.0
"""`make env`: a virtual environment with ROS 2, packages, our interfaces, an editable dm0_ros.

Each step keeps the hash of what it was made from in <venv>/stamps and is skipped while that is
unchanged. Runs with any Python 3.10 to 3.13 and its standard library alone.
"""

import argparse
import configparser
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("sim", "bags", "train", "cluster", "test")
SUPPORTED = ((3, 10), (3, 13))
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
RENDERING_PACKAGES = ("libegl1", "libgl1-mesa-dri")
RENDER_A_PICTURE = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8)
renderer.render()
"""


def say(text):
    print(f"[env] {text}", flush=True)


def fail(text):
    sys.exit(f"[env] {text}")


def find_sourced_ros(venv):
    """Prefix of a sourced ROS 2 that is not our own virtual environment, or None."""
    if not os.environ.get("ROS_DISTRO"):
        return None
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and Path(prefix, "share/rclpy").is_dir() and Path(prefix).resolve() != venv:
            return prefix
    return None


def check_machine(ros):
    low, high = SUPPORTED
    if not low <= sys.version_info[:2] <= high:
        fail(
            f"{sys.executable} is Python {sys.version.split()[0]}; 3.10 to 3.13 are supported. "
            "Remedy: name one, as in `make env PYTHON=python3.11`."
        )
    if not shutil.which("cmake") or not (shutil.which("c++") or shutil.which("g++")):
        fail("CMake and a C++ compiler build the interfaces. Remedy: apt install cmake g++ make")
    if ros and subprocess.run([sys.executable, "-c", "import rclpy"], check=False).returncode:
        fail(
            f"the ROS 2 in {ros} was sourced, but {sys.executable} cannot import its rclpy. "
            "Remedy: name that ROS 2's Python, for Jazzy `make env PYTHON=/usr/bin/python3.12`, "
            "or use a shell without it."
        )


class Environment:
    """The virtual environment in folder `venv`; `ros` is the prefix of a sourced ROS 2 or None."""

    def __init__(self, venv, ros):
        self.venv, self.ros = venv, ros
        self.python = venv / "bin/python"

    def run(self, *command, **options):
        """Run the environment's Python; what pip and setuptools print goes to the terminal."""
        environment = dict(os.environ)
        # lines on stderr for every module that setuptools does not compile
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        # else CMake's FindPython3 takes another Python than this one
        environment["VIRTUAL_ENV"] = str(self.venv)
        environment["PATH"] = f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run([self.python, *command], env=environment, **options)

    def pip(self, *arguments, **options):
        command = ("-m", "pip", "install", "-qq", "--disable-pip-version-check")
        return self.run(*command, *arguments, **options).returncode == 0

    def is_current(self, step, *inputs):
        """Whether `step` was made from the same inputs (files, or words) as now."""
        return self.stamp(step).exists() and self.stamp(step).read_text() == digest(inputs)

    def keep(self, step, *inputs):
        self.stamp(step).parent.mkdir(exist_ok=True)
        self.stamp(step).write_text(digest(inputs))

    def stamp(self, step):
        return self.venv / "stamps" / step

    def create(self, exact):
        """Make the folder; one that exists keeps its Python unless `exact` wants this one."""
        version = ".".join(map(str, sys.version_info[:2]))
        source = f"ROS 2 of {self.ros}" if self.ros else "ROS 2 wheels"
        if self.python.exists():
            same = (self.venv / "lib" / f"python{version}").is_dir() or not exact
            if same and self.is_current("venv", source):
                return
            say(f"{self.venv.name} was made for another Python or another ROS 2: making it anew")
        shutil.rmtree(self.venv, ignore_errors=True)
        say(f"Python {sys.version.split()[0]}, {source} -> {self.venv}")
        # not sys.executable: `make` may run in the activated environment that is being replaced
        base = getattr(sys, "_base_executable", sys.executable)
        options = ["--system-site-packages"] if self.ros else []
        if subprocess.run([base, "-m", "venv", *options, str(self.venv)], check=False).returncode:
            fail(
                "the virtual environment was not made. Remedy on Debian: apt install python3-venv"
            )
        self.keep("venv", source)

    def install_packages(self):
        inputs = [ROOT / "constraints.txt", ROOT / "requirements-ros.txt", ROOT / "setup.cfg"]
        if self.is_current("packages", *inputs):
            return
        self.install_torch()
        wanted = ["setuptools<80", "wheel", *requirements()]
        if not self.ros:
            wanted += ["-r", str(ROOT / "requirements-ros.txt")]
        say("packages (a minute or two; versions from constraints.txt)")
        if not self.pip("-c", str(ROOT / "constraints.txt"), *wanted):
            fail("pip failed, see above. Remedy: check the network, then type `make env` again")
        if not self.ros and self.run(ROOT / "tools/ros_prefix.py").returncode:
            fail("the ROS 2 wheels could not be prepared, see above")
        self.keep("packages", *inputs)
        self.stamp("interfaces").unlink(missing_ok=True)

    def install_torch(self):
        """A CPU build is enough and small: a local wheel, else PyTorch's own index, else PyPI."""
        pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.M).group()
        if os.environ.get("DM0_TORCH") == "pypi":
            return
        quiet = {"stderr": subprocess.DEVNULL}
        if self.pip("--no-deps", "--no-index", pinned, **quiet):
            return
        try:
            urllib.request.urlopen(f"{TORCH_CPU_INDEX}/torch/", timeout=5).close()
        except (urllib.error.URLError, OSError):
            say(f"{TORCH_CPU_INDEX} does not answer: {pinned} comes from PyPI, on Linux with CUDA")
            return
        if not self.pip("--no-deps", "--index-url", TORCH_CPU_INDEX, pinned):
            say(f"no CPU build of {pinned} for this Python: taking PyPI's, on Linux with CUDA")

    def install_package(self):
        inputs = sorted(p for p in (ROOT / "msg").rglob("*") if p.is_file())
        inputs += [ROOT / name for name in ("setup.py", "setup.cfg", "package.xml")]
        inputs += [ROOT / "tools/activation.py", str(ROOT)]
        editable = list(self.venv.glob("lib/python*/site-packages/__editable__.dm0_ros-*"))
        if editable and self.is_current("interfaces", *inputs):
            return
        say("dm0_ros and its interfaces (15 s)")
        if not self.pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT)):
            fail("dm0_ros or its interfaces could not be built, see above")
        if self.run(ROOT / "tools/activation.py", "ros" if self.ros else "wheels").returncode:
            fail("the activation script could not be written, see above")
        self.keep("interfaces", *inputs)

    def link_resources(self):
        """`ros2 launch` and others look below a prefix's share; there, our files are links."""
        for kind in ("launch", "config", "urdf", "checkpoints"):
            for path in (ROOT / kind).rglob("*"):
                link = self.venv / "share/dm0_ros" / path.relative_to(ROOT)
                if path.is_dir() or "__pycache__" in path.parts or link.is_symlink():
                    continue
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(path)

    def check_rendering(self):
        """MuJoCo draws without a screen through EGL or OSMesa, which are system libraries."""
        if self.stamp("rendering").exists():
            return
        if not self.renders() and shutil.which("apt-get") and os.geteuid() == 0:
            say(f"installing {' '.join(RENDERING_PACKAGES)} (the simulator draws with them)")
            subprocess.run(["apt-get", "-qq", "update"], check=False)
            install = ["apt-get", "-qq", "install", "-y", "--no-install-recommends"]
            subprocess.run([*install, *RENDERING_PACKAGES], check=False)
        if self.renders():
            self.keep("rendering", "done")
        else:
            remedy = f"sudo apt-get install {' '.join(RENDERING_PACKAGES)}"
            say(f"MuJoCo cannot draw here: the simulator will have no cameras. Remedy: {remedy}")

    def renders(self):
        for backend in ("egl", "osmesa"):
            command = ["env", f"MUJOCO_GL={backend}", self.python, "-c", RENDER_A_PICTURE]
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                return True
        return False


def requirements():
    """Dependencies of the package and of the extras that `make env` takes, from setup.cfg."""
    table = configparser.ConfigParser()
    table.read(ROOT / "setup.cfg")
    texts = [table["options"]["install_requires"]]
    texts += [table["options.extras_require"][extra] for extra in EXTRAS]
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


def digest(inputs):
    """One hash over files (name and content) and words."""
    total = hashlib.sha256()
    for item in inputs:
        total.update(str(item).encode())
        total.update(item.read_bytes() if isinstance(item, Path) else b"")
    return total.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--exact", action="store_true", help="insist on the running Python")
    arguments = parser.parse_args()
    venv = Path(os.path.abspath(arguments.venv))
    ros = find_sourced_ros(venv)
    check_machine(ros)
    with open(__file__) as lock:
        # two `make` at once would write into one folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = Environment(venv, ros)
        environment.create(arguments.exact)
        environment.install_packages()
        environment.install_package()
        environment.link_resources()
        environment.check_rendering()


if __name__ == "__main__":
    main()
