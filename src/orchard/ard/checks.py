"""What the metadata of images tell of the wishes for cubes, before any is made (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchard.errors import InputError
from orchard.registry import close

from .plan import collection_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchard.preard import ImageMetadata

__all__ = ["check_mask", "unknown_flag"]


def check_mask(mask: bool | tuple[str, ...], images: Sequence[ImageMetadata]) -> None:
    """Check that some image, at least, can be masked as it is wished.

    What only some of them cannot is found when it is their turn.

    Raises
    ------
    InputError
        Naming the flag that no image has; or the collections, where none says what is clear.
    """
    if not mask or not images:
        return
    known = [_rules(image) for image in images]
    if isinstance(mask, bool):
        if not any(clear for clear, _ in known):
            ids = ", ".join(sorted({image.collection_id for image in images}))
            raise InputError(
                f"nothing can be masked: {ids} did not say what is clear when it was ordered: "
                "leave out the mask, or add 'clear' to the collection and order it anew"
            )
        return
    flags = dict.fromkeys(flag for _, names in known for flag in names)
    for flag in mask:
        if flag not in flags:
            raise InputError(f"nothing can be masked by {unknown_flag(flag, flags)}")


def unknown_flag(flag: str, known: Mapping[str, object] | Sequence[str]) -> str:
    """Return ``'clud': did you mean cloud? The flags are …``."""
    hint = close(flag, dict.fromkeys(known)).removesuffix("?")
    return f"{flag!r}{hint}{'? The' if hint else ': the'} flags are {', '.join(known) or 'none'}"


def _rules(image: ImageMetadata) -> tuple[Any, Sequence[str]]:
    """Return what is clear, and the names of the flags; of a wrong description, as it says."""
    if image.collection is None:
        known = collection_of(image, image.dtype or "")
        return (known.clear, list(known.flags)) if known else (None, [])
    flags = image.collection.get("flags")
    return image.collection.get("clear"), list(flags) if isinstance(flags, dict) else []
