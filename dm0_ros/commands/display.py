# SPDX-License-Identifier: Apache-2.0
"""What a person sees while a demo runs: a live line on a terminal, plain lines elsewhere."""

from textwrap import shorten

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from dm0_ros.replay.episodes import Episode

_LONGEST = 160  # characters of a message; all of it is in episodes.json


class Display:
    """Stages, episodes and their results. A context manager: the live line ends with it."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False)
        self._total = total
        self._won = self._done = 0
        self._stage = ""
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._line = self._progress.add_task("", total=total)

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *_exception) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, soft_wrap=True)

    def begin(self, stage: str) -> None:
        """What is being done now; a plain line where nothing is live."""
        self._stage = stage
        self._progress.update(self._line, description=stage)
        if not self._console.is_terminal:
            self.say(stage)

    def detail(self, text: str) -> None:
        """How the stage is getting on; only where something is live."""
        self._progress.update(self._line, description=f"{self._stage}  {text}")

    def finish(self, episode: Episode) -> None:
        """An episode is over."""
        self._done += 1
        self._won += episode.success
        self._progress.update(self._line, completed=self._done)
        mark = "yes" if episode.success else " no"
        what = episode.outcome.replace("_", " ")
        if episode.first_touched:
            what += f" {episode.first_touched}"
        text = f"{self._done:>3}/{self._total} {mark}  {episode.seconds:5.1f} s  "
        text += f"{what:<20} {episode.instruction}"
        if episode.message and episode.outcome in ("fault", "rejected", "error", "unknown"):
            text += f" ({shorten(episode.message, _LONGEST, placeholder=' ...')})"
        self.say(text)
