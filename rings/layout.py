"""Where everything in the picture of a ring goes: accounts around, what they share inside. The same ring, the same places.

Accounts stand on an ellipse, those that share the same things side by side, so that links cross little; in lines far
enough apart for their names to be written level. A shared thing lies at the centre of its accounts, moved only as far
as others need room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from rings.shown import Shown, ThingKey

Anchor = Literal["start", "middle", "end"]
_INWARD = 0.88
"""Part of the way from the middle to the centre of its accounts at which a shared thing is at home."""
_STEPS = 240
_MARGIN = 40
_INSIDE = (0.62, 0.74)
"""Parts of the ellipse's half axes, across and down, that shared things keep within."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing's measures, in its own units (CSS pixels where it is shown at its own width)."""

    width: float
    names: float
    """Most room beside the ellipse for the accounts' names."""
    line: float
    """Least distance of two names on one side."""
    least_height: float
    thing_width: float
    thing_height: float
    thing_names: int
    """Things are named in the drawing up to so many of them."""
    sideways: float
    """How readily things make room for each other sideways, against up and down."""


WIDE = Frame(860, 158, 19, 580, 104, 68, 24, 1.0)
NARROW = Frame(360, 98, 20, 420, 80, 56, 6, 0.3)
_NEAR_POLE = 0.3
"""Nodes this near to the middle have their names above or below, not beside them, where the next node stands."""
_LETTER = 7.0
"""Width of a letter of a name."""
_CLEAR = 27.0
"""Distance that a link of others keeps from a shared thing's centre, where there is room."""


@dataclass(frozen=True, slots=True)
class Spot:
    x: float
    y: float
    name_x: float
    name_y: float
    anchor: Anchor


@dataclass(frozen=True, slots=True)
class Layout:
    width: float
    top: float
    """Where the drawing begins; above is nothing."""
    height: float
    """From there."""
    accounts: dict[str, Spot]
    things: dict[ThingKey, tuple[float, float]]


def lay_out(shown: Shown, frame: Frame, longest_name: int = 18) -> Layout:
    shared: dict[str, dict[ThingKey, float]] = {m.user: {} for m in shown.members}
    for link in shown.links:
        shared[link.user][link.kind, link.entity] = 1.0
    order = around(shared)
    height = max(frame.least_height, math.ceil(len(order) / 2) * frame.line + 90)
    names = min(frame.names, 26 + _LETTER * longest_name)
    half = (frame.width / 2 - names, height / 2 - _MARGIN)
    accounts = _on_ellipse(order, frame, height, half)
    things = _inside([(t.kind, t.entity) for t in shown.things], shared, accounts, frame, half)
    drawn = [y for spot in accounts.values() for y in (spot.y - 16, spot.y + 16, spot.name_y - 14, spot.name_y + 8)]
    drawn += [edge for _, y in things.values() for edge in (y - 28, y + 44)]
    return Layout(frame.width, min(drawn), max(drawn) - min(drawn), accounts, things)


def around(shared: Mapping[str, Mapping[ThingKey, float]]) -> list[str]:
    """Users in a circle, like beside like: the shortest tour by what they do not share, begun at its widest gap."""
    users = list(shared)
    if len(users) < 4:
        return users
    apart = _apart(users, shared)
    tour = _two_opt(_nearest(apart), apart)
    gaps = [apart[tour[i - 1], tour[i]] for i in range(len(tour))]
    cut = max(range(len(tour)), key=lambda i: (round(gaps[i], 6), -tour[i]))
    tour = tour[cut:] + tour[:cut]
    half = len(tour) // 2
    if sum(tour[:half]) / half > sum(tour[-half:]) / half:
        tour.reverse()
    return [users[i] for i in tour]


def _apart(users: Sequence[str], shared: Mapping[str, Mapping[ThingKey, float]]) -> np.ndarray:
    """1 less the share of things two users have in common; a whiff of the order of joining settles ties."""
    n = len(users)
    result = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            a, b = shared[users[i]].keys(), shared[users[j]].keys()
            alike = len(a & b) / max(1, len(a | b))
            result[i, j] = result[j, i] = 1 - alike + 0.01 * (j - i) / n
    return result


def _nearest(apart: np.ndarray) -> list[int]:
    tour, left = [0], list(range(1, len(apart)))
    while left:
        tour.append(min(left, key=lambda j: (apart[tour[-1], j], j)))
        left.remove(tour[-1])
    return tour


def _two_opt(tour: list[int], apart: np.ndarray) -> list[int]:
    """Turn stretches of the tour around while that shortens it."""
    n, better, rounds = len(tour), True, 0
    while better and rounds < 40:
        better, rounds = False, rounds + 1
        for i in range(n - 1):
            for j in range(i + 2, n - (i == 0)):
                a, b, c, d = tour[i], tour[i + 1], tour[j], tour[(j + 1) % n]
                if apart[a, c] + apart[b, d] < apart[a, b] + apart[c, d] - 1e-9:
                    tour[i + 1 : j + 1] = reversed(tour[i + 1 : j + 1])
                    better = True
    return tour


