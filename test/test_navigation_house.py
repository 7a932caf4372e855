# SPDX-License-Identifier: Apache-2.0
"""Houses as data, free space, shortest ways and view points, against figures worked by hand."""

import itertools
import math

import numpy as np
import pytest
from houses import GREY, make_house, two_rooms
from hypothesis import given, settings
from hypothesis import strategies as some

from dm0_ros.navigation.free_space import FreeSpace
from dm0_ros.navigation.geodesic import Corners, Geodesic
from dm0_ros.navigation.house import HouseError, Opening, Part, Piece, Room, Shape, load_house
from dm0_ros.navigation.view_points import can_see, find_view_points, gap_to

RADIUS = 0.2
HOUSE = load_house("house")
SPACE = FreeSpace(HOUSE, 0.18)
CORNERS = Corners(SPACE)


def make_geodesic(house, goals):
    space = FreeSpace(house, RADIUS)
    return Geodesic(Corners(space), np.array(goals))


def test_the_base_fits_between_walls_and_furniture():
    space = FreeSpace(make_house(), RADIUS)
    # walls of 0.1, a box from 2.8 to 3.2 and from 1.8 to 2.2
    free = [(0.301, 2.0), (5.699, 2.0), (2.599, 2.0), (3.0, 2.401), (2.61, 1.59)]
    taken = [(0.299, 2.0), (5.701, 2.0), (2.601, 2.0), (3.0, 2.399), (-1.0, 2.0), (3.0, 2.0)]
    assert space.is_free(free).all()
    assert not space.is_free(taken).any()


def test_a_drive_stops_where_it_touches():
    space = FreeSpace(make_house(), RADIUS)
    assert space.drive((1.0, 2.0), (5.0, 2.0)) == pytest.approx([2.6, 2.0], abs=1e-5)
    assert space.drive((1.0, 2.0), (2.0, 2.0)) == pytest.approx([2.0, 2.0])
    # it does not slide: y stays too
    assert space.drive((1.0, 1.0), (-1.0, 2.0)) == pytest.approx([0.3, 1.35], abs=1e-5)
    reached = space.drive((1.0, 2.0), (5.0, 2.0))
    assert space.is_free(reached)[0]
    assert space.drive(reached, (1.0, 2.0)) == pytest.approx([1.0, 2.0])
    assert space.drive((1.0, 2.0), (1.0, 2.0)) == pytest.approx([1.0, 2.0])


def test_a_straight_way_and_one_around_a_box():
    geodesic = make_geodesic(make_house(), [[5.0, 2.0]])
    assert geodesic.distance([[5.0, 1.0]])[0] == pytest.approx(1.0)
    # over the corners (2.6, 2.4) and (3.4, 2.4) of the grown box
    wanted = 2 * math.hypot(1.6, 0.4) + 0.8
    assert geodesic.distance([[1.0, 2.0]])[0] == pytest.approx(wanted)
    way = geodesic.path([1.0, 2.0])
    assert np.abs(way[1:3, 1] - 2.0) == pytest.approx([0.4, 0.4])
    assert way[[0, -1]].tolist() == [[1.0, 2.0], [5.0, 2.0]]


def test_through_a_door():
    # the door is free from y = 0.3 to 0.9, and 0.6 deep: wall to wall, grown by the radius
    geodesic = make_geodesic(two_rooms(), [[5.0, 3.5]])
    wanted = 2 * math.hypot(0.7, 2.6) + 0.6
    assert geodesic.distance([[3.0, 3.5]])[0] == pytest.approx(wanted)


def test_no_way_is_infinite():
    house = make_house(
        rooms=(
            Room("one", (0.0, 0.0), (4.0, 4.0), GREY, GREY),
            Room("two", (4.0, 0.0), (8.0, 4.0), GREY, GREY),
        ),
        pieces=(Piece("box", "box", (7.0, 3.0)),),
    )
    geodesic = make_geodesic(house, [[5.0, 3.5]])
    assert geodesic.distance([[3.0, 3.5], [5.0, 3.0]]) == pytest.approx([np.inf, 0.5])
    assert geodesic.path([3.0, 3.5]).shape == (0, 2)
    assert np.isinf(make_geodesic(house, np.empty((0, 2))).distance([[1.0, 1.0]]))


@settings(max_examples=40, deadline=None)
@given(seed=some.integers(0, 2**32 - 1))
def test_distances_are_those_of_a_metric_and_ways_can_be_driven(seed):
    start, middle, end = SPACE.sample(np.random.default_rng(seed), 3)
    to_end, to_start = Geodesic(CORNERS, end), Geodesic(CORNERS, start)
    (there,), (back,) = to_end.distance(start), to_start.distance(end)
    assert there == pytest.approx(back)
    assert np.linalg.norm(end - start) - 1e-9 <= there < math.inf
    via = to_start.distance(middle)[0] + to_end.distance(middle)[0]
    assert there <= via + 1e-9
    way = to_end.path(start)
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).sum() == pytest.approx(there)
    for one, two in itertools.pairwise(way):
        assert SPACE.is_clear(one[None], two[None])[0, 0]


