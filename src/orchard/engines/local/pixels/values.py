"""Values of source pixels as values of the image: dtype, nodata, shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .request import fits

Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["Cast", "UnfitError", "is_nodata"]


class UnfitError(ValueError):
    """A valid value that the image's dtype cannot hold: the collection's description is wrong."""


def is_nodata(values: Array, nodata: float) -> Array:
    """Whether each value is nodata; not a number always is."""
    if values.dtype.kind != "f":
        return np.equal(values, nodata)
    missing = np.isnan(values)
    return missing if np.isnan(nodata) else missing | (values == nodata)


@dataclass(frozen=True, kw_only=True)
class Cast:
    """From the values of one source to those of the image.

    Values are copied as they are stored: a file's scale and offset are metadata. A valid value that
    happens to equal the image's nodata cannot be told from it, and is nodata.

    Parameters
    ----------
    source : dtype
        Of the source.
    source_nodata : float or None
        Of the source.
    dtype : dtype
        Of the image.
    nodata : float
        Of the image.
    shift : int
        As of `Source`.
    """

    source: np.dtype[Any]
    source_nodata: float | None
    dtype: np.dtype[Any]
    nodata: float
    shift: int = 0

    @property
    def plain(self) -> bool:
        """Whether values need no change at all."""
        same = self.source_nodata is None or self.source_nodata == self.nodata
        floats = self.source.kind == "f" and not np.isnan(self.nodata)
        return self.source == self.dtype and same and not self.shift and not floats

    def __call__(self, values: Array, valid: Array | None) -> Array:
        """Values in the image's dtype, its nodata where they are nodata or not valid.

        Raises
        ------
        UnfitError
            A valid value that the image's dtype cannot hold.
        """
        if valid is None and self.plain:
            return values
        missing = self._missing(values, valid)
        if self.shift:
            values = self._shifted(values)
        elif not np.can_cast(self.source, self.dtype):
            self._check(values if missing is None else values[~missing])
        with np.errstate(invalid="ignore", over="ignore"):
            out = values.astype(self.dtype)
        if missing is not None:
            out[missing] = self.nodata
        return out

    def _missing(self, values: Array, valid: Array | None) -> Array | None:
        missing = None if valid is None else ~valid
        if self.source_nodata is not None or self.source.kind == "f":
            nodata = float("nan") if self.source_nodata is None else self.source_nodata
            found = is_nodata(values, nodata)
            missing = found if missing is None else missing | found
        return missing

    def _shifted(self, values: Array) -> Array:
        limits = np.iinfo(self.dtype) if self.dtype.kind in "iu" else np.finfo(self.dtype)
        low, high = limits.min, limits.max
        low, high = low + (low == self.nodata), high - (high == self.nodata)
        wide = values.astype(np.float64 if self.source.kind == "f" else np.int64)
        return np.clip(wide - self.shift, low, high)

    def _check(self, values: Array) -> None:
        if not values.size:
            return
        if self.dtype.kind == "f":
            with np.errstate(over="ignore"):
                wrong = values[values.astype(self.dtype).astype(values.dtype) != values]
            if values.dtype.kind != "f" and wrong.size:
                raise self._unfit(wrong[0], "cannot be held exactly", "float64")
            return
        whole = values.dtype.kind != "f" or np.array_equal(values, np.rint(values))
        if not whole:
            wrong = values[values != np.rint(values)]
            raise self._unfit(wrong[0], "is not a whole number", "float32")
        for value in (values.min(), values.max()):
            if not fits(float(value), self.dtype):
                raise self._unfit(value, "is out of its range", self._wider(float(value)))

    def _wider(self, value: float) -> str:
        """Return an integer dtype that holds a value of the source as well as the image's own."""
        own = np.iinfo(self.dtype)
        for name in ("int16", "uint16", "int32", "uint32"):
            limits = np.iinfo(name)
            low, high = min(value, int(own.min)), max(value, int(own.max))
            if limits.min <= low and high <= limits.max:
                return name
        return "float64"

    def _unfit(self, value: Any, why: str, better: str) -> UnfitError:
        nodata = "" if why == "is not a whole number" else ", or the band's nodata if it is that"
        return UnfitError(
            f"value {value} {why}, and the collection's dtype is {self.dtype}; declare "
            f"'dtype: {better}' for the collection{nodata}"
        )
