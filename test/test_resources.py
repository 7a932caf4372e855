# SPDX-License-Identifier: Apache-2.0
"""Files that ship with the package are found in the source tree and in an installed prefix."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dm0_ros import resources
from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_config, find_resource, list_resources, resource_folders

ROOT = Path(__file__).resolve().parent.parent


def test_source_tree_comes_first():
    assert find_resource("config", "fastdds.xml") == ROOT / "config/fastdds.xml"
    assert resource_folders("urdf")[0] == ROOT / "urdf"


def test_a_file_of_config_has_a_name_and_others_a_path():
    assert find_config("franka") == ROOT / "config/franka.yaml"
    assert find_config("house", "worlds") == ROOT / "config/worlds/house.yaml"
    assert find_config("mine/house.yaml", "worlds") == Path("mine/house.yaml")
    with pytest.raises(Dm0Error, match=r"No 'worlds/castle\.yaml'"):
        find_config("castle", "worlds")


def test_installed_package_finds_its_share(tmp_path):
    """The module lies in another place than the data, as after `colcon build`."""
    code = tmp_path / "lib/dm0_ros"
    code.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "resources.py"):
        shutil.copy(ROOT / "dm0_ros" / name, code)
    share = tmp_path / "prefix/share/dm0_ros/checkpoints/nano"
    share.mkdir(parents=True)
    program = (
        f"import sys; sys.path.insert(0, {str(code.parent)!r})\n"
        "from dm0_ros.resources import find_resource\n"
        "print(find_resource('checkpoints', 'nano'))"
    )
    environment = {"AMENT_PREFIX_PATH": f"/nowhere:{tmp_path / 'prefix'}"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(share)


def test_missing_resource_names_every_folder_and_what_is_there(monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/somewhere")
    with pytest.raises(Dm0Error) as error:
        find_resource("config", "nosuch.yaml")
    assert "nosuch.yaml" in str(error.value)
    assert str(ROOT / "config") in str(error.value)
    assert "/opt/somewhere/share/dm0_ros/config" in str(error.value)
    assert "fastdds.xml" in str(error.value)


@pytest.mark.parametrize("name", ["../setup.py", "/etc/passwd", "../../etc/passwd"])
def test_names_cannot_leave_the_folder(name):
    with pytest.raises(Dm0Error, match="Looked in"):
        find_resource("config", name)


def test_unknown_kind_is_refused():
    with pytest.raises(Dm0Error, match=r"'configs'.*config"):
        find_resource("configs", "fastdds.xml")


def test_list_is_sorted_and_filtered(tmp_path, monkeypatch):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    folder = tmp_path / "share/dm0_ros/config"
    folder.mkdir(parents=True)
    for name in ("another_robot.yaml", "fastdds.xml", "_draft.yaml"):
        (folder / name).touch()
    listed = list_resources("config", ".xml")
    assert listed.count("fastdds.xml") == 1
    listed = list_resources("config", ".yaml")
    assert "another_robot.yaml" in listed
    assert listed == sorted(listed)
    assert "_draft.yaml" not in listed
    assert set(resources.KINDS) == {"launch", "config", "urdf", "checkpoints"}
