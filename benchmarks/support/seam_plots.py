# SPDX-License-Identifier: Apache-2.0
"""What an arm feels where one plan follows another, drawn: position, acceleration, jerk."""

from pathlib import Path

import numpy as np
from support.seam_players import make_players
from support.seam_run import RATE, play

from dm0_ros.robots import RobotSpec

SHOWN = {
    "linear_replace": ("replaced, straight lines", "tab:red"),
    "average_03_07": ("averaged 0.3 / 0.7", "tab:orange"),
    "hold_until_done": ("hold_until_done", "tab:brown"),
    "replace": ("replace", "tab:purple"),
    "blend": ("blend", "tab:blue"),
    "rtc": ("rtc, ideal policy", "tab:green"),
}
SEAMS = 3  # the window shows plans number 3 and 4 taking over
JOINT = 0
LEAST = 1e-1  # of the logarithmic scales


def draw(folder: Path, robot: RobotSpec, source, delivery) -> None:
    """Write seams.png: a joint across two seams, every strategy with the same plans."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    begin = SEAMS * source.period + delivery.delay - 0.25
    window = slice(int(begin * RATE), int((begin + source.period + 0.6) * RATE))
    figure, axes = pyplot.subplots(3, 1, figsize=(9, 9), sharex=True, layout="constrained")
    makers = make_players(robot, source.executed, source.step)
    for name, (label, colour) in SHOWN.items():
        played = play(makers[name], source, delivery, begin + 2.0, ideal=name == "rtc")
        times, path = played.times, played.commands[:, JOINT]
        axes[0].plot(times[window], path[window], color=colour, label=label, linewidth=1.2)
        for axis, order in ((axes[1], 2), (axes[2], 3)):
            rate = np.abs(np.diff(path, order)) * RATE**order
            rate = np.maximum(rate[window], LEAST)
            axis.semilogy(times[window][: len(rate)], rate, color=colour, linewidth=1.0)
    limits = robot.joints[JOINT]
    axes[1].axhline(limits.acceleration, color="black", linestyle=":", linewidth=1)
    axes[2].axhline(limits.jerk, color="black", linestyle=":", linewidth=1)
    for axis, what in zip(
        axes,
        ("position, rad", "|acceleration|, rad/s$^2$", "|jerk|, rad/s$^3$"),
        strict=True,
    ):
        axis.set_ylabel(what)
        axis.grid(alpha=0.3)
        for number in (SEAMS, SEAMS + 1):
            arrival = number * source.period + delivery.delay
            axis.axvline(arrival, color="grey", linestyle="--", linewidth=0.8)
    axes[0].legend(loc="best", fontsize=8, ncols=2)
    axes[0].set_title(
        f"{robot.joints[JOINT].name}, a new plan every {source.executed} rows of "
        f"{1 / source.step:.0f} Hz, {delivery.delay:g} s late (dashed); dotted: the arm's limits"
    )
    axes[-1].set_xlabel("time, s")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "seams.png", dpi=110)
    pyplot.close(figure)