def test_all_of_the_house_can_be_reached():
    distances = Geodesic(CORNERS, [[2.5, 6.0]]).distance(SPACE.grid(0.2))
    assert np.isfinite(distances).all() and len(distances) > 500


def test_walls_have_openings_and_nothing_else():
    solids = two_rooms().wall_solids
    areas = [solid.size[0] * solid.size[1] for solid in solids]
    # each room: two walls of 4 m, two of 3.8 m between them; the door takes 1 m from one of each
    assert sum(areas) == pytest.approx(0.1 * (2 * (4 + 4 + 3.8 + 3.8) - 2 * 1.0))
    middle = np.array([[4.0, 0.6]])
    assert FreeSpace(two_rooms(), RADIUS).is_free(middle)[0]


def test_furniture_is_turned_by_quarters():
    part = Part(Shape.BOX, (0.5, 0.0, 0.1), (0.4, 0.2, 0.2), GREY)
    for turns, centre, size in (
        (0, (1.5, 2.0), (0.4, 0.2)),
        (1, (1.0, 2.5), (0.2, 0.4)),
        (2, (0.5, 2.0), (0.4, 0.2)),
        (3, (1.0, 1.5), (0.2, 0.4)),
    ):
        house = make_house(
            kinds={"box": (part,)}, pieces=(Piece("box", "box", (1.0, 2.0), turns),)
        )
        (solid,) = house.furniture["box"]
        assert solid.position[:2] == pytest.approx(centre)
        assert solid.size[:2] == pytest.approx(size)
        low, high = np.array(centre) - np.array(size) / 2, np.array(centre) + np.array(size) / 2
        assert house.footprints["box"] == pytest.approx([*low, *high])


def test_view_points_are_near_free_and_see_the_object():
    space = FreeSpace(make_house(), RADIUS)
    points = find_view_points(space, "box", 1.0, 0.88)
    gaps = gap_to(points, np.array([2.8, 1.8, 3.2, 2.2]))
    assert space.is_free(points).all() and gaps.max() <= 1.0
    # the nearest that fit, and about the area of the ring between 0.2 and 1 m
    assert gaps.min() == pytest.approx(0.25)
    ring = (0.4 + 2.0) ** 2 - (4 - math.pi) * 1.0 - 0.8**2
    assert len(points) * 0.01 == pytest.approx(ring, rel=0.05)


def test_a_wall_hides_what_is_behind_it():
    house = two_rooms()
    eyes = np.array([[5.0, 3.0, 0.88], [3.0, 3.0, 0.88], [3.0, 1.0, 0.88], [3.95, 0.9, 0.88]])
    assert can_see(house, eyes, "box").tolist() == [True, False, False, True]


def test_low_furniture_hides_nothing_from_above():
    low = Part(Shape.BOX, (0.0, 0.0, 0.2), (0.4, 0.4, 0.4), GREY)
    high = Part(Shape.BOX, (0.0, 0.0, 0.8), (0.4, 0.4, 1.6), GREY)
    for screen, seen in ((low, True), (high, False)):
        box = Part(Shape.BOX, (0.0, 0.0, 0.7), (0.4, 0.4, 0.4), GREY)
        house = make_house(
            kinds={"box": (box,), "screen": (screen,)},
            pieces=(Piece("box", "box", (4.0, 2.0)), Piece("screen", "screen", (3.0, 2.0))),
        )
        assert can_see(house, np.array([[2.0, 2.0, 0.88]]), "box").tolist() == [seen]


BAD = [
    ({"pieces": (Piece("x", "sofa", (1.0, 1.0)),)}, r"pieces\[0\].kind: unknown kind 'sofa'"),
    ({"pieces": (Piece("x", "box", (1, 1)),) * 2}, r"pieces\[1\].name: x appears twice"),
    ({"categories": ("box", "bed")}, r"categories\[1\]: no piece is a bed"),
    ({"openings": (Opening((1.0, 1.0), (1.0, 2.0)),)}, r"openings\[0\]: lower must be below"),
]


@pytest.mark.parametrize(("change", "says"), BAD)
def test_contradictions_are_refused(change, says):
    with pytest.raises(HouseError, match=says):
        make_house(**change)


def test_a_broken_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "house.yaml"
    path.write_text("name: x\nwalls: {thickness: thick, height: 2.0}\n")
    with pytest.raises(HouseError, match=r"house.yaml:"):
        load_house(path)


def test_a_category_that_is_not_there():
    with pytest.raises(HouseError, match="no category 'sink'; it has chair, couch"):
        HOUSE.pieces_of("sink")


def test_test_sentences_are_not_those_of_training():
    assert not set(HOUSE.instructions.training) & set(HOUSE.instructions.test)
