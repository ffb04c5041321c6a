"""Draws a face state as a person's 256x256 picture.

Points of the face lie on an ellipsoid that turns with the head; everything is drawn at twice the
size and halved, which smooths the edges.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from reactdist.data.synth.person import Colour, Look
from reactdist.data.synth.state import Channel
from reactdist.schema import FRAME_PIXELS

C = Channel

SIDE = 2 * FRAME_PIXELS
HEAD_HEIGHT = 190.0  # half the head's height, in drawn pixels at rest
HEAD_DEPTH = 0.75  # of its height; how far features travel when the head turns
CENTRE = np.array([SIDE / 2, SIDE / 2 + 10])
WHITE: Colour = (245, 243, 240)
MOUTH_INSIDE: Colour = (52, 8, 14)

Points = list[tuple[float, float]]


def pictures(state: np.ndarray, look: Look) -> Iterator[np.ndarray]:
    """One (256, 256, 3) uint8 picture for each row of the state."""
    wall, light = _wall(look), _light(look)
    for row in state:
        picture = wall.copy()
        _draw_head(ImageDraw.Draw(picture), row, look)
        yield np.asarray(ImageChops.multiply(picture.reduce(2), light))


class _Head:
    """Where a point of the face lands in the picture: u right, v down, in head halves."""

    def __init__(self, row: np.ndarray, look: Look) -> None:
        yaw, pitch, roll = row[C.YAW], row[C.PITCH], row[C.ROLL]
        self._sin = np.sin([yaw, pitch, roll])
        self._cos = np.cos([yaw, pitch, roll])
        self._scale = HEAD_HEIGHT * (1 + 0.13 * row[C.LEAN])
        self._width = look.face_width

    def place(self, uv: np.ndarray) -> Points:
        """(P, 2) on the front of the face -> pixels."""
        u, v = uv[:, 0], uv[:, 1]
        depth = HEAD_DEPTH * np.sqrt(np.maximum(1 - u**2 - v**2, 0))
        return self._project(u * self._width, v, depth)

    def outline(self, uv: np.ndarray) -> Points:
        """(P, 2) of the silhouette, which only rolls and shifts."""
        depth = np.full(len(uv), 0.1)
        return self._project(uv[:, 0] * self._width, uv[:, 1], depth)

    def _project(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Points:
        (sy, sp, sr), (cy, cp, cr) = self._sin, self._cos
        # Yaw and pitch move what lies in front of the axis; the silhouette keeps its shape.
        x, y = x * (0.6 + 0.4 * cy) + z * sy, y * (0.6 + 0.4 * cp) + z * sp
        x, y = x * cr - y * sr, x * sr + y * cr
        return list(
            zip(
                (CENTRE[0] + self._scale * x).tolist(),
                (CENTRE[1] + self._scale * y).tolist(),
                strict=True,
            )
        )


_ANGLES = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_ACROSS = np.linspace(-1, 1, 11)


def _draw_head(draw: ImageDraw.ImageDraw, row: np.ndarray, look: Look) -> None:
    head = _Head(row, look)
    if look.hair_style in (1, 2):
        _hair_behind(draw, head, look)
    draw.polygon(head.outline(_CIRCLE * [1.0, 1.0]), fill=look.skin)
    _hair(draw, head, look)
    for side in (-1, 1):
        _eye(draw, head, row, look, side)
        _brow(draw, head, row, look, side)
    _nose(draw, head, row, look)
    _mouth(draw, head, row, look)
    if look.glasses:
        for side in (-1, 1):
            rim = head.place(_CIRCLE * [0.27, 0.17] + [side * 0.38, -0.13])
            draw.line([*rim, rim[0]], fill=(30, 30, 34), width=6)
        draw.line(head.place(np.array([[-0.11, -0.14], [0.11, -0.14]])), (30, 30, 34), 6)


def _hair_behind(draw: ImageDraw.ImageDraw, head: _Head, look: Look) -> None:
    if look.hair_style == 1:
        draw.polygon(head.outline(_CIRCLE * [1.22, 1.12] + [0, 0.06]), fill=look.hair)
    else:
        draw.polygon(head.outline(_CIRCLE * [0.42, 0.3] + [0, -1.08]), fill=look.hair)


def _hair(draw: ImageDraw.ImageDraw, head: _Head, look: Look) -> None:
    if look.hair_style == 3:
        return
    arc = np.linspace(np.pi * 1.03, np.pi * 1.97, 20)
    outer = np.stack([1.06 * np.cos(arc), 1.08 * np.sin(arc)], axis=1)
    inner = np.stack([0.93 * np.cos(arc), 0.3 * np.sin(arc) - 0.42], axis=1)
    draw.polygon(head.outline(np.concatenate([outer, inner[::-1]])), fill=look.hair)


def _eye(draw: ImageDraw.ImageDraw, head: _Head, row: np.ndarray, look: Look, side: int) -> None:
    openness = row[C.EYE_OPEN]
    centre = np.array([side * 0.38, -0.13])
    if openness < 0.15:
        lid = head.place(np.stack([0.17 * _ACROSS, 0 * _ACROSS], axis=1) + centre)
        draw.line(lid, fill=_shade(look.skin, 0.45), width=6)
        return
    draw.polygon(head.place(_CIRCLE * [0.185, 0.105 * openness] + centre), fill=WHITE)
    iris = centre + np.array([0.075 * row[C.GAZE], 0])
    reach = min(0.082, 0.1 * openness)
    draw.polygon(head.place(_CIRCLE * [0.085, reach] + iris), fill=(38, 30, 28))
    lid = head.place(_CIRCLE[20:] * [0.19, 0.105 * openness] + centre)
    draw.line(lid, fill=_shade(look.skin, 0.4), width=5)


def _brow(draw: ImageDraw.ImageDraw, head: _Head, row: np.ndarray, look: Look, side: int) -> None:
    """Inner ends go up in worry, down and together in a frown; the whole brow rises."""
    inner_to_outer = (_ACROSS + 1) / 2
    inner = (1 - inner_to_outer) ** 1.5
    v = -0.36 - 0.24 * row[C.BROW_RAISE] - 0.05 * np.sin(np.pi * inner_to_outer)
    v = v - 0.2 * row[C.BROW_INNER] * inner + 0.2 * row[C.BROW_FURROW] * inner
    v = v + 0.06 * row[C.BROW_INNER] * inner_to_outer
    u = 0.17 - 0.07 * row[C.BROW_FURROW] + (0.4 + 0.04 * row[C.BROW_FURROW]) * inner_to_outer
    line = head.place(np.stack([side * u, v], axis=1))
    draw.line(line, fill=_brow_colour(look), width=round(2 * look.brow_width), joint="curve")


def _nose(draw: ImageDraw.ImageDraw, head: _Head, row: np.ndarray, look: Look) -> None:
    dark = _shade(look.skin, 0.72)
    up = 0.05 * row[C.NOSE]
    bridge = np.array([[-0.05, -0.1], [-0.11, 0.2 - up], [0.0, 0.25 - up], [0.11, 0.2 - up]])
    draw.line(head.place(bridge), fill=dark, width=6, joint="curve")
    if row[C.NOSE] > 0.15:  # wrinkles beside the bridge
        width = round(2 + 7 * row[C.NOSE])
        for side in (-1, 1):
            for v in (-0.06, 0.03):
                wrinkle = np.array([[side * 0.05, v], [side * 0.17, v + 0.07]])
                draw.line(head.place(wrinkle), fill=_shade(look.skin, 0.5), width=width)


def _mouth(draw: ImageDraw.ImageDraw, head: _Head, row: np.ndarray, look: Look) -> None:
    """Corners rise and part in a smile; pressed lips are a thin line, an open jaw an oval."""
    smile, jaw, press = row[C.SMILE], row[C.JAW], row[C.LIP_PRESS]
    half = 0.36 + 0.14 * max(smile, 0) - 0.07 * jaw - 0.06 * press
    curve = -0.27 * smile * (_ACROSS**2 - 0.5)
    bow = 1 - _ACROSS**2
    gap = 0.36 * jaw * bow
    lip = (0.065 * (1 - 0.75 * press)) * np.sqrt(np.maximum(bow, 0.12))
    middle = 0.5 - 0.06 * row[C.NOSE]
    top, bottom = middle + curve - 0.25 * gap, middle + curve + 0.75 * gap
    u = half * _ACROSS
    lips = np.concatenate([np.stack([u, top - lip], 1), np.stack([u, bottom + 1.3 * lip], 1)[::-1]])
    draw.polygon(head.place(lips), fill=_lip_colour(look))
    if jaw > 0.05:
        inside = np.concatenate([np.stack([u, top], 1), np.stack([u, bottom], 1)[::-1]])
        draw.polygon(head.place(inside * [0.92, 1.0]), fill=MOUTH_INSIDE)
    else:
        draw.line(head.place(np.stack([u, top], 1)), fill=MOUTH_INSIDE, width=5)


def _shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (max(0, min(255, round(part * factor))) for part in colour)
    return r, g, b


def _brow_colour(look: Look) -> Colour:
    """Always clearly darker than the skin, whatever the hair."""
    hair, limit = np.array(look.hair), 0.35 * np.array(look.skin)
    r, g, b = np.minimum(hair, limit).astype(int).tolist()
    return r, g, b


def _lip_colour(look: Look) -> Colour:
    """Redder than the skin by about as much on every skin."""
    r, g, b = look.skin
    return min(255, round(0.55 * r + 95)), round(0.4 * g), round(0.45 * b)


def _wall(look: Look) -> Image.Image:
    """The room behind and the shoulders below."""
    across = 1 + look.wall_slope * np.linspace(-1, 1, SIDE)
    rows = np.clip(across[:, None] * np.array(look.wall), 0, 255)
    wall = Image.fromarray(np.broadcast_to(rows, (SIDE, SIDE, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(wall)
    draw.ellipse((20, SIDE - 90, SIDE - 20, SIDE + 200), fill=look.clothes)
    draw.rectangle((SIDE // 2 - 70, SIDE - 150, SIDE // 2 + 70, SIDE - 50), _shade(look.skin, 0.8))
    return wall


def _light(look: Look) -> Image.Image:
    across = look.light * (1 - 0.18 * (1 + look.light_side * np.linspace(1, -1, FRAME_PIXELS)) / 2)
    grey = np.clip(255 * across, 0, 255).astype(np.uint8)
    return Image.fromarray(
        np.ascontiguousarray(np.broadcast_to(grey[None, :, None], (FRAME_PIXELS, FRAME_PIXELS, 3)))
    )
