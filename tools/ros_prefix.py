# SPDX-License-Identifier: Apache-2.0
"""Makes a virtual environment with the ROS 2 wheels a ROS prefix, as /opt/ros/jazzy is one.

1. The CMake exports of the wheels name folders of the machine that built them; they get ours.
2. `setup.bash` and its relatives, which colcon and people source, are written from ament's
   templates.

Run with the Python of that environment. Doing it twice changes nothing.
"""

import os
import re
import sys
import sysconfig
from pathlib import Path

import numpy
from ament_package import templates

EXPORTS = "share/*/cmake/export_*__rosidl_generator_pyExport.cmake"
ROS_VARIABLES = "\nexport ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3\n"


def correct_exports(prefix):
    base = {"base": sys.base_prefix, "installed_base": sys.base_prefix}
    corrections = {
        r"/opt/python/cp\d+-cp\d+/include/python[\d.]+": sysconfig.get_path("include", vars=base),
        r"/opt/python/cp\d+-cp\d+/lib/python[\d.]+/site-packages/numpy/_?core/include": (
            numpy.get_include()
        ),
    }
    for path in prefix.glob(EXPORTS):
        old = new = path.read_text()
        for pattern, folder in corrections.items():
            new = re.sub(pattern, lambda _, folder=folder: folder, new)
        if new != old:
            # a new file, for the old one may share its content with an installer's cache
            written = path.with_suffix(".new")
            written.write_text(new)
            os.replace(written, path)


def write_setup_files(prefix):
    settings = {
        "CMAKE_INSTALL_PREFIX": str(prefix),
        # the base interpreter: the wheels make the environment's own one start anew with a longer
        # LD_LIBRARY_PATH, and ament's helper would then take that for the shell's
        "ament_package_PYTHON_EXECUTABLE": getattr(sys, "_base_executable", sys.executable),
        "SKIP_PARENT_PREFIX_PATH": "1",
    }
    for name in templates.get_prefix_level_template_names():
        source = str(templates.get_prefix_level_template_path(name))
        text = (
            templates.configure_file(source, settings)
            if name.endswith(".in")
            else Path(source).read_text()
        )
        if name.startswith("setup.sh"):
            text += ROS_VARIABLES
        (prefix / name.removesuffix(".in")).write_text(text)


if __name__ == "__main__":
    correct_exports(Path(sys.prefix))
    write_setup_files(Path(sys.prefix))
