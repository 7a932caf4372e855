# SPDX-License-Identifier: Apache-2.0
"""Where an episode begins and ends, as nodes publish it for recorders: JSON, see trace.py."""

import json
from dataclasses import asdict, dataclass, fields

from dm0_ros.errors import Dm0Error

MARKS_TOPIC = "episode"
TELEOPERATION = "teleoperation"  # as a source
_NEWEST = 1  # version of the format


@dataclass(frozen=True)
class Mark:
    """What is known of an episode: at its beginning, and once more at its end."""

    episode: str  # the same in both
    source: str  # name of the action whose goal it is, or teleoperation
    instruction: str
    begin: float  # s of ROS time
    end: float | None = None  # None: it goes on
    outcome: str = ""  # see Outcome, in lower case; empty where it goes on or nobody judged
    message: str = ""  # the outcome in a sentence

    def dump(self) -> str:
        """As JSON."""
        return json.dumps({"version": _NEWEST, **asdict(self)})

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """What `dump` wrote; raises `Dm0Error` where it did not."""
        try:
            content = json.loads(text)
            return cls(**{field.name: content[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError) as error:
            raise Dm0Error(f"{MARKS_TOPIC}: not a mark of an episode: {text[:80]!r}") from error
