"""Two processes update one tracking document at the same time: no update is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from orchard.records import Records
from orchard.stores import open_store
from orchard.tracking import State, TaskStatus

# ORCHARD_UPDATES=500 makes it a long one.
UPDATES = int(os.environ.get("ORCHARD_UPDATES", "40"))

WRITER = """
import json
import sys
from orchard.errors import ConflictError
from orchard.records import Records
from orchard.stores import open_store
from orchard.tracking import State, TaskStatus

url, options, mine = json.loads(sys.argv[1])
store = open_store(url, **options)
conflicts, put = 0, store.put

def counted(*args, **kwargs):
    global conflicts
    try:
        return put(*args, **kwargs)
    except ConflictError:
        conflicts += 1
        raise

store.put = counted
records = Records(store, "T")
record = records.read("ORDER")
print("ready", flush=True)
sys.stdin.readline()
for number, position in enumerate(mine):
    if number % 2:  # what the others wrote meanwhile is not known to the other half of the updates
        record = records.read("ORDER")
    status = TaskStatus(id=f"task-{position}", state=State.RUNNING, update_timestamp_ms=1 + number)
    record.change({position: status})
print(conflicts, flush=True)
"""


def order(tasks: int) -> dict:
    ready = [
        TaskStatus(id=f"task-{position}", state=State.READY).to_dict() for position in range(tasks)
    ]
    return {
        "program": {"name": "orchard", "version": "0"},
        "submission": {},
        "tracking": {"name": "ORDER", "key": "KEY"},
        "orders": [{"name": s["id"], "prefix": "P", "status": s} for s in ready],
        "metadata": [],
    }


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_no_update_is_lost(place, request, tmp_path):
    if place == "folder":
        url, options = str(tmp_path / "store"), {}
    else:
        server = request.getfixturevalue("s3")
        url, options = f"{server.url}/{tmp_path.name}", server.options
    records = Records(open_store(url, **options), "T")
    records.create(order(2 * UPDATES))
    writers = []
    for half in (0, 1):
        job = json.dumps([url, options, list(range(half, 2 * UPDATES, 2))])
        writers.append(
            subprocess.Popen(
                [sys.executable, "-c", WRITER, job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        conflicts = [int(writer.communicate()[0]) for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    found = records.read("ORDER").info
    assert [(s.id, s.state) for s in found.statuses] == [
        (f"task-{position}", State.RUNNING) for position in range(2 * UPDATES)
    ]
    assert sum(conflicts) > 0, "they were never in each other's way"
    print(f"{place}: 2 x {UPDATES} updates, {conflicts} conflicts")
