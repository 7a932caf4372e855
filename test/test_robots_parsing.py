# SPDX-License-Identifier: Apache-2.0
"""YAML into dataclasses: what is taken, and the line of what is refused."""

from dataclasses import dataclass, field
from enum import Enum

import pytest

from dm0_ros.errors import CheckpointError, RobotError
from dm0_ros.resources import find_resource
from dm0_ros.robots.parsing import build, load_yaml, read_yaml
from dm0_ros.sim.world import load_world
from dm0_ros.training.recipe import RecipeError, load_recipe


class Colour(str, Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Wheel:
    radius: float
    spokes: int = 8

    def __post_init__(self):
        if self.radius <= 0:
            raise RobotError("must be positive", key=("radius",))


@dataclass(frozen=True)
class Cart:
    name: str
    wheels: tuple[Wheel, ...]
    size: tuple[float, float] = (1.0, 2.0)
    colour: Colour = Colour.RED
    tags: dict[str, Wheel] = field(default_factory=dict)
    spare: Wheel | None = None
    open: bool = False

    def __post_init__(self):
        if len(self.wheels) == 3:
            raise RobotError("three wheels tilt; add one", key=("wheels", 2, "radius"))
        if len(self.wheels) == 1:
            raise RobotError("falls over; add wheels")


def write(folder, text):
    path = folder / "cart.yaml"
    path.write_text(text)
    return path


def test_everything_is_converted(tmp_path):
    text = """
name: a
wheels: [{radius: 1}, {radius: 2.5, spokes: 4}]
size: [3, 4.0]
colour: green
tags: {front: {radius: 1.0}, 7: {radius: 2.0}}
spare: null
open: true
"""
    cart = load_yaml(Cart, write(tmp_path, text))
    assert cart == Cart(
        name="a",
        wheels=(Wheel(1.0), Wheel(2.5, 4)),
        size=(3.0, 4.0),
        colour=Colour.GREEN,
        tags={"front": Wheel(1.0), "7": Wheel(2.0)},
        open=True,
    )
    assert isinstance(cart.wheels[0].radius, float)


def test_anchors_and_merges_are_followed(tmp_path):
    text = """\
name: a
wheels:
  - &front {radius: 1.0, spokes: 6}
  - <<: *front
    radius: 2.0
  - *front
  - {<<: *front, spokes: many}
"""
    path = write(tmp_path, text)
    with pytest.raises(RobotError) as caught:
        load_yaml(Cart, path)
    assert str(caught.value).startswith(f"{path}:7: wheels[3].spokes: expected a whole number")
    path = write(tmp_path, text.replace("many", "3"))
    wheels = load_yaml(Cart, path).wheels
    assert wheels == (Wheel(1.0, 6), Wheel(2.0, 6), Wheel(1.0, 6), Wheel(1.0, 3))


HEAD = "name: a\nwheels:\n  - {radius: 1.0}\n  - {radius: 1.0}\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        # the whole file
        ("- a\n", 1, "must hold keys with values, found ['a']"),
        ("", 1, "must hold keys with values, found None"),
        ("name: [\n", 2, "is not valid YAML: "),
        ("name: a\n\tb: c\n", 2, "is not valid YAML: "),
        ("name: !!python/object:os.x {}\n", 1, "is not valid YAML: could not determine a const"),
        ("name: a\nname: b\n", 2, "is not valid YAML: name stands in line 1 already; keep one"),
        ("a: {b: 1,\n  c: 2,\n  b: 3}\n", 3, "is not valid YAML: b stands in line 1 already; ke"),
        # keys
        ("\n\nname: a\n", 3, "missing key wheels; add it"),
        (HEAD + "widht: 3\n", 5, "widht: unknown key widht; known keys are name, wheels, size"),
        (HEAD + "  - {spokes: 3}\n", 5, "wheels[2]: missing key radius; add it"),
        (HEAD + "  -\n    radius: 1.0\n    x: 1\n", 7, "wheels[2].x: unknown key x; known keys a"),
        # kinds
        (HEAD + "  - 3\n", 5, "wheels[2]: expected keys with values, found 3"),
        (HEAD + "  - {radius: wide}\n", 5, "wheels[2].radius: expected a number, found 'wide'"),
        (HEAD + "  - {radius: .inf}\n", 5, "wheels[2].radius: expected a number, found inf"),
        (
            HEAD + "  - {radius: 1e-3}\n",
            5,
            "wheels[2].radius: expected a number, found '1e-3'; wri",
        ),
        (HEAD + "  - {radius: yes}\n", 5, "wheels[2].radius: expected a number, found True"),
        (HEAD + "  - {radius: 1.0, spokes: 1.0}\n", 5, "wheels[2].spokes: expected a whole numbe"),
        (HEAD + "size: 3\n", 5, "size: expected a list, found 3; write [ ] around it"),
        (HEAD + "size: [3]\n", 5, "size: expected 2 entries, found 1"),
        (HEAD + "size:\n  - 3\n  - x\n", 7, "size[1]: expected a number, found 'x'"),
        (HEAD + "colour: blue\n", 5, "colour: 'blue' is not one of red, green"),
        (HEAD + "open: 'yes'\n", 5, "open: expected a truth value (true, false), found 'yes'"),
        (HEAD + "tags: [1]\n", 5, "tags: expected keys with values, found [1]"),
        (HEAD + "tags:\n  front:\n    radius: x\n", 7, "tags.front.radius: expected a number"),
        (HEAD.replace(" a", " 12"), 1, "name: expected a text, found 12; put quotes around it"),
        # what the classes themselves find
        (HEAD + "spare:\n  spokes: 3\n  radius: 0.0\n", 7, "spare.radius: must be positive"),
        (HEAD + "  - radius: 1.0\n", 5, "wheels[2].radius: three wheels tilt; add one"),
        ("\nname: a\nwheels: [{radius: 1.0}]", 2, "falls over; add wheels"),
    ],
)
def test_file_and_line_of_what_is_wrong(tmp_path, text, line, message):
    path = write(tmp_path, text)
    with pytest.raises(RobotError) as caught:
        load_yaml(Cart, path)
    assert str(caught.value).startswith(f"{path}:{line}: {message}")


