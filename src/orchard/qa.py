"""Quality bands: from their numbers to named flags and to one mask of clear pixels.

Rules look at integer arrays of any shape; every mask has the shape of its input. A mask is True
where what its name says holds: ``clear`` is True where a pixel is usable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, NonNegativeInt, model_validator

from .errors import CollectionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ClearRule", "Flag"]

_WORD = 32


def _bits(value: Any) -> Any:
    """``3`` or ``"8-9"`` or ``[8, 9]`` -> (first, last), both included, bit 0 the lowest."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if isinstance(value, str):
        first, _, last = value.partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            return (int(first), int(last or first))
        raise ValueError(f"bits are a number (3) or a range (8-9), not {value!r}")
    return value


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


Bits = Annotated[tuple[NonNegativeInt, NonNegativeInt], BeforeValidator(_bits)]
Values = Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_many)]


class Flag(BaseModel):
    """One named flag of a quality band: some of its bits, or the whole number, have certain values.

    Parameters
    ----------
    bits : int, "first-last" or (first, last), optional
        The bits, counted from the lowest, both ends included; without it, the whole number.
    values : int or list of int, optional
        What the bits (shifted down to 0) or the number must be, one of them; 1 for a single bit.
    band : str, optional
        The quality band; without it, the collection's own (that of ``clear``).
    description : str, optional
        What it means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Bits | None = None
    values: Values = ()
    band: str | None = None
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _single(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "values" not in data:
            first_last = _bits(data.get("bits"))
            if isinstance(first_last, (tuple, list)) and len({*first_last}) == 1:
                return {**data, "values": (1,)}
        return data

    @model_validator(mode="after")
    def _check(self) -> Flag:
        if not self.values:
            raise ValueError("needs `values`")
        if self.bits is not None:
            first, last = self.bits
            if not first <= last < _WORD:
                raise ValueError(f"bits {first}-{last} must go upwards, from 0 to {_WORD - 1}")
            if max(self.values) >= 1 << (last - first + 1):
                raise ValueError(f"values {list(self.values)} do not fit bits {first}-{last}")
        return self

    @property
    def mask(self) -> int | None:
        """The bits it looks at, as a number (CF's ``flag_masks``); None: the whole number."""
        if self.bits is None:
            return None
        first, last = self.bits
        return ((1 << (last - first + 1)) - 1) << first

    @property
    def codes(self) -> tuple[int, ...]:
        """What the number is at those bits, in place (CF's ``flag_values``)."""
        return tuple(v << (self.bits[0] if self.bits else 0) for v in self.values)

    def of(self, qa: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Where the flag is set, nodata not considered."""
        return _among(qa, self.bits, self.values)


class ClearRule(BaseModel):
    """When a pixel is clear, that is usable: by the values of its class, or by bits.

    Parameters
    ----------
    band : str
        The quality band.
    values : list of int, optional
        The band's values that are clear.
    bits : mapping, optional
        All of these must hold: name of a flag, or bits (``3``, ``8-9``) -> the value or list of
        values that is clear. Of a flag it is 0 (must not be set) or 1 (must be set).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    band: str
    values: Values | None = None
    bits: Mapping[str, Values] | None = None

    @model_validator(mode="before")
    @classmethod
    def _text_keys(cls, data: Any) -> Any:
        # YAML reads the key of `3: 0` as a number.
        if isinstance(data, Mapping) and isinstance(data.get("bits"), Mapping):
            return {**data, "bits": {str(key): value for key, value in data["bits"].items()}}
        return data

    @model_validator(mode="after")
    def _check(self) -> ClearRule:
        if bool(self.values) == bool(self.bits):
            raise ValueError("needs either `values` or `bits`")
        return self

    def check(self, flags: Mapping[str, Flag]) -> None:
        """Raise ValueError where a key of ``bits`` is neither a flag nor bits."""
        for key, values in (self.bits or {}).items():
            if key not in flags:
                try:
                    Flag(bits=key, values=values)
                except ValueError:
                    raise ValueError(
                        f"bits: {key!r} is neither a flag nor bits that can be {list(values)}"
                    ) from None
            elif set(values) - {0, 1}:
                raise ValueError(f"bits: {key!r} is a flag: give 0 or 1, not {list(values)}")

    def of(self, qa: NDArray[np.integer[Any]], flags: Mapping[str, Flag]) -> NDArray[np.bool_]:
        """Where it is clear, nodata not considered."""
        import numpy as np

        if self.values:
            return _among(qa, None, self.values)
        clear = np.ones(qa.shape, dtype=bool)
        for key, values in (self.bits or {}).items():
            flag = flags.get(key)
            if flag is None:
                clear &= _among(qa, _bits(key), values)
            elif len(set(values)) == 1:
                clear &= flag.of(qa) == bool(values[0])
        return clear


@dataclass(frozen=True, slots=True)
class Words:
    """The numbers of a quality band, as integers.

    Parameters
    ----------
    numbers : integer array
        In this machine's byte order.
    nodata : number
        Which of them is no data.
    hole : array of bool, optional
        Where there is none, too.
    """

    numbers: NDArray[np.integer[Any]]
    nodata: float
    hole: NDArray[np.bool_] | None = None

    def where(
        self, rule: Callable[[NDArray[np.integer[Any]]], NDArray[np.bool_]]
    ) -> NDArray[np.bool_]:
        """Return where a rule holds, which looks at each number by itself; nodata is False."""
        found = _decide(self.numbers, lambda words: rule(words) & (words != self.nodata))
        return found if self.hole is None else found & ~self.hole


def as_words(qa: Any, name: str, nodata: float) -> Words:
    """Return the numbers of a quality band as integers, without a copy where they are.

    In an image of floats they are whole numbers that floats hold exactly; NaN is no data.

    Raises
    ------
    CollectionError
        Where the numbers are not whole ones of 32 bits: bits of a scaled number mean nothing.
    """
    import numpy as np

    array: NDArray[Any] = np.asarray(qa)
    if array.dtype.kind in "iu":
        return Words(array.astype(array.dtype.newbyteorder("="), copy=False), nodata)
    if array.dtype.kind != "f":
        raise CollectionError(
            f"the quality band {name!r} must be integers as stored, not {array.dtype}"
        )
    hole = np.isnan(array) | (array == nodata)
    whole = np.where(hole, array.dtype.type(0), array)
    low, high = (whole.min(), whole.max()) if whole.size else (0, 0)
    dtype = np.dtype("int32" if low < 0 else "uint16" if high < 1 << 16 else "uint32")
    limits = np.iinfo(dtype)
    if wrong := [value for value in (low, high) if not limits.min <= value <= limits.max]:
        raise _not_whole(name, wrong[0])
    numbers = whole.astype(dtype)
    if not np.array_equal(numbers, whole):
        raise _not_whole(name, whole[numbers != whole][0])
    return Words(numbers, nodata, hole)


def _not_whole(name: str, value: float) -> CollectionError:
    return CollectionError(
        f"the quality band {name!r} must hold whole numbers of 32 bits, and holds {value}"
    )


def _decide(
    words: NDArray[np.integer[Any]],
    rule: Callable[[NDArray[np.integer[Any]]], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Return ``rule(words)``, a rule that looks at each number by itself.

    Of many short numbers the rule is worked out once for all there can be, and looked up.
    """
    import numpy as np

    bits = 8 * words.dtype.itemsize
    if bits > 16 or words.size <= 1 << bits:
        return rule(words)
    unsigned = np.dtype(f"u{words.dtype.itemsize}")
    table = rule(np.arange(1 << bits, dtype=unsigned).view(words.dtype))
    return np.asarray(np.take(table, words.view(unsigned)))


def _among(
    qa: NDArray[np.integer[Any]], bits: tuple[int, int] | None, values: tuple[int, ...]
) -> NDArray[np.bool_]:
    import numpy as np

    if bits is not None:
        first, last = bits
        # Signed numbers are looked at as the bits they are.
        words = qa.view(qa.dtype.str.replace("i", "u"))
        if first >= 8 * qa.dtype.itemsize:
            qa = np.zeros_like(words)
        else:
            qa = (words >> words.dtype.type(first)) & words.dtype.type(
                ((1 << (last - first + 1)) - 1) & (2 ** (8 * qa.dtype.itemsize) - 1)
            )
    if len(values) == 1:
        return np.asarray(qa == values[0])
    return np.isin(qa, values)
