"""Programs that are killed: they do one thing with a world's order, and say when they begin."""

from __future__ import annotations

import sys
from pathlib import Path

from tiny_world import World


class Built(World):
    """A world that is there already."""

    def __post_init__(self) -> None:
        self.catalog = self.folder / "catalog.json"


def main(what: str, folder: str, tiles: str, executor: str) -> None:
    side = int(tiles)
    world = Built(Path(folder), tiles=(side, side), days=1)
    tracker = world.tracker(engine_options={"executor": executor})
    print("ready", flush=True)
    if what == "submit":
        tracker.submit(*world.order())
    elif what == "run":
        tracker.wait("order")
    else:
        tracker.cancel("order")


if __name__ == "__main__":
    main(*sys.argv[1:])
