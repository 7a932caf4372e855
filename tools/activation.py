# SPDX-License-Identifier: Apache-2.0
"""Lets `source <venv>/bin/activate` and a bare `<venv>/bin/python` find ROS 2 and our interfaces.

Both also select our Fast DDS profile. Run with the Python of that environment:
`activation.py wheels` where ROS 2 comes from wheels, `activation.py ros` where one is sourced.
"""

import shlex
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / "config/fastdds.xml"
BEGIN, END = "# >>> dm0_ros >>>\n", "# <<< dm0_ros <<<\n"

SHELL = """\
dm0_ros_prepend() {{
    eval "dm0_ros_old=\\${{$1:-}}"
    case ":$dm0_ros_old:" in
        *":$2:"*) ;;
        *) export "$1=$2${{dm0_ros_old:+:$dm0_ros_old}}" ;;
    esac
}}
dm0_ros_prepend AMENT_PREFIX_PATH "$VIRTUAL_ENV"
dm0_ros_prepend CMAKE_PREFIX_PATH "$VIRTUAL_ENV"
dm0_ros_prepend LD_LIBRARY_PATH {libraries}
unset -f dm0_ros_prepend
unset dm0_ros_old
{distribution}if [ -z "${{FASTRTPS_DEFAULT_PROFILES_FILE:-}}" ]; then
    export FASTRTPS_DEFAULT_PROFILES_FILE={profile}
fi
"""
DISTRIBUTION = {"ROS_DISTRO": "jazzy", "ROS_VERSION": "2", "ROS_PYTHON_VERSION": "3"}

STARTUP = '''\
# SPDX-License-Identifier: Apache-2.0
"""Written by tools/activation.py of dm0_ros: what `activate` sets, for a start without it."""

import os
import sys

LIBRARIES = {libraries!r}

os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", {profile!r})
for name, value in {variables!r}.items():
    os.environ.setdefault(name, value)
prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
if sys.prefix not in prefixes:
    os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([sys.prefix, *filter(None, prefixes)])

# The loader reads LD_LIBRARY_PATH once, so Python starts anew when our libraries are not on it.
# The wheels have such a start-up file too; it trusts a mark that children inherit even where the
# path was taken from them, and mixes the order of the path, which a workspace's libraries lead.
paths = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
missing = [path for path in LIBRARIES if path not in paths]
os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
if missing and os.environ.get("_DM0_ROS_STARTED") != str(os.getpid()):
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([*paths, *missing])
    # the mark of this very process: where the loader drops the path, one new start is enough
    os.environ["_DM0_ROS_STARTED"] = str(os.getpid())
    os.execv(sys.executable, sys.orig_argv)
'''


def library_folders(venv):
    """The prefix's own lib, and the folders in which the wheels bring libraries of others."""
    bundled = Path(sysconfig.get_path("platlib")).glob("ros_*.libs")
    return [str(path) for path in (venv / "lib", *sorted(bundled))]


def hook_shell(venv, wheels):
    """(Re)write our block at the end of bin/activate."""
    path = venv / "bin/activate"
    text = path.read_text().split(BEGIN)[0]
    variables = " ".join(f"{name}={value}" for name, value in DISTRIBUTION.items())
    block = SHELL.format(
        libraries=shlex.quote(":".join(library_folders(venv))),
        profile=shlex.quote(str(PROFILE)),
        distribution=f"export {variables}\n" if wheels else "",
    )
    path.write_text(f"{text}{BEGIN}{block}{END}")


def hook_python(venv, wheels):
    """A .pth line runs at every start; it sorts before the wheels' ros_wheels_bootstrapper.pth."""
    site = Path(sysconfig.get_path("purelib"))
    startup = STARTUP.format(
        libraries=library_folders(venv),
        profile=str(PROFILE),
        variables=DISTRIBUTION if wheels else {},
    )
    (site / "_dm0_ros_environment.py").write_text(startup)
    (site / "_dm0_ros_environment.pth").write_text("import _dm0_ros_environment\n")


if __name__ == "__main__":
    hook_shell(Path(sys.prefix), wheels=sys.argv[1] == "wheels")
    hook_python(Path(sys.prefix), wheels=sys.argv[1] == "wheels")
