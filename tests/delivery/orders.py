"""Orders made by hand: files of random bytes and the documents that describe them."""

from __future__ import annotations

import hashlib
import random
import zlib

import orjson

from orchard.tracking import FileInfo, State, TaskStatus, TrackingInfo

TILE = {
    "index": [0, 0],
    "crs": "EPSG:32633",
    "bounds": [0.0, 0.0, 640.0, 640.0],
    "res": [10.0, 10.0],
    "size": [64, 64],
}


def image_metadata(name: str, prefix: str, status: TaskStatus, *, dimensions=None) -> dict:
    scenes = [[{"id": "S1", "system:time_start": 1_650_000_000_000}]]
    empty = status.state is State.EMPTY
    return {
        "program": {"name": "orchard", "version": "0"},
        "order": {
            "collection": "TEST",
            "date_start": "2022-01-01T00:00:00+00:00",
            "date_end": "2023-01-01T00:00:00+00:00",
            "filters": [],
            "submitted": "2023-01-01T00:00:00+00:00",
        },
        "tile": TILE,
        "store": {
            "service": "test",
            "export_image_kwds": {"fileDimensions": dimensions} if dimensions else {},
        },
        "task": {"name": name, "prefix": prefix, "status": status.to_dict()},
        "image": {
            "bands": ["b"],
            "nodata": 0,
            "dtype": "uint8",
            "dates": [] if empty else ["2022-04-15"],
            "images": [] if empty else scenes,
        },
        "collection": {"id": "TEST", "bands": {"b": {}}, "clear": None, "flags": {}},
    }


def shard_names(name: str, shards: int) -> list[str]:
    if shards == 1:
        return [f"{name}.tif"]
    return [f"{name}-{0:010d}-{_width(shards) * i:010d}.tif" for i in range(shards)]


def _width(shards: int) -> int:
    return -(-TILE["size"][0] // shards)


def make_order(
    store, *, tasks=3, shards=2, size=1000, name="ORDER", prefix="P", recorded=True, seed=0,
    states=None, names=None,
) -> tuple[TrackingInfo, dict[str, bytes]]:  # fmt: skip
    """Put the files of an order into a store; return its record, and the content of each image."""
    source = random.Random(seed)
    orders, contents = [], {}
    for number in range(tasks):
        task = names[number] if names else f"{name}_{number}"
        state = State((states or {}).get(number, State.COMPLETED))
        files = []
        for file in shard_names(task, shards) if state is State.COMPLETED else []:
            content = source.randbytes(size)
            store.put(f"{prefix}/{file}", content)
            contents[file] = content
            files.append(
                FileInfo(
                    name=file,
                    size=len(content),
                    md5=hashlib.md5(content).hexdigest(),
                    crc32=f"{zlib.crc32(content):08x}",
                )
            )
        status = TaskStatus(
            id=f"{name}-{number}", state=state, files=tuple(files) if recorded else ()
        )
        dimensions = [_width(shards), 64] if shards > 1 else None
        document = image_metadata(task, prefix, status, dimensions=dimensions)
        store.put(f"{prefix}/{task}.json", orjson.dumps(document))
        orders.append({"name": task, "prefix": prefix, "status": status.to_dict()})
    info = TrackingInfo(
        {
            "program": {"name": "orchard", "version": "0"},
            "submission": {},
            "tracking": {"name": name},
            "orders": orders,
            "metadata": [],
        }
    )
    store.put(f"T/{name}.json", orjson.dumps(dict(info)))
    return info, contents
