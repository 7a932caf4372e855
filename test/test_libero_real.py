# SPDX-License-Identifier: Apache-2.0
"""LIBERO's own suites: what is missing is named, and what is there is used as LIBERO wants it.

Against a fake of the package (libero_fake); docs/libero.md says what ran with the real one.
"""

import libero_fake
import numpy as np
import pytest

from dm0_ros.libero.contract import REST
from dm0_ros.libero.environment import open_environment
from dm0_ros.libero.errors import LiberoError
from dm0_ros.libero.real import RealEnvironment, read_states


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs the fake, perhaps damaged; gives its folder."""
    yield lambda **changes: libero_fake.install(tmp_path, monkeypatch, **changes)
    libero_fake.uninstall()


def test_an_episode_begins_at_its_initial_state(install):
    install()
    environment = RealEnvironment("libero_spatial", 7)
    assert environment.instructions == tuple(f"do thing {task}" for task in range(10))
    moment = environment.reset(3, 12)
    assert moment.position == pytest.approx(libero_fake.states(3)[12, :3])
    assert environment._simulation.calls == [("seed", 7), ("reset",)]
    assert moment.agentview.shape == (256, 256, 3)
    again = environment.reset(3, 1)
    assert again.position == pytest.approx(libero_fake.states(3)[1, :3])
    assert environment._simulation.calls == [("seed", 7), ("reset",), ("reset",)]
    with pytest.raises(LiberoError, match="there is no episode 50; there are 0 to 49"):
        environment.reset(3, 50)
    environment.close()


def test_actions_are_clipped_and_success_is_liberos(install):
    install()
    environment = RealEnvironment("libero_spatial", 7)
    begin = environment.reset(0, 0).position
    moment, success = environment.step(np.array([9.0, 0, 0, 0, 0, 0, -1]))
    assert moment.position - begin == pytest.approx([0.05, 0, 0])
    assert success is False
    up = REST.copy()
    up[2] = 1.0
    assert any(environment.step(up)[1] for _ in range(30))


def test_without_libero_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(LiberoError, match=r"LIBERO is not installed: .* 'offline' needs nothing"):
        open_environment("libero_goal", 0)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"robosuite": "1.5.2"}, "robosuite 1.5.2 does not fit LIBERO: pip install 'robosuite>=1"),
        ({"mujoco": "4.0.0"}, "mujoco 4.0.0 does not fit LIBERO: pip install 'mujoco>=3.0,<3.9'"),
        ({"mujoco": "3.10.1"}, "mujoco 3.10.1 does not fit"),
    ],
)
def test_versions_that_do_not_fit_are_named(install, versions, message):
    install(versions=versions)
    with pytest.raises(LiberoError, match=message):
        RealEnvironment("libero_spatial", 0)


def test_what_an_installation_lacks_is_named(install, tmp_path, monkeypatch):
    package = install()
    with pytest.raises(LiberoError, match="the installed LIBERO has no suite 'libero_goal'"):
        RealEnvironment("libero_goal", 0)
    (package / "assets" / "scenes").rmdir()
    with pytest.raises(LiberoError, match=r"assets are not in .*/libero/libero/assets"):
        RealEnvironment("libero_spatial", 0)
    config = tmp_path / "config.yaml"
    config.write_text("bddl_files: /nowhere\ninit_states: /nowhere\n")
    with pytest.raises(LiberoError, match=r"bddl_files lie in /nowhere.* no such folder"):
        (package / "assets" / "scenes").mkdir()
        RealEnvironment("libero_spatial", 0)
    for text, reason in (("bddl_files: [1]", "lacks one of"), ("{", "is no YAML")):
        config.write_text(text)
        with pytest.raises(LiberoError, match=reason):
            RealEnvironment("libero_spatial", 0)
    config.unlink()
    with pytest.raises(LiberoError, match=r"config.yaml is missing(.|\n)*bddl_files: "):
        RealEnvironment("libero_spatial", 0)


def test_another_package_of_that_name_is_named(tmp_path, monkeypatch):
    (tmp_path / "libero").mkdir()
    (tmp_path / "libero" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    libero_fake.uninstall()
    with pytest.raises(LiberoError, match="is not the LIBERO benchmark: uninstall it"):
        RealEnvironment("libero_spatial", 0)


def test_another_number_of_tasks_is_no_libero(install):
    install(tasks=9)
    with pytest.raises(LiberoError, match="has 9 tasks in libero_spatial, not 10"):
        RealEnvironment("libero_spatial", 0)


class Evil:
    """What a pickle must not be able to build."""

    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(Evil(), "holds no initial states"), ({"a": 1}, "holds no table of numbers")],
)
def test_initial_states_are_read_without_unpickling(tmp_path, content, reason, capsys):
    path = tmp_path / "states.pruned_init"
    libero_fake.write_states(path, content)
    with pytest.raises(LiberoError, match=reason):
        read_states(path)
    assert capsys.readouterr().out == ""


def test_broken_initial_states_are_named(tmp_path):
    path = tmp_path / "states.pruned_init"
    with pytest.raises(LiberoError, match="is missing"):
        read_states(path)
    path.write_bytes(b"nothing")
    with pytest.raises(LiberoError, match="holds no initial states"):
        read_states(path)


def test_another_edition_is_noticed(install):
    install()
    environment = RealEnvironment("libero_spatial", 0)
    environment.reset(0, 0)
    look = type(environment._simulation).look
    shown = look(environment._simulation)
    for changes, reason in (
        ({"agentview_image": np.zeros((128, 128, 3), np.uint8)}, r"agentview_image is \(128"),
        ({"robot0_gripper_qpos": np.zeros(6)}, r"robot0_gripper_qpos is \(6,\)"),
    ):
        environment._simulation.look = lambda changes=changes: {**shown, **changes}
        with pytest.raises(LiberoError, match=reason):
            environment.reset(0, 0)
    del shown["robot0_eef_quat"]
    environment._simulation.look = lambda: shown
    with pytest.raises(LiberoError, match="shows no robot0_eef_quat"):
        environment.step(REST)
