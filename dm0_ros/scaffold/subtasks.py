# SPDX-License-Identifier: Apache-2.0
"""Which words may be a subtask: any that can be read back as the same words and nothing else."""

from dm0_ros.scaffold.levels import Level
from dm0_ros.scaffold.templates import Templates

LONGEST_SUBTASK = 200
"""Characters."""
_UNDECODED = "\ufffd"  # stands where bytes were no text


def find_flaw(subtask: str, templates: Templates) -> str | None:
    """Why these words cannot be a subtask in these templates; None if they can."""
    if not subtask:
        return "the subtask is empty"
    if len(subtask) > LONGEST_SUBTASK:
        return f"the subtask has {len(subtask)} characters; at most {LONGEST_SUBTASK} are read"
    if not subtask.isprintable() or _UNDECODED in subtask:
        place = next(i for i, c in enumerate(subtask) if not c.isprintable() or c == _UNDECODED)
        sign = ascii(subtask[place])
        return f"the subtask has {sign} at {place + 1}; it is one line of printable text"
    if subtask != subtask.strip():
        return "the subtask has a blank at its start or end"
    for sign in (*templates.reserved, templates.action_opening):
        if sign and sign in subtask:
            return f"the subtask contains {sign!a}, which means something else"
    for level in tuple(Level)[1:]:
        if subtask.startswith(templates.openings(level) or ("\n",)):
            return f"the subtask begins as {level.value} does"
    return None
