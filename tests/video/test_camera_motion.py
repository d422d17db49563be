"""The background from keyframe to keyframe."""

import cv2
import numpy as np

from fourd_humans.video.camera_motion import CameraMotion, background, homography_between

NOBODY = np.zeros((0, 4), np.float32)


def textured(seed=0, size=(480, 640)):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (size[0] // 8, size[1] // 8, 3), np.uint8)
    return cv2.GaussianBlur(cv2.resize(image, size[::-1], interpolation=cv2.INTER_NEAREST), (0, 0), 1.5)


def warped(image, homography):
    return cv2.warpPerspective(image, homography, image.shape[1::-1], flags=cv2.INTER_LINEAR)


def largest_error(found, true, size=(480, 640)):
    corners = np.float64([[0, 0, 1], [size[1], 0, 1], [0, size[0], 1], [size[1], size[0], 1]])
    a, b = corners @ found.T, corners @ true.T
    return np.abs(a[:, :2] / a[:, 2:] - b[:, :2] / b[:, 2:]).max()


def test_a_pan_is_found():
    image = textured()
    true = np.array([[1.02, 0.01, -25.0], [-0.01, 1.01, 8.0], [2e-5, 1e-5, 1.0]])
    found = homography_between(background(image, NOBODY), background(warped(image, true), NOBODY))
    assert largest_error(found, true) < 2


def test_large_frames_give_pixels_of_the_full_frame():
    image = cv2.resize(textured(), (1920, 1440), interpolation=cv2.INTER_CUBIC)
    true = np.array([[1, 0, 60.0], [0, 1, -24.0], [0, 0, 1]])
    found = homography_between(background(image, NOBODY), background(warped(image, true), NOBODY))
    assert largest_error(found, true, (1440, 1920)) < 6


def test_people_do_not_count_as_background():
    """Most of the picture is a person who moves; what is left stands still."""
    wall, person = textured(1), textured(2)
    frames = []
    for shift in (0, 15):
        frame = wall.copy()
        frame[:, 120 + shift : 520 + shift] = person[:, 120:520]
        frames.append(background(frame, np.array([[120 + shift, 0, 520 + shift, 480]], np.float32)))
    assert all(((f.points[:, 0] < 120) | (f.points[:, 0] > 520)).all() for f in frames)
    assert largest_error(homography_between(*frames), np.eye(3)) < 1


def test_what_no_homography_explains_is_none():
    assert homography_between(background(textured(3), NOBODY), background(textured(4), NOBODY)) is None
    plain = np.full((480, 640, 3), 128, np.uint8)
    assert homography_between(background(plain, NOBODY), background(plain, NOBODY)) is None


def test_a_cut_breaks_the_chain():
    first, second = background(textured(5), NOBODY), background(textured(6), NOBODY)
    camera = CameraMotion()
    assert camera.update(first, False) is None
    assert camera.update(None, False) is None
    assert largest_error(camera.update(first, False), np.eye(3)) < 0.5
    assert camera.update(second, True) is None
    assert largest_error(camera.update(second, False), np.eye(3)) < 0.5
    assert np.isnan(camera.update(first, False)).all()
