"""Making a task otherwise than it was specified: in smaller shards, or without some scenes (pure).

What is amended is JSON, kept by the ledger: ``{"file_dimensions": [width, height], "skipped":
{scene: cause}}``. It is applied to the specification that the workers get and to the image
metadata, so that the metadata tells what the files are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchard.preard import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["amended_document", "amended_spec", "smaller", "without"]


def smaller(
    size: tuple[int, int], dimensions: Any, amended: Mapping[str, Any], block: int
) -> dict[str, Any] | None:
    """Amend a task so that it is made in shards of about a quarter of the area.

    Parameters
    ----------
    size : tuple of int
        ``(width, height)`` of the tile in pixels.
    dimensions
        ``fileDimensions`` of the specification.
    amended : mapping
        What is amended already.
    block : int
        Block size of the files: no shard becomes smaller.

    Returns
    -------
    dict or None
        None: the shards are as small as they can be.
    """
    shards = layout(size, amended.get("file_dimensions") or dimensions)
    sides = max(shard.width for shard in shards), max(shard.height for shard in shards)
    # Whole blocks: the block grid of a shard begins at its corner.
    halves = [min(-(-side // (2 * block)) * block, side) for side in sides]
    if halves == list(sides):
        return None
    return {**amended, "file_dimensions": halves}


def without(amended: Mapping[str, Any], scenes: Mapping[str, str]) -> dict[str, Any]:
    """Amend a task so that scenes (id -> cause) are left out."""
    return {**amended, "skipped": {**amended.get("skipped", {}), **scenes}}


def amended_spec(spec: Mapping[str, Any], amended: Mapping[str, Any]) -> dict[str, Any]:
    """Apply to the specification of a task; days without any scene left are left out."""
    skipped = amended.get("skipped", {})
    days = [
        [day, [scene for scene in scenes if scene["id"] not in skipped]]
        for day, scenes in spec["acquisitions"]
    ]
    return {
        **spec,
        "file_dimensions": amended.get("file_dimensions") or spec["file_dimensions"],
        "acquisitions": [[day, scenes] for day, scenes in days if scenes],
    }


def amended_document(document: Mapping[str, Any], amended: Mapping[str, Any]) -> dict[str, Any]:
    """Apply to an image metadata document; what was left out is listed in ``image.skipped``."""
    changed = dict(document)
    if dimensions := amended.get("file_dimensions"):
        store = changed["store"]
        kwds = {**store["export_image_kwds"], "fileDimensions": dimensions}
        changed["store"] = {**store, "export_image_kwds": kwds}
    if skipped := amended.get("skipped"):
        changed["image"] = _image(changed["image"], skipped)
    return changed


def _image(image: Mapping[str, Any], skipped: Mapping[str, str]) -> dict[str, Any]:
    dates, images, left_out = [], [], []
    for day, scenes in zip(image["dates"], image["images"], strict=True):
        left_out += [
            {"id": s["id"], "date": day, "error": skipped[s["id"]]}
            for s in scenes
            if s["id"] in skipped
        ]
        if kept := [scene for scene in scenes if scene["id"] not in skipped]:
            dates.append(day)
            images.append(kept)
    return {**image, "dates": dates, "images": images, "skipped": left_out}
