# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.cfg, constraints.txt and the code agree with each other."""

import ast
import configparser
import re
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = {"sim", "bags", "view", "train", "cluster", "gpu", "test"}
INSTALLED = ("sim", "bags", "train", "cluster", "test")  # by `make env`

# rosdep's name for each of our requirements; None: rosdep knows none (in August 2026), pip only
ROSDEP = {
    "huggingface-hub": "python3-huggingface-hub-pip",
    "hypothesis": "python3-hypothesis",
    "matplotlib": "python3-matplotlib",
    "mujoco": "python3-mujoco-pip",
    "numpy": "python3-numpy",
    "opencv-python-headless": "python3-opencv",
    "pillow": "python3-pil",
    "pin": "pinocchio",
    "pytest": "python3-pytest",
    "pyyaml": "python3-yaml",
    "rich": "python3-rich",
    "rosbags": "python3-rosbags-pip",
    "ruckig": None,  # ROS distributes the C++ library alone
    "safetensors": None,
    "tokenizers": None,
    "torch": "python3-torch",
    "transformers": "python3-transformers-pip",
    "typer": "python3-typer",
    "xacro": "xacro",
}
# what `import` calls a distribution, where the metadata of installed packages does not say it
DISTRIBUTION = {
    "pinocchio": "pin",
    "rerun": "rerun-sdk",
    "rerun_cli": "rerun-sdk",
    "cv2": "opencv-python-headless",
}
# imported late, and used where they are installed
OPTIONAL = {"cv_bridge", "tf2_ros", "control_msgs", "nav2_msgs", "vision_msgs", "rosbag2_py"}
ROS_IMPORT = re.compile(r"rclpy|rcl_interfaces|launch|launch_ros|\w+_msgs|\w+_srvs|\w+_interfaces")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def manifest():
    return parse_package(str(ROOT / "package.xml"))


@pytest.fixture(scope="module")
def metadata():
    table = configparser.ConfigParser()
    table.read(ROOT / "setup.cfg")
    return table


def requirements(text):
    return [Requirement(line) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def core(metadata):
    return requirements(metadata["options"]["install_requires"])


@pytest.fixture(scope="module")
def extras(metadata):
    return {k: requirements(v) for k, v in metadata["options.extras_require"].items()}


def imports_of(folder):
    """Top-level names of everything that is imported below `folder`, and from where."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], path.relative_to(ROOT).as_posix())
    return found


def test_manifest_is_valid(manifest):
    warnings = []
    manifest.validate(warnings=warnings)
    assert not warnings
    assert manifest.package_format == 3
    assert manifest.get_build_type() == "ament_python"
    assert [group.name for group in manifest.member_of_groups] == ["rosidl_interface_packages"]


@pytest.mark.parametrize("path", ["package.xml", "config/fastdds.xml"])
def test_xml_is_well_formed(path):
    ElementTree.parse(ROOT / path)


def test_names_and_versions_agree(manifest, metadata):
    assert manifest.name == metadata["metadata"]["name"] == "dm0_ros"
    assert manifest.version == metadata["metadata"]["version"]
    assert version("dm0_ros") == manifest.version
    assert manifest.licenses == [metadata["metadata"]["license"]] == ["Apache-2.0"]
    assert manifest.description == metadata["metadata"]["description"]
    assert (ROOT / "resource" / manifest.name).is_file()


def test_changelog_is_one_that_catkin_reads():
    text = (ROOT / "CHANGELOG.rst").read_text()
    title, *_ = re.findall(r"^\^+\n(.+)\n\^+\n", text)
    assert title == "Changelog for package dm0_ros"
    assert "\nForthcoming\n-----------\n* " in text


def test_every_requirement_has_bounds_and_a_pin_within(core, extras):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert set(extras) == EXTRAS
    for requirement in [*core, *(r for extra in INSTALLED for r in extras[extra])]:
        pin = pins[normal(requirement.name)].split(";")[0].strip()
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, f"{requirement} is not bounded on both sides"
        assert requirement.specifier.contains(pin), f"{requirement} excludes {pin}"


def test_ros_wheels_are_pinned():
    lines = (ROOT / "requirements-ros.txt").read_text().splitlines()
    names = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    pins = (ROOT / "constraints.txt").read_text()
    assert "ros-jazzy-rclpy" in names
    for name in names:
        assert re.search(rf"^{name}==", pins, re.M), f"{name} has no pin in constraints.txt"


def test_manifest_names_what_rosdep_can_install(manifest, core, extras):
    run = {d.name for d in manifest.exec_depends}
    test = {d.name for d in manifest.test_depends}
    for requirement in core:
        key = ROSDEP[normal(requirement.name)]
        assert key is None or key in run, f"package.xml lacks {key} for {requirement}"
    keys = {ROSDEP.get(normal(r.name)) for e in INSTALLED for r in extras[e]}
    assert keys - {None} <= run | test


def test_manifest_names_every_ros_package_in_use(manifest):
    declared = {d.name for d in [*manifest.exec_depends, *manifest.test_depends]}
    used = {**imports_of(ROOT / "dm0_ros"), **imports_of(ROOT / "launch")}
    used = {name: path for name, path in used.items() if ROS_IMPORT.fullmatch(name)}
    assert "rclpy" in used
    missing = {n: p for n, p in used.items() if n not in declared | OPTIONAL}
    assert not missing, f"package.xml lacks {missing}"


def test_requirements_name_every_package_in_use(core, extras):
    known = packages_distributions()
    declared = {normal(r.name) for r in [*core, *(r for e in extras.values() for r in e)]}
    for name, path in imports_of(ROOT / "dm0_ros").items():
        if name in sys.stdlib_module_names or name == "dm0_ros" or name in OPTIONAL:
            continue
        if ROS_IMPORT.fullmatch(name) or name.startswith(("ament_", "rosidl_")):
            continue
        candidates = {normal(d) for d in known.get(name, [DISTRIBUTION.get(name, name)])}
        candidates.add(normal(DISTRIBUTION.get(name, name)))
        assert candidates & declared, f"{path} imports {name}, which setup.cfg does not name"


def test_entry_points_name_existing_functions(metadata):
    scripts = metadata["options.entry_points"]["console_scripts"].split("\n")
    scripts = [line.split("=") for line in scripts if line.strip()]
    names = {name.strip(): target.strip() for name, target in scripts}
    assert {"dm0", "policy", "executor", "overlay", "simulator"} <= set(names)
    for target in names.values():
        module, function = target.split(":")
        source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
        defined = {n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}
        assert function in defined, f"{target} does not exist"
