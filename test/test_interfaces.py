# SPDX-License-Identifier: Apache-2.0
"""The contract with other programs: fields may be added, not renamed or retyped."""

import pytest

from dm0_ros.action import ExecuteInstruction
from dm0_ros.msg import ActionChunk, ExecutorStatus, SpatialScaffold

HEADER = "std_msgs/Header"
DURATION = "builtin_interfaces/Duration"
FIELDS = [
    (
        ActionChunk,
        {
            "header": HEADER,
            "start": "builtin_interfaces/Time",
            "step": DURATION,
            "sequence": "uint64",
            "epoch": "uint32",
            "space": "uint8",
            "names": "sequence<string>",
            "rows": "uint32",
            "values": "sequence<double>",
            "progress": "float",
            "instruction": "string",
            "policy": "string",
            "latency_ms": "float[4]",
        },
    ),
    (
        SpatialScaffold,
        {
            "header": HEADER,
            "view": "string",
            "width": "uint32",
            "height": "uint32",
            "subtask": "string",
            "box": "float[4]",
            "trajectory": "sequence<float>",
            "action_tokens": "sequence<uint16>",
            "text": "string",
            "valid": "boolean",
            "error": "string",
        },
    ),
    (
        ExecutorStatus,
        {
            "header": HEADER,
            "state": "uint8",
            "reason": "string",
            "needs_reset": "boolean",
            "epoch": "uint32",
            "sequence": "uint64",
            "time_left": "double",
            "observation_age": "double",
            "seam": "double",
            "limited": "sequence<string>",
            "dropped": "uint32",
            "period_p99": "double",
        },
    ),
    (ExecuteInstruction.Goal, {"instruction": "string", "time_limit": DURATION}),
    (
        ExecuteInstruction.Result,
        {"outcome": "uint8", "message": "string", "progress": "float", "plans": "uint32"},
    ),
    (
        ExecuteInstruction.Feedback,
        {"progress": "float", "subtask": "string", "plans": "uint32", "elapsed": DURATION},
    ),
]
CONSTANTS = [
    (ActionChunk, ["JOINT_POSITION", "EEF_POSE", "BASE_TWIST"]),
    (ExecutorStatus, ["IDLE", "APPROACH", "EXECUTING", "STARVED", "HOLD", "FAULT"]),
    (
        ExecuteInstruction.Result,
        ["SUCCEEDED", "TIME_LIMIT", "CANCELLED", "FAULT", "REJECTED"],
    ),
]


@pytest.mark.parametrize(("kind", "fields"), FIELDS, ids=lambda p: getattr(p, "__name__", ""))
def test_fields_have_their_names_and_types(kind, fields):
    found = kind.get_fields_and_field_types()
    assert {name: found.get(name) for name in fields} == fields


@pytest.mark.parametrize(("kind", "names"), CONSTANTS, ids=lambda p: getattr(p, "__name__", ""))
def test_constants_count_from_zero(kind, names):
    assert [getattr(kind, name) for name in names] == list(range(len(names)))
