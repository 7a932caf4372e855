# SPDX-License-Identifier: Apache-2.0
"""Errors that a person can act on: each names the thing that is wrong and the remedy."""


def dotted(key: tuple[str | int, ...]) -> str:
    """A key as people write it, such as ``joints[2].upper``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return "".join(parts).removeprefix(".")


class Dm0Error(Exception):
    """Base of every error that this package raises for bad input. The text is for the user.

    ``key`` leads to the entry of a YAML that is wrong: names in mappings, indices in lists.
    """

    def __init__(self, message: str = "", key: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.key = key

    def __str__(self) -> str:
        message = super().__str__()
        return f"{dotted(self.key)}: {message}" if self.key else message


class RobotError(Dm0Error):
    """A robot's YAML or URDF is missing, malformed or contradicts itself."""


class CheckpointError(Dm0Error):
    """A checkpoint folder is missing, incomplete, truncated or of another architecture."""


class ObservationError(Dm0Error):
    """An observation cannot be used: a picture or a joint is missing, stale or not finite."""


class InstructionError(Dm0Error):
    """An instruction is empty or too long."""


class PlanError(Dm0Error):
    """A plan is refused: not finite, unknown columns, in the past, or too far from the robot."""


class ResourceError(Dm0Error):
    """A file that ships with the package (launch, config, urdf, checkpoint) cannot be found."""


class ScaffoldError(Dm0Error):
    """A scaffold cannot be written, a grammar's YAML is wrong, or tokens are no actions."""
