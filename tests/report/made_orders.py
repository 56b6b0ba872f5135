"""Records of orders of any size with every state, as Orchard writes them, and facts of them."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import orchard
from orchard.orders import split_period
from orchard.report import AcquisitionFacts, Known
from orchard.tracking import TrackingInfo

ALBERS = (
    "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
)
CAUSES = (
    "scene LC08_L2SP_025031_20230620 cannot be read: blue.tif: HTTP 503 from the archive, 5 times",
    "a worker ran out of memory at the smallest shard (3 workers died over it)",
    "the disk of the store is full",
)
_STATES = ["COMPLETED"] * 70 + ["EMPTY"] * 8 + ["READY"] * 10 + ["RUNNING"] * 2
_STATES += ["FAILED"] * 5 + ["CANCELLED", "CANCEL_REQUESTED", "LOST", "UNSUBMITTED", "FAILED"]


def made_order(
    rows: int = 4,
    cols: int = 4,
    *,
    collections: tuple[str, ...] = ("LANDSAT/LC08/C02/T1_L2",),
    start: str = "2021-01-01",
    end: str = "2023-01-01",
    freq: str | None = "MS",
    states: list[str] | None = None,
    name: str = "MADE",
) -> TrackingInfo:
    """Return the record of an order over rows x cols tiles of 150 km; the same every time."""
    chance = random.Random(7)
    grid = orchard.TileGrid(
        ul=(-2565585.0, 3314805.0), crs=ALBERS, res=(30, 30), size=(5000, 5000),
        limits=((0, 99), (0, 99)), name="MADE",
    )  # fmt: skip
    tiles = [grid[row, col] for row in range(5, 5 + rows) for col in range(8, 8 + cols)]
    periods = split_period(start, end, freq)
    submitted = datetime(2026, 11, 20, 8, tzinfo=UTC)
    at = int(submitted.timestamp() * 1000)
    orders = []
    clock = at
    for collection in collections:
        for tile in tiles:
            for period in periods:
                state = chance.choice(states or _STATES)
                clock += chance.randrange(200, 900)
                orders.append(
                    {
                        "name": f"{collection.replace('/', '_')}_h{tile.horizontal:03d}v"
                        f"{tile.vertical:03d}_{period.start:%Y-%m-%d}_{period.end:%Y-%m-%d}",
                        "prefix": "CEDAR_PREARD",
                        "key": f"{chance.getrandbits(96):024X}",
                        "status": _status(state, at, clock, chance),
                    }
                )
    return TrackingInfo(
        {
            "program": {"name": "orchard", "version": orchard.__version__},
            "submission": {
                "submitted": submitted.isoformat(),
                "collections": list(collections),
                "tile_grid": grid.to_dict(),
                "tile_indices": [list(tile.index) for tile in tiles],
                "period_start": periods[0].start.isoformat(),
                "period_end": periods[-1].end.isoformat(),
                "period_freq": freq,
            },
            "tracking": {
                "submitted": submitted.isoformat(),
                "name": name,
                "prefix": "CEDAR_TRACKING",
                "engine": "local",
                "collections": list(collections),
                "tiles": [tile.to_dict() for tile in tiles],
                "name_template": "{collection}_h{tile.horizontal:03d}v{tile.vertical:03d}"
                "_{date_start}_{date_end}",
                "prefix_template": "CEDAR_PREARD",
                "filters": {},
                "export_image_kwds": {},
            },
            "orders": orders,
        }
    )


def _status(state: str, at: int, clock: int, chance: random.Random) -> dict:
    started = state in ("COMPLETED", "RUNNING", "FAILED", "CANCEL_REQUESTED")
    runtime = chance.randrange(20_000, 240_000)
    failed = state in ("FAILED", "LOST")
    return {
        "id": f"{chance.getrandbits(96):024X}",
        "state": state,
        "creation_timestamp_ms": at,
        "start_timestamp_ms": clock if started else 0,
        "update_timestamp_ms": clock + runtime if started else at,
        "error_message": chance.choice(CAUSES) if failed else None,
        "attempt": 3 if state == "FAILED" else 1,
        "files": [{"name": "image.tif", "size": chance.randrange(10**7, 4 * 10**8)}]
        if state == "COMPLETED"
        else [],
    }


def made_facts(
    info: TrackingInfo, *, tasks: int = 2000, each: int = 3, clear: bool = True
) -> Known:
    """Return acquisitions of the first results of a made order; cloudier in winter."""
    chance = random.Random(11)
    facts = {}
    start = date.fromisoformat(info["submission"]["period_start"][:10])
    span = date.fromisoformat(info["submission"]["period_end"][:10]) - start
    n = len(
        split_period(
            *(info["submission"][k] for k in ("period_start", "period_end", "period_freq"))
        )
    )
    for position, order in enumerate(info.orders):
        if order["status"]["state"] != "COMPLETED" or len(facts) == tasks:
            continue
        first = start + span * (position % n) / n
        days = sorted(
            {first + timedelta(days=chance.randrange(max(span.days // n, 1))) for _ in range(each)}
        )
        part = [_clear(day, chance) for day in days]
        facts[position] = [
            AcquisitionFacts(
                day=day,
                scenes=chance.randrange(1, 4),
                clear=value if clear else None,
                cloud=None if clear else 100 * (1 - value),
            )
            for day, value in zip(days, part, strict=True)
        ]
    return Known(acquisitions=facts)


def _clear(day: date, chance: random.Random) -> float:
    summer = 1 - abs(day.timetuple().tm_yday - 200) / 200
    return min(max(chance.gauss(0.25 + 0.5 * summer, 0.25), 0.0), 1.0)