def test_the_error_is_of_the_kind_asked_for(tmp_path):
    path = write(tmp_path, "name: [")
    with pytest.raises(CheckpointError, match="is not valid YAML"):
        load_yaml(Cart, path, CheckpointError)
    with pytest.raises(CheckpointError, match=r"none\.yaml: cannot be read \(No such file"):
        load_yaml(Cart, tmp_path / "none.yaml", CheckpointError)


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "cart.yaml"
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(RobotError, match=r"cart\.yaml: is not valid YAML"):
        read_yaml(path)


def test_a_section_of_another_file_keeps_its_own_lines(tmp_path):
    whole = read_yaml(write(tmp_path, HEAD))
    other = tmp_path / "spare.yaml"
    other.write_text("# the spare wheel\nradius: 1.0\nspokes: few\n")
    whole["spare"] = read_yaml(other)
    with pytest.raises(RobotError) as caught:
        build(Cart, whole)
    assert str(caught.value).startswith(f"{other}:3: spare.spokes: expected a whole number")
    other.write_text("# the spare wheel\n\nspokes: 3\n")
    whole["spare"] = read_yaml(other)
    with pytest.raises(RobotError) as caught:
        build(Cart, whole)
    assert str(caught.value).startswith(f"{other}:3: spare: missing key radius; add it")


def misspell(folder, name, old, new):
    """A copy of a file of config/ with something misspelt, and the line of that."""
    text = find_resource("config", name).read_text()
    assert text.count(old) == 1
    path = folder / "misspelt.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(old, new))
    return path, text[: text.index(old)].count("\n") + 1


def test_worlds_and_recipes_say_their_lines_too(tmp_path, monkeypatch):
    path, line = misspell(tmp_path, "training/nano-franka.yaml", "max_text_tokens:", "max_words:")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}:{line}: max_words: unknown key max_words")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    folder = tmp_path / "share/dm0_ros/config/worlds"
    path, line = misspell(
        folder, "worlds/three_blocks.yaml", "touch: {kind: touch", "touch: {kind: t"
    )
    with pytest.raises(RobotError) as caught:
        load_world("misspelt")
    assert str(caught.value).startswith(f"{path}:{line}: tasks.touch.kind: 't' is not one of")
    sentences = tmp_path / "share/dm0_ros/config/instructions/misspelt.yaml"
    sentences.parent.mkdir()
    sentences.write_text("training: ['touch {object}']\n\ntest: 3\n")
    path.write_text(
        find_resource("config", "worlds/three_blocks.yaml")
        .read_text()
        .replace("instructions: touch_block", "instructions: misspelt")
    )
    with pytest.raises(RobotError) as caught:
        load_world("misspelt")
    assert str(caught.value).startswith(
        f"{sentences}:3: tasks.touch.instructions.test: expected a"
    )
