# SPDX-License-Identifier: Apache-2.0
"""`dm0`: the same things as the nodes and launch files, for a person at a terminal."""

import importlib
import signal
import sys

import typer

from dm0_ros.errors import Dm0Error

COMMANDS = (
    *("demo", "up", "view", "record", "replay", "dataset", "train", "eval"),
    *("checkpoint", "doctor"),
)

app = typer.Typer(
    help="DM0, a vision-language-action model, on real and simulated robots.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # else what stands in [brackets] would be taken for a colour
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"dm0_ros.commands.{name}")
        command = getattr(module, name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


_register()


def main() -> None:
    """Run the command line. What a person can mend is one line on stderr, and exit status 1.

    SIGTERM unwinds like Ctrl-C, so that no command leaves processes behind.
    """
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        app()
    except Dm0Error as error:
        sys.stderr.write(f"dm0: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
