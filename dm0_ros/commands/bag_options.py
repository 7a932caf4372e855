# SPDX-License-Identifier: Apache-2.0
"""Options that all commands have which show recorded bags to a policy."""

from pathlib import Path
from typing import Annotated

import typer

from dm0_ros.errors import Dm0Error

Checkpoint = Annotated[str, typer.Option(help="name, or a folder [the recorded one]")]
Robot = Annotated[str, typer.Option(help="name, or a YAML file [the recorded one]")]
Latency = Annotated[
    str, typer.Option(help="of plans, to rehearse the executor: measured, 0, 300ms ... or off")
]
Every = Annotated[
    float | None, typer.Option(min=0.001, help="plan so often (s) [when plans were recorded]")
]
Seed = Annotated[int | None, typer.Option(min=0, help="of the noise [the recorded]")]
Figures = Annotated[Path | None, typer.Option("--json", help="file for the figures")]


def check_schedule(instruction: str, every: float | None) -> None:
    """Raise `Dm0Error` where an instruction of one's own would have no times."""
    if instruction and every is None:
        raise Dm0Error("an instruction of your own needs times of your own: add --every SECONDS")