def _on_ellipse(order: Sequence[str], frame: Frame, height: float, half: tuple[float, float]) -> dict[str, Spot]:
    n = len(order)
    angles = [-math.pi / 2 + (k + 0.5) * math.tau / n for k in range(n)]
    sines = [math.sin(angle) for angle in angles]
    right = [k for k in range(n) if math.cos(angles[k]) > 1e-9]
    left = [k for k in range(n) if math.cos(angles[k]) < -1e-9][::-1]
    for side in (right, left):
        for k, y in zip(side, _spread([sines[k] for k in side], frame.line / half[1]), strict=True):
            sines[k] = y
    spots = {}
    for k, user in enumerate(order):
        way = 1.0 if k in right else -1.0 if k in left else 0.0
        out_x = way * math.sqrt(max(0.0, 1 - sines[k] ** 2))
        x, y = frame.width / 2 + out_x * half[0], height / 2 + sines[k] * half[1]
        if not way:
            spots[user] = Spot(x, y, x, y + (27 if sines[k] > 0 else -18), "middle")
        elif abs(out_x) < _NEAR_POLE:
            above = 25 if sines[k] > 0 else -15
            spots[user] = Spot(x, y, x - way * 6, y + above, "start" if way > 0 else "end")
        else:
            spots[user] = Spot(x, y, x + way * 17, y + 4, "start" if way > 0 else "end")
    return spots


def _spread(heights: list[float], least: float) -> list[float]:
    """The given heights, from top to bottom, pulled towards even ones until neighbours are `least` apart."""
    n = len(heights)
    if n < 2:
        return heights
    even = [-0.985 + 1.97 * i / (n - 1) for i in range(n)]
    for share in (0.0, 0.25, 0.5, 0.75, 0.9):
        pulled = [(1 - share) * h + share * e for h, e in zip(heights, even, strict=True)]
        if all(b - a >= least for a, b in pairwise(pulled)):
            return pulled
    return even


def _inside(
    keys: Sequence[ThingKey],
    shared: Mapping[str, Mapping[ThingKey, float]],
    accounts: Mapping[str, Spot],
    frame: Frame,
    half: tuple[float, float],
) -> dict[ThingKey, tuple[float, float]]:
    """Shared things at the centres of their accounts, then pushed apart until none covers another."""
    if not keys:
        return {}
    centre = np.array([frame.width / 2, half[1] + _MARGIN])
    homes = []
    for i, key in enumerate(keys):
        near = np.array([(accounts[u].x, accounts[u].y) for u, things in shared.items() if key in things])
        turn, away = 2.39996 * i, 3.0 * math.sqrt(i)
        homes.append(
            centre + _INWARD * (near.mean(axis=0) - centre) + away * np.array([math.cos(turn), math.sin(turn)])
        )
    home = np.array(homes)
    room = np.array([frame.thing_width, frame.thing_height])
    if len(keys) > frame.thing_names:
        room = np.array([44.0, 42.0])
    within = np.array(half) * np.array(_INSIDE)
    ends = [
        (accounts[u].x, accounts[u].y, i) for u, things in shared.items() for i, key in enumerate(keys) if key in things
    ]
    place = _within(home.copy(), centre, within)
    for step in range(_STEPS):
        easing = 1 - step / _STEPS
        place += 0.06 * easing * (home - place)
        if easing > 0.2:
            place += _clear_of_links(place, np.array(ends))
        place = _within(place + _pushes(place, room, frame.sideways), centre, within)
    return {key: (float(x), float(y)) for key, (x, y) in zip(keys, place, strict=True)}


def _clear_of_links(place: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How far each is to move off the links of others that would pass behind it."""
    start, to = ends[:, :2], place[ends[:, 2].astype(int)]
    along = to - start
    length = np.maximum(1.0, (along**2).sum(axis=1))
    away = place[:, None, :] - start[None, :, :]
    part = (away * along).sum(axis=2) / length
    off = away - part[..., None] * along
    gap = np.hypot(off[..., 0], off[..., 1])
    others = ends[:, 2].astype(int)[None, :] != np.arange(len(place))[:, None]
    close = others & (part > 0) & (part < 1) & (gap < _CLEAR)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.sqrt(length)[:, None]
    way = np.where(gap[..., None] > 0.5, off / np.maximum(gap, 0.5)[..., None], normal[None, :, :])
    push = way * ((_CLEAR - gap) * close)[..., None]
    return np.asarray(0.25 * push.sum(axis=1) / np.maximum(1, close.sum(axis=1))[:, None])


def _pushes(place: np.ndarray, room: np.ndarray, ease: float) -> np.ndarray:
    """How far each is to move so that no two overlap, along the axis on which two overlap least."""
    apart = place[:, None, :] - place[None, :, :]
    over = room - np.abs(apart)
    touching = (over > 0).all(axis=2) & ~np.eye(len(place), dtype=bool)
    if not touching.any():
        return np.zeros_like(place)
    index = np.arange(len(place))
    way = np.where(apart != 0, np.sign(apart), np.where(index[:, None, None] > index[None, :, None], 1.0, -1.0))
    sideways = over[..., 0] / room[0] <= ease * over[..., 1] / room[1]
    along = np.stack([sideways, ~sideways], axis=2)
    return np.asarray((way * over * along * touching[..., None] * 0.4).sum(axis=1))


def _within(place: np.ndarray, centre: np.ndarray, half: np.ndarray) -> np.ndarray:
    out = (place - centre) / half
    far = np.maximum(1.0, np.hypot(out[:, 0], out[:, 1]))
    return np.asarray(centre + out / far[:, None] * half)
