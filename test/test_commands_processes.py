# SPDX-License-Identifier: Apache-2.0
"""Processes of a graph are watched, and end with it."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from dm0_ros.commands.display import Display
from dm0_ros.commands.processes import Processes
from dm0_ros.errors import Dm0Error
from dm0_ros.replay.episodes import Episode

WAIT = "import sys, time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"


def start(processes, name, code):
    processes.start(name, [sys.executable, "-c", code])


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_process_that_ends_by_itself_is_named_with_its_last_words(tmp_path):
    code = "import sys; [print('line', k) for k in range(40)]; sys.exit(3)"
    with Processes(tmp_path, os.environ) as processes:
        start(processes, "steady", WAIT)
        start(processes, "wheel", code)

        def failed():
            try:
                processes.check()
            except Dm0Error as error:
                return str(error)

        wait_for(failed)
        text = failed()
    assert text.startswith("wheel ended with status 3; it said last:")
    assert "line 39" in text
    assert "line 0\n" not in text


def test_status_of_one_that_runs_and_of_one_that_ended(tmp_path):
    with Processes(tmp_path, os.environ) as processes:
        start(processes, "steady", WAIT)
        start(processes, "wheel", "import sys; sys.exit(3)")
        wait_for(lambda: processes.status("wheel") is not None)
        assert (processes.status("wheel"), processes.status("steady")) == (3, None)


def test_nothing_outlives_the_block(tmp_path):
    with pytest.raises(ZeroDivisionError), Processes(tmp_path, os.environ) as processes:
        start(processes, "one", WAIT)
        start(processes, "two", WAIT)
        pids = [child.pid for child in processes._children.values()]
        _ = 1 / 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_stubborn_process_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("dm0_ros.commands.processes._PATIENCE", 0.5)
    with Processes(tmp_path, os.environ) as processes:
        start(processes, "mule", STUBBORN)
        pid = processes._children["mule"].pid
        processes.stop("mule")
        processes.check()  # one that was ended on request is no failure
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01])
def test_interrupt_while_a_process_is_born_leaves_none(tmp_path, delay):
    """As a person's Ctrl-C: whenever it comes, whatever was started is ended."""
    timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), Processes(tmp_path, os.environ) as processes:
        timer.start()
        for number in range(1000):
            start(processes, f"child {number}", "import time; time.sleep(600)")
    timer.join()
    table = subprocess.run(
        ["ps", "-o", "stat=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    ours = [line for line in table.splitlines() if "time.sleep(600)" in line]
    assert not [line for line in ours if not line.startswith("Z")]


def make_episode(outcome, first, message=""):
    return Episode("tap red", "red", outcome, first, 3.25, 2, 0.0, 3.25, None, message)


def test_without_a_terminal_there_are_plain_lines():
    screen = io.StringIO()
    with Display(2, Console(file=screen, highlight=False, markup=False, width=200)) as display:
        display.begin("1/2 tap red")
        display.detail("3 s, 4 plans")
        display.finish(make_episode("touched", "red"))
        display.finish(make_episode("fault", None, "[joint 3] is stuck"))
    lines = screen.getvalue().splitlines()
    assert lines[0] == "1/2 tap red"
    assert lines[1].split() == ["1/2", "yes", "3.2", "s", "touched", "red", "tap", "red"]
    assert lines[2].endswith("([joint 3] is stuck)")
    assert len(lines) == 3


def test_terminal_shows_what_is_going_on():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, markup=False, width=100)
    with Display(1, console) as display:
        display.begin("waiting for the nodes")
        display.detail("policy")
        display._progress.refresh()
    assert "waiting for the nodes  policy" in screen.getvalue()
