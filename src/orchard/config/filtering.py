"""Whether collections can be filtered by the names that a configuration's filters have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchard.errors import CollectionError, FilterError

if TYPE_CHECKING:
    from collections.abc import Collection as Many
    from collections.abc import Mapping

    from orchard.collections import Collection
    from orchard.filters import Property

__all__ = ["check_names"]


def check_names(given: Any, collections: Many[Collection], catalog: str | None) -> None:
    """Check that a catalogue has what a filter is about, of one of some collections at least.

    Parameters
    ----------
    given
        The filter, as `orchard.filters.parse_filters` takes one.
    collections : collection of Collection
    catalog : str, optional
        The catalogue's address.

    Raises
    ------
    FilterError
        Naming the property that it has not.
    """
    from orchard.filters import parse_filters
    from orchard.registry import close

    names = set().union(*(found.names() for found in parse_filters([given])))
    maps = {found.id: _properties(found, catalog) for found in collections}
    if not names or any(names <= set(known) for known in maps.values()):
        return
    known = sorted(set().union(*maps.values()))
    unknown = sorted(names - set(known))
    if not unknown:
        raise FilterError(
            f"cannot filter by {' and '.join(map(repr, sorted(names)))} at once: no collection has "
            "a STAC property for each; give filters by collection"
        )
    whose = next(iter(maps)) if len(maps) == 1 else "any collection"
    key = next(iter(maps)) if len(maps) == 1 else "ID"
    hint = close(unknown[0], dict.fromkeys(known)) or f" (known: {', '.join(known) or 'none'})"
    raise FilterError(
        f"cannot filter {whose} by {unknown[0]!r}: no STAC property is known for it{hint}. Add it "
        f"under collections: {key}: properties"
    )


def _properties(collection: Collection, catalog: str | None) -> Mapping[str, Property]:
    try:
        return collection.property_map(collection.stac_for(catalog))
    except CollectionError:  # not in this catalogue, as a plan of it would say
        return collection.property_map()
