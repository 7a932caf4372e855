# SPDX-License-Identifier: Apache-2.0
"""`dm0 view`: a graph, or a recording of one, in rerun's viewer."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from dm0_ros.errors import Dm0Error

_HOST = "127.0.0.1"  # rerun itself would listen on every interface
_START_TIME = 30.0  # s until the viewer must listen
_LOOK_PERIOD = 0.1  # s between looks at the viewer


def view(
    robot: Annotated[str, typer.Argument(help="name in config/, or path of a YAML")] = "franka",
    bag: Annotated[Path | None, typer.Option(help="a recording, instead of what runs")] = None,
    begin: Annotated[
        float | None, typer.Option("--from", min=0.0, help="of a bag: s after its beginning")
    ] = None,
    end: Annotated[
        float | None, typer.Option("--to", min=0.0, help="of a bag: s after its beginning")
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="serve a web page on this machine")] = False,
    save: Annotated[Path | None, typer.Option(help="write a file for rerun: FILE.rrd")] = None,
    namespace: Annotated[str, typer.Option(help="of the graph")] = "",
    use_sim_time: Annotated[bool, typer.Option(help="take the time from /clock")] = False,
    rate: Annotated[
        float, typer.Option(min=0.1, max=1000.0, help="most values and pictures a second of each")
    ] = 30.0,
    port: Annotated[int, typer.Option(min=1, max=65535, help="that the viewer listens on")] = 9876,
    web_port: Annotated[int, typer.Option(min=1, max=65535, help="of the web page")] = 9090,
) -> None:
    """Show cameras, scaffold, plan against command against measured joints, latencies and states.

    Opens rerun's window; with --web a page for a browser, with --save only a file. Ctrl-C ends it;
    with --save, a recording's view ends by itself.
    """
    from dm0_ros.robots.loading import load_robot
    from dm0_ros.viewing.layout import arrange
    from dm0_ros.viewing.log import Log, load_rerun
    from dm0_ros.viewing.story import Story

    if bag is None and (begin is not None or end is not None):
        raise Dm0Error("--from and --to choose a part of a recording: name it with --bag")
    rerun, spec = load_rerun(), load_robot(robot)
    if save is not None and save.exists():
        raise Dm0Error(f"{save} exists; choose another name for --save")
    shown = web or save is None
    with _open_viewer(web, port, web_port) if shown else _no_viewer() as check:
        sinks = [rerun.GrpcSink(_address(port))] if shown else []
        if save is not None:
            save.parent.mkdir(parents=True, exist_ok=True)
            sinks.append(rerun.FileSink(save))
        recording = rerun.RecordingStream(f"dm0_{spec.name}")
        recording.set_sinks(*sinks, default_blueprint=arrange(spec, rerun, live=bag is None))
        story = Story(spec, Log(rerun, recording), rate)
        try:
            if bag is None:
                _tell_graph(spec, story, check, namespace, use_sim_time)
            else:
                _tell_bag(spec, story, bag, namespace, (begin, end))
            recording.flush()
            while bag is not None and shown and check():
                time.sleep(_LOOK_PERIOD)
        except KeyboardInterrupt:
            typer.echo("")
        finally:
            recording.flush()
            recording.disconnect()
    if save is not None:
        typer.echo(f"{save}: {save.stat().st_size / 1e6:.1f} MB; open it with: rerun {save}")


def _tell_graph(spec, story, check, namespace: str, use_sim_time: bool) -> None:
    from dm0_ros.nodes.viewer import tell_graph

    tell_graph(spec, story, check, namespace, use_sim_time)


def _tell_bag(spec, story, bag: Path, namespace: str, limits: tuple) -> None:
    from dm0_ros.viewing.bag import Part, tell_bag

    count = tell_bag(bag, spec, story, namespace, Part(*limits))
    typer.echo(f"{bag}: {count} messages")


@contextmanager
def _no_viewer() -> Iterator:
    yield lambda: True


@contextmanager
def _open_viewer(web: bool, port: int, web_port: int) -> Iterator:
    """Run rerun's viewer; gives a function that tells whether it is still open.

    Raises `Dm0Error` where a port is taken, or the viewer does not start.
    """
    import rerun_cli

    from dm0_ros.commands.processes import Processes

    for number, option in ((port, "--port"), *([(web_port, "--web-port")] if web else [])):
        if _listens(number):
            raise Dm0Error(f"port {number} is taken; choose another with {option}")
    # The program itself: the package's own starter would hide its exit status.
    program = Path(rerun_cli.__file__).with_name("rerun")
    words = [str(program), "--bind", _HOST, "--port", str(port)]
    if web:
        words += ["--serve-web", "--web-viewer-port", str(web_port)]
    else:
        words += ["--expect-data-soon"]
    logs = Path(tempfile.mkdtemp(prefix="dm0_view_"))
    with Processes(logs, {**os.environ, "NO_COLOR": "1"}) as processes:
        processes.start("rerun", words)
        try:
            _await(processes, [port, web_port] if web else [port])
        except Dm0Error as error:
            raise Dm0Error(f"{error}\nwithout a display, use --web or --save FILE.rrd") from error
        if web:
            typer.echo(f"http://{_HOST}:{web_port}?url={quote(_address(port), safe='')}")
        yield partial(_is_open, processes)


def _is_open(processes) -> bool:
    """Whether the viewer runs, and nobody closed it. Raises `Dm0Error` where it failed."""
    status = processes.status("rerun")
    if status:
        processes.check()
    return status is None


def _await(processes, ports: list[int]) -> None:
    end = time.monotonic() + _START_TIME
    while not all(_listens(number) for number in ports):
        processes.check()
        if time.monotonic() > end:
            raise Dm0Error(f"rerun does not listen; it said last:\n{processes.tail('rerun')}")
        time.sleep(_LOOK_PERIOD)


def _address(port: int) -> str:
    return f"rerun+http://{_HOST}:{port}/proxy"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
