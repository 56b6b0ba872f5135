"""Cubes made on a Dask cluster: the same as at home, or an error and nothing that looks whole."""

from __future__ import annotations

import logging
import threading

import numpy as np
import preard_files as pre
import pytest

from orchard.ard import convert, open_ard, units
from orchard.engines.local import distributed as pool_of_dask
from orchard.errors import BulkError, EngineError, InputError

pytestmark = pytest.mark.filterwarnings(
    # Dask's own, when what it speaks to is gone
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
ENCODING = {"chunks": {"time": 3, "y": 128, "x": 128}}


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes, as on other machines that have this folder."""
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as found:
        yield found


@pytest.fixture
def images(tmp_path):
    """Two images, so that one cluster serves two cubes."""
    data = {}
    for number, name in enumerate(("a", "b")):
        doc = pre.document(name, size=(300, 280), dates=3, first=pre.FIRST + number * 30 * pre.DAY)
        data[name] = pre.pixels(doc, number)
        pre.write(tmp_path / "in", doc, data[name], tiled=True, blockxsize=64, blockysize=64)
    return tmp_path / "in", data


@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_a_cluster_makes_the_same_cubes(images, cluster, tmp_path, kind, monkeypatch):
    # So small that each cube is written in many regions.
    monkeypatch.setattr(units, "_UNIT_BYTES", 128 * 128 * 2 * 3 * 3)
    folder, data = images
    address = cluster.scheduler_address.removeprefix("tcp://")
    seen = []
    cubes = convert(
        folder,
        tmp_path / "ard",
        kind,
        executor=f"distributed {address}",
        encoding=ENCODING,
        callback=lambda item, n_steps: seen.append((item, n_steps)),
    )
    for cube, (name, pixels) in zip(cubes, data.items(), strict=True):
        ds = open_ard(cube)
        for number, band in enumerate(("red", "nir", "qa")):
            np.testing.assert_array_equal(ds[band], pixels[:, number])
        assert sum(n for item, n in seen if item == name) == pytest.approx(1)
    assert len(seen) == 2 * 9
    # It is others' cluster: it is left running.
    assert cluster.status.name == "running"


def test_a_broken_image_is_named_from_afar_and_the_other_is_done(images, cluster, tmp_path):
    folder, _ = images
    path = folder / "a.tif"
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(BulkError) as caught:
        convert(
            folder, tmp_path / "ard", executor=f"distributed {cluster.scheduler_address}",
            encoding=ENCODING,
        )  # fmt: skip
    assert "a.tif" in str(caught.value)
    assert sorted(p.name for p in (tmp_path / "ard").glob("*.nc")) == ["b.nc"]


def test_a_cluster_that_goes_away_is_named_and_leaves_nothing(images, tmp_path, monkeypatch):
    from distributed import LocalCluster

    folder, _ = images
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        gone = threading.Event()

        def leave(**_):
            if not gone.is_set():
                gone.set()
                cluster.close(timeout=5)

        monkeypatch.setattr(pool_of_dask, "_CONNECT", 1.0)
        with pytest.raises(BulkError) as caught:
            convert(
                folder, tmp_path / "ard", executor=f"distributed {cluster.scheduler_address}",
                encoding=ENCODING, callback=leave,
            )  # fmt: skip
    assert all(isinstance(error, EngineError) for error in caught.value.exceptions)
    assert "convert again" in str(caught.value)
    assert list((tmp_path / "ard").iterdir()) == []


def test_clusters_that_cannot_be_meant(images, tmp_path):
    folder, _ = images
    with pytest.raises(InputError, match="on one machine: use threads or"):
        convert(folder, tmp_path / "ard", "cog", executor="distributed 2")
    with pytest.raises(InputError, match=r"no Dask cluster class 'no\.such\.Cluster'"):
        convert(folder, tmp_path / "ard", executor="no.such.Cluster")
