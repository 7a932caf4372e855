# SPDX-License-Identifier: Apache-2.0
"""How what an instruction asked for ended: an arm's task, or a base's mission."""

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How it ended; values are those of ExecuteInstruction.action and NavigateToObject.action."""

    SUCCEEDED = 0
    TIME_LIMIT = 1
    CANCELLED = 2
    FAULT = 3
    REJECTED = 4


@dataclass(frozen=True)
class Verdict:
    """The end, in a sentence."""

    outcome: Outcome
    message: str
