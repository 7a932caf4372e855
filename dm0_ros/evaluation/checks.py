# SPDX-License-Identifier: Apache-2.0
"""What can be said against an evaluation before anything is replayed: names that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dm0_ros.errors import Dm0Error
from dm0_ros.model.config import read_config
from dm0_ros.policy.normalisation import load_stats
from dm0_ros.policy.proprioception import Proprioception
from dm0_ros.policy.registry import find_checkpoint
from dm0_ros.policy.settings import PolicySettings
from dm0_ros.replay.bag import read_messages
from dm0_ros.replay.layout import JOINTS, Layout, find_layout
from dm0_ros.replay.run import Subject, Wishes
from dm0_ros.robots.layouts import BASE_COLUMNS
from dm0_ros.robots.loading import load_robot
from dm0_ros.robots.spec import RobotSpec


def check_bag(bag: Path, wishes: Wishes) -> None:
    """Raises `Dm0Error` where a checkpoint's columns are not those of the robot that was recorded.

    Neither loads a network nor reads more of the bag than its first joint states. What nobody
    chose and the bag does not say is left to `prepare`.
    """
    layout = find_layout(bag, wishes.namespace)
    facts = layout.read_facts()
    robot_name = wishes.robot or (facts.robot if facts else "")
    checkpoint = wishes.checkpoint or (facts.checkpoint if facts else "")
    if not robot_name or not checkpoint:
        return
    robot = load_robot(robot_name)
    settings = find_checkpoint(checkpoint, robot.name).load_settings()
    columns = settings.layout_of(robot).columns
    _check_columns(layout, robot, settings, columns)
    layout.find_cameras(settings.used_slots, facts is not None and facts.compressed)


def _check_columns(
    layout: Layout, robot: RobotSpec, settings: PolicySettings, columns: tuple[str, ...]
) -> None:
    told = [name for name in columns if name not in BASE_COLUMNS]
    if not told:
        raise Dm0Error(
            f"{settings.name} plans {', '.join(columns)} only, the velocity of a base: there is "
            "no evaluation of those; 'dm0 eval objectnav' judges bases"
        )
    needed = Proprioception(told, robot).measured
    layout.require(JOINTS)
    first = next(read_messages(layout.path, [layout.name(JOINTS)])).content
    missing = [name for name in needed if name not in first.name]
    if missing:
        raise Dm0Error(
            f"{layout.path}: its {layout.name(JOINTS)} has {', '.join(first.name)}, but "
            f"{settings.name} plans for {robot.name} by {', '.join(missing)}; choose the robot "
            "and a checkpoint of what was recorded"
        )


def find_ranges(bag: Path, subject: Subject, wishes: Wishes) -> np.ndarray:
    """(D,) of the policy's columns: from the 1 % to the 99 % quantile of the actions that the
    checkpoint was trained with (norm_stats.json), in SI. NaN for columns that never moved.

    For columns that the network gives as differences to the state, of these differences.
    """
    name = wishes.checkpoint or subject.facts.checkpoint
    found = find_checkpoint(name, subject.robot.name)
    layout = found.load_settings().layout_of(subject.robot)
    stats = load_stats(found.folder, read_config(found.folder).action_dim).action
    count = len(layout.columns)
    low, high = layout.from_data(np.stack([stats.low[:count], stats.high[:count]]))
    width = np.abs(high - low)
    return np.where(width > 0, width, np.nan)
