# SPDX-License-Identifier: Apache-2.0
"""`dm0` starts quickly, lists its commands, and turns errors into one line."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from dm0_ros import cli
from dm0_ros.errors import Dm0Error

HEAVY = ("torch", "mujoco", "rclpy", "matplotlib", "transformers", "pinocchio", "cv2")


def run(*arguments):
    command = [sys.executable, "-m", "dm0_ros.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_lists_every_command():
    result = run("--help")
    assert result.returncode == 0
    for name in cli.COMMANDS:
        assert f" {name} " in result.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_explains_itself(name):
    result = CliRunner().invoke(cli.app, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("words", [("replay",), ("eval", "bags"), ("eval", "objectnav")])
def test_help_says_what_happens_by_default(words):
    """Help of options has it in brackets, which are no mark-up."""
    commands = typer.main.get_command(cli.app)
    for word in words:
        commands = commands.commands[word]
    wanted = [p.help for p in commands.params if "[" in (getattr(p, "help", "") or "")]
    shown = " ".join(CliRunner().invoke(cli.app, [*words, "--help"]).output.split())
    assert wanted
    for text in wanted:
        assert text[text.index("[") :].split()[0] in shown


def test_nothing_heavy_is_imported_at_start():
    code = f"import sys, dm0_ros.cli; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout.strip() == "[]"


def test_error_for_a_person_is_one_line(monkeypatch, capsys):
    app = typer.Typer()

    @app.command()
    def fail():
        raise Dm0Error("the red thing is missing; put it back")

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["dm0"])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == 1
    assert capsys.readouterr().err == "dm0: the red thing is missing; put it back\n"


def test_unknown_recipe_ends_without_a_traceback():
    result = run("train", "no-such-recipe")
    assert result.returncode == 1
    assert "no-such-recipe" in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_command_ends_with_usage():
    result = run("dance")
    assert result.returncode == 2
    assert "dance" in result.stderr
