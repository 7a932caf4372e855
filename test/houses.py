# SPDX-License-Identifier: Apache-2.0
"""Small houses for tests, in which distances can be worked out by hand."""

from dm0_ros.navigation.house import House, Opening, Part, Piece, Room, Sentences, Shape, Walls

GREY = (0.5, 0.5, 0.5)
SENTENCES = Sentences(training=("find the {object}",), test=("go to the {object}",))


def make_house(rooms=None, pieces=None, openings=(), kinds=None, categories=("box",)) -> House:
    """One room of 6 m x 4 m with a box of 0.4 m in its middle, or what is given instead."""
    room = Room("room", (0.0, 0.0), (6.0, 4.0), GREY, GREY)
    part = Part(Shape.BOX, (0.0, 0.0, 0.4), (0.4, 0.4, 0.8), (0.9, 0.1, 0.1))
    return House(
        name="test",
        walls=Walls(thickness=0.1, height=2.0),
        rooms=rooms or (room,),
        openings=openings,
        kinds=kinds or {"box": (part,)},
        pieces=(Piece("box", "box", (3.0, 2.0)),) if pieces is None else pieces,
        categories=categories,
        instructions=SENTENCES,
    )


def two_rooms() -> House:
    """Two rooms of 4 m x 4 m beside each other, a door of 1 m at the lower end between them."""
    return make_house(
        rooms=(
            Room("left", (0.0, 0.0), (4.0, 4.0), GREY, GREY),
            Room("right", (4.0, 0.0), (8.0, 4.0), GREY, (0.2, 0.2, 0.8)),
        ),
        openings=(Opening((3.9, 0.1), (4.1, 1.1)),),
        pieces=(Piece("box", "box", (7.0, 3.0)),),
    )
