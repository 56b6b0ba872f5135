"""What killed writers leave in a folder store is swept away, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading

import orchard

HANG = """
import sys, orchard
from orchard.stores import folder
folder.os.fsync = lambda _: (print("writing", flush=True), sys.stdin.read())
orchard.open_store(sys.argv[1]).put("a/b.txt", b"half")
"""


def writer(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def end(process):
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_what_a_killed_process_has_left_goes_and_what_is_being_written_stays(tmp_path):
    store = orchard.open_store(tmp_path)
    store.put("a/kept.txt", b"kept")
    process = writer(tmp_path)
    (temporary,) = (tmp_path / "a").glob(".orchard-tmp-*")
    store.sweep()
    assert temporary.exists()
    process.kill()
    end(process)
    store.sweep()
    assert not temporary.exists()
    assert store.get("a/kept.txt")[0] == b"kept"


def test_nobodys_put_fails_because_of_a_sweep(tmp_path):
    store = orchard.open_store(tmp_path)
    over = threading.Event()

    def sweep():
        while not over.is_set():
            store.sweep()

    thread = threading.Thread(target=sweep)
    thread.start()
    for number in range(300):
        store.put(f"a/{number % 7}", b"x", if_absent=False)
    over.set()
    thread.join()
    assert len(list(store.list("a"))) == 7


def test_an_empty_store_has_nothing_to_sweep(tmp_path):
    orchard.open_store(tmp_path / "nowhere").sweep()
    assert not (tmp_path / "nowhere").exists()
