# SPDX-License-Identifier: Apache-2.0
"""The description of the graph, and that every way to start it says the same."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dm0_ros import bringup
from dm0_ros.commands import live_replay
from dm0_ros.commands.replay import replay
from dm0_ros.commands.up import Follower, up
from dm0_ros.errors import Dm0Error
from dm0_ros.resources import find_resource, list_resources

ROOT = Path(__file__).resolve().parents[1]


def by_name(robot="franka", **chosen):
    return {process.name: process for process in bringup.describe(robot, **chosen)}


def test_real_robot_has_no_simulator():
    graph = by_name()
    assert set(graph) == {"executor", "policy", "overlay"}
    assert graph["policy"].lifecycle and graph["executor"].lifecycle
    assert not graph["overlay"].lifecycle


def test_simulation_adds_one_process_and_tells_those_that_count_on_latencies():
    real, simulated = by_name(), by_name(sim="true", seed="7")
    assert set(simulated) - set(real) == {"simulator"}
    assert simulated["simulator"].parameters["seed"] == 7
    changed = {name for name in real if simulated[name] != real[name]}
    assert changed == {"executor", "policy"}
    for name in changed:
        assert {**real[name].parameters, "simulated": True} == simulated[name].parameters


def test_recorder_comes_first_where_it_is_wanted():
    assert "recorder" not in by_name(bag="there")
    graph = bringup.describe("wiring/franka_trajectory", record="true", sim="true")
    assert graph[0].name == "recorder" and not graph[0].lifecycle
    assert re.fullmatch(
        r"bags/franka_trajectory_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", graph[0].parameters["path"]
    )
    chosen = by_name("mobile_base", record="true", bag="there")["recorder"].parameters
    assert chosen == {"path": "there", "robot": "mobile_base", "actions": True}


def test_a_robot_of_foreign_drivers_gets_its_adapter():
    real = by_name("wiring/aloha_piper")
    assert set(real) == {"adapter", "executor", "policy", "overlay"}
    assert real["adapter"].parameters["robot"] == "wiring/aloha_piper"
    assert "adapter" not in by_name("wiring/aloha_piper", sim="true")
    with pytest.raises(Dm0Error, match="No 'nobody"):
        by_name("nobody")


def test_a_base_has_a_navigator_that_is_judged_in_simulation_alone():
    real = by_name("mobile_base", checkpoint="/some/where", autostart="false")
    assert set(real) == {"navigator"} and real["navigator"].lifecycle
    assert real["navigator"].parameters["checkpoint"] == "/some/where"
    assert real["navigator"].parameters["autostart"] is False
    assert "house" not in real["navigator"].parameters
    simulated = by_name("mobile_base", sim="true", seed="3", compressed="true")
    assert set(simulated) == {"house_simulator", "navigator"}
    assert simulated["navigator"].parameters["house"] == "house"
    assert simulated["house_simulator"].parameters["seed"] == 3
    for process in simulated.values():
        assert process.parameters["compressed"] is True
    other = by_name("mobile_base", sim="true", world="other")
    assert other["house_simulator"].parameters["world"] == "other"
    assert other["navigator"].parameters["house"] == "other"
    scene = by_name("mobile_base", sim="true", world="habitat:/data/scene.glb")
    assert scene["house_simulator"].parameters["world"] == "habitat:/data/scene.glb"
    assert "house" not in scene["navigator"].parameters


def test_arms_on_a_base_have_what_arms_have():
    assert set(by_name("mobile_aloha")) == set(by_name())
    assert set(by_name("mobile_aloha_holonomic", sim="true")) == set(by_name(sim="true"))


def test_choices_reach_the_nodes_that_they_concern():
    chosen = {"checkpoint": "/some/where", "device": "cuda", "compressed": "true"}
    path = str(find_resource("config", "franka.yaml"))
    graph = by_name(path, sim="true", autostart="false", world="three_blocks", **chosen)
    assert {p.parameters["robot"] for p in graph.values()} == {path}
    assert graph["simulator"].parameters["world"] == "three_blocks"
    assert graph["policy"].parameters["checkpoint"] == "/some/where"
    assert graph["policy"].parameters["device"] == "cuda"
    for name in ("policy", "overlay", "simulator"):
        assert graph[name].parameters["compressed"] is True
    for name in ("policy", "executor"):
        assert graph[name].parameters["autostart"] is False
    assert "overlay" not in by_name(overlay="false")


def test_simulated_time_has_one_source():
    graph = by_name(sim="true", use_sim_time="true")
    assert graph["simulator"].parameters["publish_clock"] is True
    assert graph["simulator"].parameters["use_sim_time"] is False
    others = [process for name, process in graph.items() if name != "simulator"]
    assert all(process.parameters["use_sim_time"] is True for process in others)


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"sim": "maybe"}, "sim.*'maybe'.*true, false"),
        ({"log_level": "loud"}, "log_level.*'loud'"),
        ({"simulate": "true"}, "simulate.*sim, checkpoint"),
        ({"seed": "seven", "sim": "true"}, "seed.*'seven'"),
    ],
)
def test_wrong_choices_are_named(chosen, sentence):
    with pytest.raises(Dm0Error, match=sentence):
        bringup.describe("franka", **chosen)


def test_command_line_of_a_process():
    chosen = {"namespace": "left/", "params_file": "/p.yaml", "log_level": "debug"}
    process = by_name("panda", **chosen)["executor"]
    line = bringup.command(process, **chosen)
    assert line[:4] == [sys.executable, "-m", "dm0_ros.nodes.executor", "--ros-args"]
    text = " ".join(line)
    assert "-p robot:=panda" in text and "-p autostart:=true" in text
    assert "-r __ns:=/left " in text and "--log-level debug" in text
    # What is chosen on the command line wins over the file.
    assert text.index("--params-file /p.yaml") < text.index("-p robot")


def test_an_empty_text_is_one_for_ros_too():
    """Without quotes rcl refuses the whole command line."""
    chosen = {"sim": "true", "world": ""}
    line = bringup.command(by_name(**chosen)["simulator"], **chosen)
    assert "world:=''" in line and not [word for word in line if word.endswith(":=")]


def test_environment_is_only_added_to(monkeypatch):
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    added = bringup.environment()
    assert Path(added["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()
    assert "OMP_WAIT_POLICY" not in added


def test_every_described_process_is_a_node_of_the_package():
    processes = [
        *bringup.describe("franka", sim="true"),
        *bringup.describe("mobile_base", sim="true"),
        *bringup.describe_replay("there", LIKE),
    ]
    for process in processes:
        assert (ROOT / "dm0_ros/nodes" / f"{process.name}.py").is_file()


def test_dm0_up_has_every_argument_and_default():
    given = {
        name: parameter.default
        for name, parameter in inspect.signature(up).parameters.items()
        if name != "robot"
    }
    texts = {n: str(v).lower() if isinstance(v, bool) else str(v) for n, v in given.items()}
    assert texts == bringup.defaults()


def test_launch_files_say_nothing_of_their_own():
    files = sorted((ROOT / "launch").glob("*.launch.py"))
    assert {path.name for path in files} >= {"franka.launch.py", "panda.launch.py"}
    for path in files:
        source = path.read_text()
        assert re.search(r"describe_(replay_)?launch\(", source) and len(source.splitlines()) < 15
        assert path.name.removesuffix(".launch.py") in source


def test_every_robot_has_a_launch_file():
    files = sorted((ROOT / "launch").glob("*.launch.py"))
    offered = [re.findall(r'"(\w+)"', path.read_text().partition("robots=")[2]) for path in files]
    robots = {name.removesuffix(".yaml") for name in list_resources("config", ".yaml")}
    assert {name for names in offered for name in names} >= robots - {"checkpoints"}


LIKE = SimpleNamespace(
    robot="franka",
    simulated=True,
    compressed=True,
    policy={"checkpoint": "mine", "seed": 3},
)


def by_name_of_replay(like=LIKE, **chosen):
    return {process.name: process for process in bringup.describe_replay("there", like, **chosen)}


def test_a_replay_has_the_recorded_graph_in_simulated_time_and_one_clock():
    graph = by_name_of_replay(device="cuda", rate="0.5", recorded="true")
    assert list(graph) == ["player", "executor", "policy", "overlay"]
    player = graph.pop("player").parameters
    assert player["bag"] == "there" and player["rate"] == 0.5 and player["recorded"] is True
    assert "use_sim_time" not in player
    for process in graph.values():
        assert process.parameters["use_sim_time"] is True
        assert process.remaps["/tf"] == "tf" and process.remaps["/diagnostics"] == "diagnostics"
    policy = graph["policy"].parameters
    expected = {"checkpoint": "mine", "seed": 3, "device": "cuda", "simulated": True}
    assert expected.items() <= policy.items() and policy["compressed"] is True
    assert graph["executor"].parameters["autostart"] is True
    assert "overlay" not in by_name_of_replay(overlay="false")


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"into": "/"}, "into: a replay has a namespace of its own"),
        ({"rate": "fast"}, "rate is 'fast'; give a number"),
        ({"overlay": "maybe"}, "overlay.*'maybe'"),
        ({"sim": "true"}, "no argument sim"),
    ],
)
def test_a_replay_that_could_reach_a_robot_or_makes_no_sense_is_refused(chosen, sentence):
    with pytest.raises(Dm0Error, match=sentence):
        by_name_of_replay(**chosen)


def test_a_robot_whose_commands_no_namespace_keeps_is_refused(tmp_path):
    text = find_resource("config", "franka.yaml").read_text()
    path = tmp_path / "wide.yaml"
    path.write_text(text.replace("topic: gripper_controller", "topic: /gripper_controller"))
    like = SimpleNamespace(**{**vars(LIKE), "robot": str(path)})
    with pytest.raises(Dm0Error, match="/gripper_controller/commands begins with a slash"):
        by_name_of_replay(like)


def test_dm0_replay_live_has_every_argument_of_the_launch_file(monkeypatch):
    found = {}
    monkeypatch.setattr(live_replay, "play", lambda bag, **chosen: found.update(chosen))
    replay(Path("there"), live=True)
    expected = bringup.defaults(bringup.REPLAY_ARGUMENTS)
    del expected["log_level"]
    assert found == expected
    with pytest.raises(Dm0Error, match=r"--latency.*without --live"):
        replay(Path("there"), live=True, latency="0")


def test_bringup_needs_no_ros():
    code = "import sys, dm0_ros.bringup, dm0_ros.commands.up; sys.exit('rclpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_follower_shows_whole_lines_once(tmp_path, capsys):
    log = tmp_path / "policy.log"
    follower = Follower("policy", log)
    follower.show()
    with log.open("a") as file:
        file.write("one\ntw")
        file.flush()
        follower.show()
        file.write("o\n")
        file.flush()
        follower.show()
        follower.show()
    assert capsys.readouterr().out == "   policy | one\n   policy | two\n"
