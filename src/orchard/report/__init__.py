"""The report of an order: one HTML page that needs no network.

`gather` finds out what is known of the results, `build_model` makes the one document that report
and dashboard draw, `render` writes the page; `make_report` does all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .gather import MAX_TASKS, PICTURES, gather
from .known import AcquisitionFacts, CubeFacts, Known, Picture
from .model import build_model
from .page import Report, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchard.stores import Store
    from orchard.tracking import TrackingInfo

__all__ = [
    "AcquisitionFacts",
    "CubeFacts",
    "Known",
    "Picture",
    "Report",
    "build_model",
    "gather",
    "make_report",
    "render",
]


def make_report(
    tracking_info: TrackingInfo | Mapping[str, Any],
    *,
    store: Store | None = None,
    cubes: str | Path | None = None,
    beside: str | Path | None = None,
    pictures: int = PICTURES,
    max_tasks: int = MAX_TASKS,
    callback: Callable[..., None] | None = None,
) -> Report:
    """Make the report of an order.

    Parameters
    ----------
    tracking_info : TrackingInfo or mapping
        The order's record.
    store : Store, optional
        Where its images are: for acquisitions and pictures.
    cubes : path, optional
        Folder of the cubes that were made of it: for clear fractions, pictures and links.
    beside : path, optional
        Folder that the page will be in; links to cubes are relative to it.
    pictures : int
        How many quicklooks, at most.
    max_tasks : int
        Of how many results to read the metadata, at most.
    callback : callable, optional
        ``callback(item=…, n_steps=…)``: one step for each result or cube that is looked into.

    Returns
    -------
    Report
        `Report.save` writes it; a notebook shows it.

    Raises
    ------
    InputError
        When there is no such folder of cubes.
    PagesError
        When the pages are not built; on writing or showing it.

    Examples
    --------
    >>> tracker = orchard.load_config().get_tracker()  # doctest: +SKIP
    >>> report = orchard.make_report(tracker.read(name), store=tracker.store)  # doctest: +SKIP
    >>> report.save("report.html")  # doctest: +SKIP
    """
    from orchard.tracking import TrackingInfo

    info = tracking_info if isinstance(tracking_info, TrackingInfo) else TrackingInfo(tracking_info)
    known = gather(
        info,
        store=store,
        cubes=cubes,
        beside=beside,
        pictures=pictures,
        max_tasks=max_tasks,
        callback=callback,
    )
    return Report(build_model(info, known))
