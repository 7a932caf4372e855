# SPDX-License-Identifier: Apache-2.0
"""Success and time per episode over added delay, drawn."""

from pathlib import Path

STYLES = {
    "hold_until_done": ("tab:brown", "o-"),
    "hold_until_done_5": ("tab:brown", "o--"),
    "hold_until_done_25": ("tab:brown", "o:"),
    "hold_until_done_50": ("tab:brown", "o-."),
    "blend": ("tab:blue", "s-"),
    "rtc_identity": ("tab:green", "^-"),
    "rtc_jacobian": ("tab:olive", "v-"),
    "replace": ("tab:purple", "d-"),
    "temporal_ensemble": ("tab:orange", "x-"),
}


def draw(folder: Path, figures: dict) -> None:
    """Write closed_loop_delay_<touches>.png from the benchmark's figures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(8, 7), sharex=True, layout="constrained"
    )
    episodes = 0
    for name, rows in figures["strategies"].items():
        colour, style = STYLES[name]
        delays = [1e3 * float(delay) for delay in rows]
        shares = [100 * row["success"] for row in rows.values()]
        times = [row["seconds_mean"] for row in rows.values()]
        above.plot(delays, shares, style, color=colour, label=name, markersize=5)
        below.plot(delays, times, style, color=colour, markersize=5)
        episodes = max([episodes, *(row["episodes"] for row in rows.values())])
    touches = figures["touches"]
    above.set_title(
        f"{figures['checkpoint']}, {touches} block{'s' * (touches > 1)} to touch, "
        f"{episodes} episodes a point"
    )
    above.set_ylabel("success, %")
    above.set_ylim(-5, 105)
    above.legend(fontsize=8, ncols=2, loc="lower left")
    below.set_ylabel("time per episode, mean, s")
    below.set_ylim(bottom=0)
    below.set_xlabel(f"added delay, ms (planning itself: {1e3 * figures['planning']:.0f} ms)")
    for axis in (above, below):
        axis.grid(alpha=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"closed_loop_delay_{touches}.png", dpi=110)
    pyplot.close(figure)
