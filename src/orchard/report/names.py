"""Many names in little room: those of an order's tasks are made of a few parts (pure)."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["pack_names"]


def pack_names(names: Sequence[str], sizes: Sequence[int]) -> dict[str, Any]:
    """Pack the names of all combinations of some axes (the last one fastest).

    Parameters
    ----------
    names : sequence of str
    sizes : sequence of int
        Of the axes; what they multiply to need not be how many names there are.

    Returns
    -------
    dict
        ``{"parts": […]}``: literal texts, and ``[axis, values]`` for what depends on one axis; or,
        where names are not made in this way, ``{"front": […]}``: for each name how many of its
        first characters are those of the name before it, then the rest, by turns.
    """
    if len(names) == math.prod(sizes) and names:
        parts = _parts(names, sizes)
        if parts is not None and _joined(parts, sizes) == list(names):
            return {"parts": parts}
    front: list[int | str] = []
    before = ""
    for name in names:
        same = _common([before, name])
        front += [same, name[same:]]
        before = name
    return {"front": front}


def _parts(names: Sequence[str], sizes: Sequence[int]) -> list[Any] | None:
    """Take the first name apart: where the names that differ from it on one axis differ."""
    first = names[0]
    spans: list[tuple[int, int, int, list[str]]] = []
    step = 1
    for axis in reversed(range(len(sizes))):
        along = list(names[: step * sizes[axis] : step])
        step *= sizes[axis]
        start, tail = _span(along)
        if start + tail < len(first) or len(set(along)) > 1:
            values = [name[start : len(name) - tail] for name in along]
            spans.append((start, len(first) - tail, axis, values))
    parts: list[Any] = []
    at = 0
    for start, end, axis, values in sorted(spans, key=lambda span: span[:2]):
        if start < at:
            return None  # parts of two axes are mixed up
        if start > at:
            parts.append(first[at:start])
        parts.append([axis, values])
        at = end
    return [*parts, first[at:]] if at < len(first) else parts


def _span(names: Sequence[str]) -> tuple[int, int]:
    """Return how many characters all have in common at their begin, and then at their end."""
    start = _common(names)
    tails = [name[start:][::-1] for name in names]
    return start, _common(tails)


def _common(texts: Sequence[str]) -> int:
    """Return how many first characters all have in common: those of the first and last in order."""
    low, high = min(texts), max(texts)
    return next((at for at, letter in enumerate(low) if letter != high[at]), len(low))


def _joined(parts: Sequence[Any], sizes: Sequence[int]) -> list[str]:
    names = []
    for index in product(*map(range, sizes)):
        words = (part if isinstance(part, str) else part[1][index[part[0]]] for part in parts)
        names.append("".join(words))
    return names
