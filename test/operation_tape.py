# SPDX-License-Identifier: Apache-2.0
"""A stand-in for CUDA graphs on the CPU: the operations of an action, recorded and run again.

Like a graph it sees tensor operations only. Whatever the host did in between (a number read from a
tensor, a branch, a fresh array) is frozen into the tape, so an action that depends on such things
gives stale answers here too.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, outputs))
        return outputs


def record_on_tape(action, warm_ups=3):
    """Runs `action` as a capture does, warm-ups first, and gives a function that replays it."""
    for _ in range(warm_ups):
        action()
    with _Recorder() as recorder:
        action()

    def replay():
        for function, args, kwargs, outputs in recorder.operations:
            fresh = tree_flatten(function(*args, **kwargs))[0]
            for old, new in zip(tree_flatten(outputs)[0], fresh, strict=True):
                # views and in-place results are the recorded tensors already
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    return replay
