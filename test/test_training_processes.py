# SPDX-License-Identifier: Apache-2.0
"""Two processes under torchrun train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hybrid_samples import tiny_recipe, tiny_trainer

from dm0_ros.training.processes import Processes

PROGRAM = Path(__file__).with_name("hybrid_run.py")
# In float32, for weight gradients that are summed over a batch in bfloat16 have two digits. And
# with a large epsilon: with its usual one Adam makes a whole step of any gradient, also of one
# that is nothing but rounding (that of a key's bias is zero by nature), and equal runs part ways.
SETTINGS = {"epsilon": 0.01, "learning_rate": 0.02, "warm_up": 0.0}
SETTINGS |= {"steps": 6, "save_every": 3, "batch": 4, "outline_rows": [1, 4], "recompute": True}
CLOSE = 5e-6  # measured: 2e-7, the last digit of float32


def train(folder, processes, *arguments):
    """Losses of a run of that many processes on this machine."""
    folder.mkdir(exist_ok=True)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        launcher += ["--nproc-per-node", str(processes)]
    command = [*launcher, str(PROGRAM), str(folder), "--exact", "--settings", json.dumps(SETTINGS)]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_close(found, expected):
    assert set(found) == set(expected) == {"text", "flow", "outline"}
    for name, losses in expected.items():
        assert len(found[name]) == SETTINGS["steps"]
        np.testing.assert_allclose(found[name], losses, rtol=CLOSE, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "alone"
    return folder, train(folder, 1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "together"
    return folder, train(folder, 2)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(alone, together):
    check_close(together[1], alone[1])
    # The losses did move: a network that stood still would pass as well.
    assert alone[1]["text"][-1] < 0.95 * alone[1]["text"][0]
    nets = [torch.load(folder / "network.pt") for folder, _ in (alone, together)]
    for name, weights in nets[0].items():
        torch.testing.assert_close(nets[1][name], weights, rtol=0, atol=1e-4, msg=name)


@pytest.mark.slow
def test_a_step_with_one_text_weighs_it_as_one_process_does(tmp_path):
    """Fewer samples that count than processes: the others have none to add. In the first step
    only one text of twelve is learnt."""
    rare = ("--stale", "0.95")
    one, two = (train(tmp_path / str(count), count, *rare) for count in (1, 2))
    check_close(two, one)


@pytest.mark.slow
def test_a_state_of_two_processes_is_one_of_one_process(alone, together):
    states = [
        torch.load(folder / "state.pt", weights_only=True) for folder, _ in (alone, together)
    ]
    assert states[0].keys() == states[1].keys()
    assert states[0]["objective"].keys() == states[1]["objective"].keys()
    for number, parts in states[0]["optimiser"]["state"].items():
        for key, part in parts.items():
            assert states[1]["optimiser"]["state"][number][key].shape == part.shape


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(processes, alone, tmp_path):
    first, then = processes
    folder = tmp_path / "run"
    begun = train(folder, first, "--until", "3")
    assert len(begun["text"]) == 3
    found = train(folder, then)
    check_close(found, alone[1])


def test_alone_nothing_is_split_and_nothing_is_copied(tmp_path):
    processes = Processes()
    trainer = tiny_trainer(tmp_path, tiny_recipe(), processes)
    state = trainer.objective.state_dict()
    assert processes.gather(state) is state and processes.scatter(state, None) is state
    number = torch.ones(2)
    assert processes.add(number) is number and processes.leads
    assert list(range(6))[processes.share(6)] == list(range(6))
    processes.wait()
