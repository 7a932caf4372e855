# SPDX-License-Identifier: Apache-2.0
"""Checks that parts of a robot share. Each raises `RobotError` with the key that is wrong."""

from collections.abc import Iterable, Sequence
from typing import Any

from dm0_ros.errors import RobotError


def require_positive(part: Any, *keys: str) -> None:
    """Each of the part's numbers is above zero."""
    for key in keys:
        if getattr(part, key) <= 0:
            raise RobotError(f"must be positive, found {getattr(part, key):g}", key=(key,))


def require_not_negative(part: Any, *keys: str) -> None:
    """Each of the part's numbers is zero or above."""
    for key in keys:
        if getattr(part, key) < 0:
            raise RobotError(f"must not be negative, found {getattr(part, key):g}", key=(key,))


def require_once(names: Sequence[str], what: str, *key: str | int) -> None:
    """No name appears twice; the error's key is that of the second."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise RobotError(f"{what} {name} appears twice; keep one", key=(*key, index))


def require_known(names: Iterable[str], known: Sequence[str], what: str, *key: str | int) -> None:
    """Each name is known; ``names`` is a list, or a mapping whose keys are meant."""
    for index, name in enumerate(names):
        if name not in known:
            part = name if isinstance(names, dict) else index
            raise RobotError(
                f"unknown {what} {name}; known: {', '.join(known) or 'none at all'}",
                key=(*key, part),
            )


def require_all(names: Iterable[str], needed: Sequence[str], what: str, *key: str | int) -> None:
    """Each of the needed names is there."""
    missing = [name for name in needed if name not in names]
    if missing:
        raise RobotError(f"lacks {what} {', '.join(missing)}; add it", key=key)
