# SPDX-License-Identifier: Apache-2.0
"""`dm0 view` of a running graph: what is published is found again in the file that it leaves."""

import signal
import socket
import sys
from collections import Counter

import numpy as np
import pytest
from sensors import Sensors
from std_msgs.msg import Float64MultiArray

from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold
from dm0_ros.nodes.messages import chunk_from_plan
from dm0_ros.nodes.quality import COMMAND, STATUS
from dm0_ros.nodes.stamps import read_clock, to_time
from dm0_ros.policy.protocol import Latency, Plan
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import Space

SPEC = load_robot("franka")
VIEW = "right_hand"


def run_view(graph, *words):
    pytest.importorskip("rerun")
    return graph.run(sys.executable, "-m", "dm0_ros.cli", "view", "franka", *map(str, words))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_plan(now):
    rows = np.tile([SPEC.home[name] for name in SPEC.column_names], (20, 1))
    latency = Latency(1.0, 2.0, 3.0, 4.0)
    return Plan(now, 0.5, Space.JOINT_POSITION, SPEC.column_names, rows, float("nan"), latency)


def speak(graph):
    """Publish what a graph says, over and over; the topics that are left to subscribe."""
    now = to_time(read_clock(graph.node.get_clock()))
    make = graph.node.create_publisher
    chunk = chunk_from_plan(make_plan(read_clock(graph.node.get_clock())))
    status = ExecutorStatus(state=ExecutorStatus.EXECUTING, reason="following plan 1")
    scaffold = SpatialScaffold(view=VIEW, width=32, height=32, subtask="reach", valid=True)
    scaffold.box, scaffold.trajectory = [1.0, 2.0, 8.0, 9.0], [1.0, 2.0, 3.0, 4.0]
    for message in (chunk, status, scaffold):
        message.header.stamp = now
    command = Float64MultiArray(data=[SPEC.home[name] for name in SPEC.sinks[0].names])
    spoken = [
        (make(ActionChunk, "action_chunk", COMMAND), chunk),
        (make(ExecutorStatus, "executor_status", STATUS), status),
        (make(SpatialScaffold, "scaffold", COMMAND), scaffold),
        (make(Float64MultiArray, SPEC.sinks[0].topic, COMMAND), command),
    ]

    def publish():
        for publisher, message in spoken:
            publisher.publish(message)

    graph.node.create_timer(0.1, publish)
    return [publisher for publisher, _ in spoken]


def test_live_graph_into_a_file(graph, tmp_path):
    file = tmp_path / "live.rrd"
    Sensors(graph, SPEC)
    view = run_view(graph, "--save", file)
    publishers = speak(graph)
    graph.wait(lambda: all(p.get_subscription_count() for p in publishers), "a listener")
    topics = ["joint_states", *(f"camera/{slot}/image_raw" for slot in SPEC.camera_slots)]
    graph.wait(lambda: all(map(graph.node.count_subscribers, topics)), "a listener of the robot")
    before = file.stat().st_size  # the arrangement of the windows
    graph.wait(lambda: file.stat().st_size > before + 300_000, "a file that grows")
    assert view.end(signal.SIGINT) == 0
    assert "Traceback" not in view.output and "rerun " + str(file) in view.output
    from rerun.chunk import RrdReader

    rows = Counter()
    for chunk in RrdReader(file).stream():
        rows[chunk.entity_path.strip("/")] += chunk.num_rows
    expected = {f"camera/{slot}" for slot in SPEC.camera_slots}
    expected |= {f"camera/{VIEW}/plan", f"camera/{VIEW}/scaffold/goal", "scaffold", "log"}
    expected |= {f"camera/{VIEW}/scaffold/path", "executor/state", "latency/reasoning"}
    expected |= {f"joints/{name}/measured" for name in SPEC.column_names}
    expected |= {f"joints/{name}/plan" for name in SPEC.column_names}
    expected |= {f"joints/{name}/command" for name in SPEC.sinks[0].names}
    assert expected <= set(rows), expected - set(rows)
    assert min(rows[entity] for entity in expected) >= 1


def test_web_page_on_this_machine_alone(graph):
    port, web_port = free_port(), free_port()
    view = run_view(graph, "--web", "--port", port, "--web-port", web_port)
    page = f"http://127.0.0.1:{web_port}?url="
    graph.wait(lambda: page in view.output, "the page's address")
    with socket.create_connection(("127.0.0.1", web_port)) as browser:
        browser.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert browser.recv(1000).startswith(b"HTTP/1.")
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with socket.socket() as probe:
            assert probe.connect_ex((own, port)) and probe.connect_ex((own, web_port))
    taken = run_view(graph, "--web", "--port", port, "--web-port", web_port)
    assert taken.wait() == 1 and f"port {port} is taken" in taken.output
    assert view.end(signal.SIGTERM) in (0, 143)
    assert "Traceback" not in view.output
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", web_port)), "rerun goes with the command"
