# SPDX-License-Identifier: Apache-2.0
"""The `scaffold:` section: what it takes, and what it refuses with file and line."""

import pytest

from dm0_ros.errors import CheckpointError, ScaffoldError
from dm0_ros.robots.parsing import load_yaml
from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.settings import ScaffoldSettings

GOOD = {
    "grammar": "nano",
    "levels": "[subtask, box, trajectory]",
    "view": "high",
    "limit": 120,
    "path_rows": "[9, 19, 49]",
}


def load(folder, **changes):
    path = folder / "scaffold.yaml"
    lines = [f"{key}: {value}" for key, value in {**GOOD, **changes}.items()]
    path.write_text("\n".join(lines))
    return load_yaml(ScaffoldSettings, path, CheckpointError)


def test_a_section_is_read(tmp_path):
    settings = load(tmp_path)
    assert settings.levels == (Level.SUBTASK, Level.BOX, Level.TRAJECTORY)
    assert settings.path_rows == (9, 19, 49) and settings.action_rows == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"levels": "[box]"}, r"yaml:2: levels: the levels box are not the first 1 of subtask"),
        ({"levels": "[]"}, "yaml:2: levels: is empty; name"),
        ({"limit": 0}, "yaml:4: limit: is 0 tokens"),
        ({"path_rows": "[]"}, "yaml:5: path_rows: is empty, but the levels go as far as traj"),
        ({"path_rows": "[9, 9]"}, "yaml:5: path_rows: must rise"),
        ({"path_rows": "[-1, 9]"}, "yaml:5: path_rows: must rise"),
        ({"levels": "[subtask, box, trajectory, action]"}, "action_rows: is empty"),
        ({"levels": "[subtask, song]"}, "'song' is not one of subtask, box"),
    ],
)
def test_contradictions_are_refused_where_they_stand(changes, reason, tmp_path):
    with pytest.raises(CheckpointError, match=reason):
        load(tmp_path, **changes)


def test_rows_that_a_plan_has_not_are_refused(tmp_path):
    settings = load(tmp_path)
    settings.require_rows(50)
    with pytest.raises(
        ScaffoldError, match="path_rows: goes beyond the plan, whose last row is 48"
    ):
        settings.require_rows(49)
