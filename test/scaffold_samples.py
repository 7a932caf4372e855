# SPDX-License-Identifier: Apache-2.0
"""Scaffolds for tests: of hypothesis, and of a numpy generator where that is too slow."""

from hypothesis import strategies as st

from dm0_ros.scaffold.content import BINS, MOST_POINTS, PATH_NAMES, SCALE, Scaffold
from dm0_ros.scaffold.grammar import load_grammar
from dm0_ros.scaffold.subtasks import find_flaw

GRAMMARS = {name: load_grammar(name) for name in ("nano", "paper")}

PLACES = st.integers(0, SCALE)
POINTS = st.tuples(PLACES, PLACES)
PATHS = st.dictionaries(
    st.sampled_from(PATH_NAMES),
    st.lists(POINTS, min_size=1, max_size=MOST_POINTS).map(tuple),
)
BOXES = st.tuples(POINTS, POINTS).map(lambda corners: (*map(min, *corners), *map(max, *corners)))
ACTIONS = st.lists(st.integers(0, BINS - 1), min_size=1, max_size=90).map(tuple)
# Words, and whatever else may be printed, so long as both grammars can write it.
SUBTASKS = (
    st.one_of(
        st.sampled_from(["move to the red block", "none", "box", "1 2 3 4", "path", "{}"]),
        st.text(max_size=60),
    )
    .map(str.strip)
    .filter(lambda s: not any(find_flaw(s, g.templates) for g in GRAMMARS.values()))
)
SCAFFOLDS = st.builds(Scaffold, SUBTASKS, st.none() | BOXES, PATHS, ACTIONS)


def draw_scaffold(random):
    """A scaffold of a numpy generator, far faster than hypothesis makes one."""
    corners = random.integers(0, SCALE + 1, (2, 2))
    names = [name for name in PATH_NAMES if random.random() < 0.5]
    return Scaffold(
        "move to the red block",
        (*corners.min(0).tolist(), *corners.max(0).tolist()) if random.random() < 0.8 else None,
        {name: draw_path(random) for name in names},
        tuple(random.integers(0, BINS, random.integers(1, 71)).tolist()),
    )


def draw_path(random):
    places = random.integers(0, SCALE + 1, (random.integers(1, MOST_POINTS + 1), 2))
    return tuple(tuple(point) for point in places.tolist())
