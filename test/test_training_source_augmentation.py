# SPDX-License-Identifier: Apache-2.0
"""Augmentation: what is drawn into a picture lands where the transform says."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from dm0_ros.errors import Dm0Error
from dm0_ros.policy.pictures import PadColour, prepare_picture
from dm0_ros.training.sources.augmentation import (
    AugmentationSettings,
    augment_picture,
    augment_sample,
    fit_picture,
    move_box,
    move_places,
)
from dm0_ros.training.sources.sample import Sample

SETTINGS = AugmentationSettings()
STILL = AugmentationSettings(recoloured=0.0)
SIZE = 224


def draw_dot(width, height, place):
    """A picture with a round dot at a place, its middle to a fraction of a pixel."""
    v, u = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(u - place[0], v - place[1])
    levels = 255 * np.clip(6.5 - distance, 0, 1)
    return np.repeat(levels[..., None], 3, axis=2).astype(np.uint8)


def find_dot(picture):
    levels = picture[..., 1].astype(float)
    v, u = np.mgrid[: levels.shape[0], : levels.shape[1]] + 0.5
    return np.array([(u * levels).sum(), (v * levels).sum()]) / levels.sum()


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (100, 100), (700, 500)])
@pytest.mark.parametrize("main", [True, False])
def test_a_dot_lands_where_the_transform_says(size, main):
    width, height = size
    for seed in range(6):
        random = np.random.default_rng(seed)
        place = random.uniform([0.2 * width, 0.2 * height], [0.8 * width, 0.8 * height])
        result = augment_picture(draw_dot(width, height, place), SIZE, main, STILL, random)
        expected = move_places(place, result.transform)
        assert np.linalg.norm(find_dot(result.picture) - expected) < 0.03


def test_the_main_view_turns_and_the_others_stay():
    picture = draw_dot(320, 240, (100, 100))
    moved, others = [], []
    for seed in range(200):
        for main, found in ((True, moved), (False, others)):
            result = augment_picture(picture, SIZE, main, SETTINGS, np.random.default_rng(seed))
            found.append(result.transform)
    assert all(np.array_equal(transform, fit_picture(picture, SIZE)[1]) for transform in others)
    linear = np.array(moved)[:, :, :2] / (SIZE / 320)
    angles = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert -5 <= angles.min() < -4 and 4 < angles.max() <= 5
    areas = 1 / np.linalg.det(linear)
    np.testing.assert_allclose(areas, 0.95)
    corners = np.array([[0, 0], [SIZE, SIZE]])
    unturned = AugmentationSettings(rotation=0.0)
    for seed in range(20):
        random = np.random.default_rng(seed)
        result = augment_picture(np.zeros((SIZE, SIZE, 3), np.uint8), SIZE, True, unturned, random)
        low, high = move_places(corners, result.transform)
        assert np.all(low <= 1e-9) and np.all(high >= SIZE - 1e-9), "the crop leaves the picture"


def test_without_chance_it_is_what_a_robot_sees():
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    square, _ = fit_picture(picture, 32)
    expected = prepare_picture(picture, 32, PadColour.BLACK)
    np.testing.assert_allclose(square / 127.5 - 1, expected.transpose(1, 2, 0), atol=1e-6)


def recolour_many(**changes):
    """One colour of red, changed three hundred times."""
    picture = np.full((8, 8, 3), (120, 60, 60), np.uint8)
    settings = replace(SETTINGS, **changes)
    generators = [np.random.default_rng(seed) for seed in range(300)]
    seen = [augment_picture(picture, 8, False, settings, generator) for generator in generators]
    return np.array([item.picture[0, 0] for item in seen])


def test_half_of_the_pictures_are_recoloured():
    changed = np.any(recolour_many() != (120, 60, 60), axis=1)
    assert 110 < changed.sum() < 190


def test_brightness_and_hue_stay_within_bounds():
    nothing = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    bright = recolour_many(recoloured=1.0, **(nothing | {"brightness": 0.3}))[:, 0] / 120
    assert 0.69 < bright.min() < 0.75 and 1.25 < bright.max() < 1.31
    hued = recolour_many(recoloured=1.0, **(nothing | {"hue": 0.1}))
    hues = cv2.cvtColor(hued[None], cv2.COLOR_RGB2HSV_FULL)[0, :, 0]
    turns = (hues / 256.0 + 0.5) % 1 - 0.5
    assert -0.115 < turns.min() < -0.08 and 0.08 < turns.max() < 0.115


@pytest.mark.parametrize("key", ["brightness", "contrast", "saturation", "hue"])
def test_each_way_to_recolour_does_something(key):
    only = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)
    most = {"hue": 0.5}.get(key, 1.0)
    settings = AugmentationSettings(recoloured=1.0, **(only | {key: most}))
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    changed = augment_picture(picture, 8, False, settings, np.random.default_rng(1)).picture
    assert not np.array_equal(changed, picture)
    still = AugmentationSettings(recoloured=1.0, **only)
    same = augment_picture(picture, 8, False, still, np.random.default_rng(1)).picture
    assert abs(same.astype(int) - picture).max() <= 8  # hue and back again rounds


def test_a_sample_changes_by_its_generator_alone():
    views = {name: draw_dot(64, 48, (20, 20)) for name in ("front", "wrist")}
    sample = Sample(views, "go", None, None, "there", None, "made up")
    results = [
        augment_sample(sample, 32, "front", SETTINGS, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    ]
    (first, transforms), (again, _), (other, _) = results
    assert list(transforms) == ["front", "wrist"] and first.answer == "there"
    for name in views:
        assert first.pictures[name].shape == (32, 32, 3)
        np.testing.assert_array_equal(first.pictures[name], again.pictures[name])
    assert not np.array_equal(first.pictures["front"], other.pictures["front"])
    np.testing.assert_array_equal(sample.pictures["front"], draw_dot(64, 48, (20, 20)))


def test_boxes_grow_around_what_is_turned():
    quarter = np.array([[0.0, -1.0, 100.0], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(move_box((10, 20, 30, 60), quarter), (40, 10, 80, 30))


@pytest.mark.parametrize(("key", "value"), [("area", 0.0), ("hue", 0.7), ("contrast", -0.1)])
def test_impossible_settings_are_refused(key, value):
    with pytest.raises(Dm0Error, match=f"{key}: is"):
        AugmentationSettings(**{key: value})
