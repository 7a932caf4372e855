# SPDX-License-Identifier: Apache-2.0
"""One page that shows what happened: self-contained HTML, pictures and plots inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from pathlib import Path

from dm0_ros.replay import plots
from dm0_ros.replay.episodes import Episode, Rate, count_successes
from dm0_ros.replay.html import (
    Number,
    embed,
    embed_picture,
    make_facts,
    make_page,
    make_table,
)
from dm0_ros.replay.measures import (
    CommandTiming,
    Percentiles,
    TrackingError,
    Window,
    chunk_latency,
    command_timing,
    tracking_errors,
)
from dm0_ros.replay.pictures import find_view, pick_frames
from dm0_ros.replay.recording import Recording, Series, read_recording
from dm0_ros.robots.spec import RobotSpec

_STYLE = """
.episodes { display: grid; gap: 1rem;
            grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.episode { border: 1px solid #d7dde5; border-left: .4rem solid #c0392b; border-radius: 4px;
           padding: .5rem; break-inside: avoid; }
.episode.success { border-left-color: #2e8b57; }
.pair { display: flex; gap: .4rem; } .pair figure { flex: 1; }
"""


@dataclass(frozen=True)
class Evaluation:
    """Everything the page shows, and the figures for machines."""

    episodes: tuple[Episode, ...]
    recording: Recording
    latency: Percentiles  # ms
    timing: CommandTiming
    tracking: dict[str, TrackingError]
    arm: Series  # commands of the sink with most joints

    @property
    def windows(self) -> list[Window]:
        """When each episode ran."""
        return [(episode.started, episode.ended) for episode in self.episodes]


def evaluate(bag: Path, episodes: Sequence[Episode], spec: RobotSpec) -> Evaluation:
    """Read a bag and measure what happened during the episodes."""
    recording = read_recording(bag, spec)
    windows = [(episode.started, episode.ended) for episode in episodes]
    arm = max(recording.commands.values(), key=lambda series: len(series.names))
    tracking = {}
    for commands in recording.commands.values():
        tracking.update(tracking_errors(commands, recording.measured, windows))
    return Evaluation(
        episodes=tuple(episodes),
        recording=recording,
        latency=chunk_latency(recording),
        timing=command_timing(arm, windows),
        tracking=tracking,
        arm=arm,
    )


def summarise(evaluation: Evaluation) -> dict:
    """The figures as plain data, for JSON; null where something could not be measured."""
    episodes = evaluation.episodes
    return {
        "episodes": len(episodes),
        "successes": sum(episode.success for episode in episodes),
        "per_episode": [
            {
                "instruction": episode.instruction,
                "outcome": episode.outcome,
                "first_touched": episode.first_touched,
                "seconds": round(episode.seconds, 3),
            }
            for episode in episodes
        ],
        "plans": len(evaluation.recording.plan_times),
        "chunk_latency_ms": {
            "p50": _finite(evaluation.latency.p50),
            "p99": _finite(evaluation.latency.p99),
        },
        "command_rate_hz": _finite(evaluation.timing.rate),
        "command_period_p99_ms": _finite(evaluation.timing.period_p99 * 1e3),
    }


def write_report(
    path: Path, bag: Path, evaluation: Evaluation, spec: RobotSpec, facts: Mapping[str, str]
) -> None:
    """Write the page. ``facts`` says where, when and with which command it was made."""
    episodes = evaluation.episodes
    won = sum(episode.success for episode in episodes)
    body = [
        f"<h1>{won} of {len(episodes)} instructions followed</h1>",
        f"<p>{escape(spec.title)}. A success does to the named object, before any other, "
        "what was asked.</p>",
        make_facts(facts.items()),
        "<h2>By object</h2>",
        _rates(count_successes(episodes, lambda episode: episode.object)),
        "<h2>By wording</h2>",
        _rates(count_successes(episodes, lambda episode: episode.wording)),
        "<h2>Episodes</h2>",
        _episodes(bag, evaluation, spec),
        "<h2>Time</h2>",
        _timing(evaluation),
        "<h2>Tracking</h2>",
        _tracking(evaluation),
    ]
    path.write_text(make_page(f"dm0_ros: {spec.name}", body, _STYLE), encoding="utf-8")


def _rates(rates: Mapping[str, Rate]) -> str:
    return make_table(
        (),
        ((name, Number(f"{rate.successes} of {rate.episodes}")) for name, rate in rates.items()),
    )


def _episodes(bag: Path, evaluation: Evaluation, spec: RobotSpec) -> str:
    episodes = evaluation.episodes
    topic = find_view(bag, spec.camera_slots)
    if topic is None:
        return "<p>No pictures were recorded.</p>"
    moments = [moment for e in episodes for moment in (e.started, e.touched or e.ended)]
    frames = pick_frames(bag, topic, moments)
    cards = []
    for number, episode in enumerate(episodes):
        first, last = frames[2 * number : 2 * number + 2]
        what = "touch" if episode.touched else "end"
        pair = _picture(first, "start") + _picture(last, f"{what}, {episode.seconds:.1f} s")
        verdict = episode.outcome.replace("_", " ")
        if episode.first_touched:
            verdict += f"; first touched: {episode.first_touched}"
        cards.append(
            f'<div class="episode{" success" * episode.success}"><b>{escape(episode.instruction)}'
            f'</b><br>{escape(verdict)}<div class="pair">{pair}</div></div>'
        )
    return f'<p>Pictures: {escape(topic)}.</p><div class="episodes">{"".join(cards)}</div>'


def _timing(evaluation: Evaluation) -> str:
    latency, timing = evaluation.latency, evaluation.timing
    text = (
        f"<p>{len(evaluation.recording.plan_times)} plans, from observation to plan in "
        f"{latency.p50:.0f} ms (median), {latency.p99:.0f} ms (99th percentile). Commands at "
        f"{timing.rate:.1f} Hz; 99 of 100 come within {timing.period_p99 * 1e3:.1f} ms of the one "
        "before.</p>"
    )
    if len(evaluation.recording.latencies):
        text += embed(
            plots.plot_latency(evaluation.recording.latencies), "png", "Latency of plans by stage"
        )
    plot = plots.plot_periods(evaluation.arm, evaluation.windows)
    return text + embed(plot, "png", "Histogram of the time between commands")


def _tracking(evaluation: Evaluation) -> str:
    if not evaluation.tracking:
        return "<p>Nothing was commanded.</p>"
    head = ("joint", Number("root mean square"), Number("greatest"))
    table = make_table(
        head,
        (
            (name, Number(f"{error.root_mean_square:.4f}"), Number(f"{error.greatest:.4f}"))
            for name, error in evaluation.tracking.items()
        ),
    )
    longest = max(evaluation.windows, key=lambda window: window[1] - window[0])
    plot = plots.plot_tracking(evaluation.arm, evaluation.recording.measured, longest)
    return (
        "<p>Measured minus commanded (rad; m for grippers) over all episodes, and the longest "
        f"episode drawn.</p>{table}{embed(plot, 'png', 'Commanded and measured joints')}"
    )


def _picture(frame, caption: str) -> str:
    if frame is None:
        return f"<figure><figcaption>{escape(caption)}: no picture</figcaption></figure>"
    image = embed_picture(frame.picture, caption)
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _finite(value: float) -> float | None:
    return round(value, 3) if isfinite(value) else None
