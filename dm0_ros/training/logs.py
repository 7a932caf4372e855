# SPDX-License-Identifier: Apache-2.0
"""Losses of a run: as CSV, as curves, and for TensorBoard while it goes on."""

import csv
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

_log = logging.getLogger(__name__)


class LossLog:
    """Writes losses for TensorBoard into ``folder``, from the step that training goes on from.

    Where TensorBoard is not installed it says so once, and writes nothing.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._writer = None
        if importlib.util.find_spec("tensorboard") is None:
            _log.warning(
                "no logs for TensorBoard, which is not installed: losses go to loss.csv and "
                "loss.png alone. pip install 'dm0_ros[train]' for them"
            )
            return
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def note(self, step: int, numbers: Mapping[str, float]) -> None:
        """Losses of one step, by name."""
        if self._writer:
            for name, number in numbers.items():
                self._writer.add_scalar(f"loss/{name}", number, step)

    def close(self) -> None:
        """Finish the file."""
        if self._writer:
            self._writer.close()


def write_losses(losses: Mapping[str, Sequence[float]], folder: Path) -> None:
    """Losses of every step as CSV, and their curves as a picture."""
    from matplotlib.figure import Figure  # takes a second to import

    with open(folder / "loss.csv", "w", newline="", encoding="utf-8") as file:
        rows = zip(*losses.values(), strict=True)
        table = ((step, *row) for step, row in enumerate(rows, start=1))
        csv.writer(file).writerows([("step", *losses), *table])
    figure = Figure(figsize=(7, 1 + 2.5 * len(losses)), layout="constrained")
    panels = figure.subplots(len(losses), sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, losses.items(), strict=True):
        axes.semilogy(range(1, len(values) + 1), values, linewidth=0.5, alpha=0.6)
        axes.set(ylabel=f"{name} loss")
        axes.grid(True, which="both", alpha=0.3)
    panels[0].set(title=folder.name)
    panels[-1].set(xlabel="step")
    figure.savefig(folder / "loss.png", dpi=120)
