"""Composites and indices: one picture of a period, one number of several bands (pure).

Arrays of a stack are ``(time, y, x)``; masks are True where a pixel is usable. Formulas are never
handed to Python: they are parsed, looked through node by node, and worked out by simpleeval with
nothing but arithmetic in reach.

Sources of the indices: NDVI, Rouse et al. 1974 (NASA SP-351); NBR, Key and Benson 2006 (FIREMON,
LA-1); EVI, Huete et al. 2002 (doi:10.1016/S0034-4257(02)00096-2).
"""

from __future__ import annotations

import ast
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from orchard.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "INDICES",
    "best_pixel",
    "check_formula",
    "evaluate",
    "formula_bands",
    "median",
    "rank_acquisitions",
]

INDICES: Mapping[str, str] = MappingProxyType(
    {
        "NDVI": "(nir - red) / (nir + red)",
        "NBR": "(nir - swir2) / (nir + swir2)",
        "EVI": "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)",
    }
)
"""Formulas by name; the bands are reflectance, 0 to 1."""

_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": np.abs,
        "sqrt": np.sqrt,
        "log": np.log,
        "exp": np.exp,
        "minimum": np.minimum,
        "maximum": np.maximum,
        "where": np.where,
    }
)
_ARGUMENTS = {"minimum": 2, "maximum": 2, "where": 3}
_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = MappingProxyType(
    {
        ast.Add: np.add,
        ast.Sub: np.subtract,
        ast.Mult: np.multiply,
        ast.Div: np.divide,
        ast.Pow: np.power,
        ast.USub: np.negative,
        ast.UAdd: np.positive,
        ast.Lt: np.less,
        ast.LtE: np.less_equal,
        ast.Gt: np.greater,
        ast.GtE: np.greater_equal,
        ast.Eq: np.equal,
        ast.NotEq: np.not_equal,
    }
)
_LONGEST = 500
_MOST_NODES = 200


def median(values: NDArray[Any], usable: NDArray[np.bool_], nodata: float) -> NDArray[Any]:
    """Return the median over time of the usable pixels.

    Parameters
    ----------
    values : ndarray (time, y, x)
    usable : ndarray of bool (time, y, x)
        Clear, and with data.
    nodata : float
        What a pixel becomes that is never usable.

    Returns
    -------
    ndarray (y, x)
        Of the values' type. Of an even number it is the mean of the middle two, for integers
        rounded half up.
    """
    count = usable.sum(axis=0)
    highest = np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    ordered = np.sort(np.where(usable, values, values.dtype.type(highest)), axis=0)
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0)[None], axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(ordered) - 1)[None], axis=0)[0]
    if values.dtype.kind == "f":
        middle = (low + high) / 2
    else:
        # Half of the difference, not of the sum, which may not fit the type.
        middle = low + ((high.astype(np.int64) - low + 1) // 2).astype(values.dtype)
    found: NDArray[Any] = np.where(count > 0, middle, values.dtype.type(nodata))
    return found.astype(values.dtype, copy=False)


def rank_acquisitions(clear_fraction: Sequence[float], days: Sequence[float]) -> list[int]:
    """Return the acquisitions' numbers, the best first.

    The clearest is the best, so that neighbouring pixels come from the same day where they can; of
    equally clear ones that which is nearest to the middle of the period.

    Parameters
    ----------
    clear_fraction : sequence of float
        Part of the tile that is usable, 0 to 1.
    days : sequence of float
        Distance of each acquisition from the middle of the period.
    """
    return sorted(range(len(days)), key=lambda i: (-clear_fraction[i], abs(days[i]), i))


def best_pixel(usable: NDArray[np.bool_], ranked: Sequence[int]) -> NDArray[np.intp]:
    """Return for each pixel the number of the best acquisition that is usable there; -1: none.

    Parameters
    ----------
    usable : ndarray of bool (time, y, x)
    ranked : sequence of int
        See `rank_acquisitions`.

    Returns
    -------
    ndarray of int (y, x)
    """
    order = np.asarray(ranked, dtype=np.intp)
    ordered = usable[order]
    return np.where(ordered.any(axis=0), order[np.argmax(ordered, axis=0)], -1)


def check_formula(formula: str) -> ast.expr:
    """Return the tree of a formula that holds nothing but arithmetic.

    Raises
    ------
    InputError
        It says what in the formula is not that.
    """
    if len(formula) > _LONGEST:
        raise InputError(f"the formula has {len(formula)} characters: at most {_LONGEST}")
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"{formula!r} is not a formula") from None
    nodes = list(ast.walk(tree))
    if len(nodes) > _MOST_NODES:
        raise InputError(f"the formula has {len(nodes)} parts: at most {_MOST_NODES}")
    for node in nodes:
        if problem := _problem(node):
            raise InputError(f"{formula!r} is not a formula: {problem}")
    if not formula_bands(tree):
        raise InputError(f"{formula!r} names no band")
    return tree


def formula_bands(tree: ast.expr) -> set[str]:
    """Return the names of the bands in a formula."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called
    }


def _problem(node: ast.AST) -> str | None:
    """Say what is wrong with one node of a tree; None: nothing."""
    if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Load, ast.Name)):
        if isinstance(node, ast.Compare) and len(node.ops) != 1:
            return "compare two things at a time"
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return f"{node.id} is not the name of a band"
        return None
    if type(node) in _OPERATORS:
        return None
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30:
            return f"{value!r} is not a number"
        return None
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else "this"
        if name not in _FUNCTIONS:
            return f"{name} is not a function of it ({', '.join(_FUNCTIONS)})"
        if node.keywords or len(node.args) != _ARGUMENTS.get(name, 1):
            return f"{name} takes {_ARGUMENTS.get(name, 1)} arguments"
        return None
    return f"it has a {type(node).__name__}, but only arithmetic is understood"


def evaluate(formula: str, bands: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Work out a formula.

    Parameters
    ----------
    formula : str
    bands : mapping of str to ndarray
        Physical numbers as floats of one shape, NaN where there is no data.

    Returns
    -------
    ndarray of float32
        NaN where a band has no data, or the result is no finite number.

    Raises
    ------
    InputError
        The formula is none, or names a band that is not there.
    """
    from simpleeval import SimpleEval

    tree = check_formula(formula)
    used = formula_bands(tree)
    if missing := sorted(used - set(bands)):
        raise InputError(f"there is no band {missing[0]!r}: the bands are {', '.join(bands)}")
    evaluator = SimpleEval(
        operators=dict(_OPERATORS),
        functions=dict(_FUNCTIONS),
        names={name: bands[name] for name in used},
    )
    # The tree was looked through already. This is the second lock: what could reach into an
    # array's methods is taken out of the evaluator itself, and numbers stay floats, whose powers
    # overflow to infinity instead of filling the memory.
    wanted = {ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Constant}
    evaluator.nodes = {kind: f for kind, f in evaluator.nodes.items() if kind in wanted}
    evaluator.nodes[ast.Constant] = lambda node: np.float64(node.value)
    with np.errstate(all="ignore"):
        result = np.asarray(evaluator.eval(formula, previously_parsed=tree), dtype=np.float32)
        nowhere = np.any([np.isnan(bands[name]) for name in used], axis=0)
    shape = np.broadcast_shapes(result.shape, nowhere.shape)
    whole = np.broadcast_to(result, shape)
    return np.where(np.isfinite(whole) & ~nowhere, whole, np.float32(np.nan))
