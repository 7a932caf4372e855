# SPDX-License-Identifier: Apache-2.0
"""Puts the figures of benchmarks/results/ into the table of README.md.

Run after ``for file in benchmarks/*.py; do python $file --write; done``.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
Row = tuple[str, str]


def describe_instructions(figures: dict) -> Iterator[Row]:
    latency = figures["chunk_latency_ms"]
    seconds = [e["seconds"] for e in figures["per_episode"] if e["outcome"] == "touched"]
    yield "instructions followed", f"**{figures['successes']} of {figures['episodes']}**"
    if seconds:
        middle = sorted(seconds)[len(seconds) // 2]
        yield "time from the sentence to the touch, median", f"{middle:.1f} s"
    yield (
        "observation to plan in the graph, median / 99 %",
        f"{latency['p50']:.0f} / {latency['p99']:.0f} ms, {figures['plans']} plans",
    )
    yield (
        "commands",
        (
            f"{figures['command_rate_hz']:.1f} Hz, 99 % within "
            f"{figures['command_period_p99_ms']:.1f} ms of the one before"
        ),
    )


def describe_policy_latency(figures: dict) -> Iterator[Row]:
    total = figures["ms"]["total"]
    where = f"{figures['device']}, {figures['threads']} threads, {len(figures['cameras'])} cameras"
    yield (
        f"{figures['checkpoint']} alone, median / 99 %",
        f"{total['p50']:.0f} / {total['p99']:.0f} ms a plan ({where})",
    )


def describe_reasoning_latency(figures: dict) -> Iterator[Row]:
    text = f"text of {figures['tokens']} tokens"
    modes = {"off": "no text", "every_plan": f"{text} before", "asynchronous": f"{text} beside it"}
    for mode, words in modes.items():
        plan = figures["modes"][mode]["plan_ms"]
        yield (
            f"a plan of {figures['checkpoint']}, {words}: median / 99 %",
            f"{plan['p50']:.0f} / {plan['p99']:.0f} ms "
            f"({figures['device']}, {figures['threads']} threads)",
        )


def describe_executor_jitter(figures: dict) -> Iterator[Row]:
    period = figures["period_ms"]
    yield (
        f"executor alone at {figures['rate_hz']:.0f} Hz: period, median / 99 % / greatest",
        f"{period['p50']:.2f} / {period['p99']:.2f} / {period['max']:.2f} ms",
    )


def describe_picture_transport(figures: dict) -> Iterator[Row]:
    plain, ours = figures["fast_dds_default"], figures["config_fastdds_xml"]
    yield (
        "raw pictures lost between processes (3 x 640x480 at 30 Hz, best effort)",
        f"{plain['lost_percent']:.0f} % with Fast DDS as it comes, "
        f"{ours['lost_percent']:.1f} % with config/fastdds.xml",
    )


def describe_model_latency(figures: dict) -> Iterator[Row]:
    """A row a contender: from frames in host memory to actions in host memory."""
    for setting in figures["settings"]:
        for entry in setting["contenders"]:
            total = entry.get("ms", {}).get("total", {"count": 0})
            if not total["count"]:
                continue
            what = (
                f"network {figures['size']}, {entry['name']} {entry['dtype']}, "
                f"{setting['views']} views x {setting['batch']} robots: frames to actions, "
                "median / 99 %"
            )
            figure = f"{total['p50']:.1f} / {total['p99']:.1f} ms on {figures['device']}"
            if figures["device"] != "cpu":
                ratios = entry.get("ratio", {})
                figure += "".join(f", {r:.2f} x floor {n.upper()}" for n, r in ratios.items())
            yield what, f"{figure}, error {entry['error']:.0e} to eager float32"
        if against := setting.get("against"):
            yield (
                f"the reference beside it, {setting['views']} views",
                f"{against['ratio_end_to_end']} x as long as {against['fastest']}",
            )


def describe_seams(figures: dict) -> Iterator[Row]:
    strategies = figures["strategies"]
    where = f"plans {1e3 * figures['delay']:.0f} ms late"
    names = {
        "linear_replace": "linear replacement",
        "average_03_07": "average 0.3 / 0.7",
        "hold_until_done": "`hold_until_done`",
        "blend": "`blend`",
    }
    for key, name in names.items():
        found = strategies[key]
        yield (
            f"{name}, {where}: peak acceleration / jerk, lag",
            f"{found['peak_acceleration']:.3g} rad/s² / {found['peak_jerk']:.3g} rad/s³, "
            f"{found['lag_ms']:.1f} ms",
        )


def describe_executor_rate(figures: dict) -> Iterator[Row]:
    beside = "beside a network" if figures["with_policy"] else "alone"
    swept = [row for row in figures.get("rates", ()) if row["joints"] == 14 and row["hz"] > 500]
    for row in [figures, *swept]:
        urgent = f", SCHED_FIFO {row['priority']}" if row["priority"] else ""
        yield (
            f"executor core, {row['joints']} joints at {row['hz']:.0f} Hz{urgent}, {beside}: "
            "tick, median / 99 %; period error, 99 %",
            f"{row['tick_us_p50']:.0f} / {row['tick_us_p99']:.0f} µs; "
            f"{row['period_error_ms_p99']:.2f} ms",
        )


def describe_closed_loop_delay(figures: dict) -> Iterator[Row]:
    """What 300 ms cost, or the delay nearest to that."""
    delay = min(figures["delays"], key=lambda value: abs(value - 0.3))
    for name, rows in figures["strategies"].items():
        row = rows[f"{delay:g}"]
        yield (
            f"`{name}`, {figures['touches']} to touch, {1e3 * delay:.0f} ms added: success, "
            "time per episode",
            f"{row['successes']} of {row['episodes']}, {row['seconds_mean']:.1f} s",
        )


SECTIONS = {
    "instructions": describe_instructions,
    "policy_latency": describe_policy_latency,
    "reasoning_latency": describe_reasoning_latency,
    "executor_jitter": describe_executor_jitter,
    "seams": describe_seams,
    "executor_rate": describe_executor_rate,
    "closed_loop_delay": describe_closed_loop_delay,
    "picture_transport": describe_picture_transport,
}


def make_table() -> str:
    """The figures of every result that is there, and under them what was run, when and where."""
    lines, runs = ["| what | measured | run |", "| --- | --- | --- |"], [""]
    sections = dict(SECTIONS)
    for path in sorted(RESULTS.glob("model_latency_*.json")):
        sections[path.stem] = describe_model_latency
    for name, describe in sections.items():
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        record = json.loads(path.read_text())
        run = len(runs)
        runs.append(f"{run}. {describe_run(record)}")
        lines += [f"| {what} | {figure} | {run} |" for what, figure in describe(record["figures"])]
    return "\n".join(lines + runs)


def describe_run(record: dict) -> str:
    machine = record["machine"]
    return (
        f"`{record['command']}`: {record['date'][:10]}, commit {record['commit']}, "
        f"{machine['cores']} cores ({machine['processor']}), load {machine['load_before']} before"
    )


def main() -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit(f"{readme} has no {BEGIN} ... {END}")
    readme.write_text(f"{before}{BEGIN}\n{make_table()}\n{END}{after}")


if __name__ == "__main__":
    main()
