# SPDX-License-Identifier: Apache-2.0
"""How rerun's viewer arranges what is told: its blueprint."""

from types import ModuleType

from dm0_ros.robots.spec import RobotSpec
from dm0_ros.viewing.log import TIMELINE

_WINDOW = 20.0  # s of the past that plots show while things happen


def arrange(spec: RobotSpec, rerun: ModuleType, live: bool):
    """Cameras at the left, joints in the middle, times and states at the right.

    ``live`` plots follow the newest moment; others show the whole recording.
    """
    blueprint, past = rerun.blueprint, None
    if live:
        past = blueprint.VisibleTimeRange(
            TIMELINE,
            start=blueprint.TimeRangeBoundary.cursor_relative(seconds=-_WINDOW),
            end=blueprint.TimeRangeBoundary.cursor_relative(),
        )

    def plot(origin: str, name: str, legend: bool = True):
        shown = blueprint.PlotLegend(visible=legend)
        view = blueprint.TimeSeriesView
        return view(origin=origin, name=name, time_ranges=past, plot_legend=shown)

    cameras = [
        blueprint.Spatial2DView(origin=f"camera/{slot}", name=slot) for slot in spec.camera_slots
    ]
    words = blueprint.TextDocumentView(origin="scaffold", name="scaffold")
    # All have the same three lines: one legend is enough.
    names = spec.column_names
    joints = [plot(f"joints/{name}", name, name == names[0]) for name in names]
    times = [
        blueprint.StateTimelineView(origin="executor/state", name="executor"),
        plot("executor", "plan left, observation's age (s), seam"),
        plot("latency", "latency of plans by stage (ms)"),
        blueprint.TextLogView(origin="log", name="log"),
    ]
    shares = [2.0, *[1.0] * (len(cameras) - 1), 0.7]  # the first view is the main one
    columns = [blueprint.Vertical(*cameras, words, row_shares=shares)]
    if joints:
        columns.append(blueprint.Grid(*joints, grid_columns=2))
    columns.append(blueprint.Vertical(*times, row_shares=[1, 2, 2, 2]))
    state = "following" if live else "playing"
    return blueprint.Blueprint(
        blueprint.Horizontal(*columns),
        blueprint.TimePanel(timeline=TIMELINE, play_state=state, state="collapsed"),
        blueprint.BlueprintPanel(state="collapsed"),
        blueprint.SelectionPanel(state="collapsed"),
    )
