# SPDX-License-Identifier: Apache-2.0
"""How every benchmark reports: JSON with what was measured, where, when and of which commit."""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parents[1] / "results"
GPU_FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "clocks.sm",
    "clocks.mem",
    "temperature.gpu",
    "power.draw",
)


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"also into {RESULTS}")
    return parser


def report(name: str, figures: dict, write: bool) -> None:
    """Write the figures to stdout, and into results/ where asked."""
    text = to_text(make_record(name, figures))
    sys.stdout.write(text)
    if write:
        write_result(name, text)


def make_record(name: str, figures: dict) -> dict:
    """The figures with when, where, how and of which commit they were measured."""
    return {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_machine(),
        "figures": figures,
    }


def to_text(record: dict) -> str:
    """JSON as it lies in results/."""
    return json.dumps(record, indent=2) + "\n"


def write_figures(path: Path, record: dict) -> None:
    """Write a record with its figures at the top, for programs that look for them there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rest = {key: value for key, value in record.items() if key != "figures"}
    path.write_text(to_text({**record["figures"], **rest}))


def write_result(name: str, text: str) -> None:
    """Put a record into results/."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text)


def describe_machine() -> dict:
    """Processor, cores, GPU, system, and how busy it was: others' load spoils figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        **({"gpu": gpu} if (gpu := read_gpu()) else {}),
    }


def read_gpu() -> dict[str, str] | None:
    """Name, driver, clocks and power of the first GPU at this moment; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = ",".join(GPU_FIELDS)
    run = subprocess.run(
        [program, f"--query-gpu={query}", "--format=csv,noheader", "--id=0"],
        capture_output=True,
        text=True,
        check=False,
    )
    values = [value.strip() for value in run.stdout.strip().split(",")]
    if run.returncode or len(values) != len(GPU_FIELDS):
        return {"nvidia-smi": (run.stdout + run.stderr).strip()}
    return dict(zip(GPU_FIELDS, values, strict=True))


def summarise(values, digits: int = 3) -> dict:
    """Median, 90th and 99th percentile, greatest and count."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return {"count": 0}
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {
        "p50": round(float(p50), digits),
        "p90": round(float(p90), digits),
        "p99": round(float(p99), digits),
        "max": round(float(values.max()), digits),
        "count": len(values),
    }


def _commit() -> str:
    root = Path(__file__).parent
    if given := os.environ.get("DM0_COMMIT"):  # of a copy of the tree without its history
        return given
    if shutil.which("git") is None:
        return "unknown"
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"
