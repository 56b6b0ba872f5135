"""The public API as promised: names, order and defaults of arguments, and what comes back."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from typing import Any

import pytest

import orchard
from orchard.jobs import Job, JobTask

# As the design has them; further arguments may be given by keyword only.
CONTRACT = """
def open_store(url): ...
def open_engine(name): ...
def convert(source, dest=".", format="netcdf", *, executor="threads", workers=2): ...
def open_ard(path): ...
def make_report(tracking_info): ...
def download_tracked(tracking_info, store, dest, overwrite=False): ...
def clean_tracked(tracking_info, store): ...
def authenticate(*, project_id=None, project_api_key=None, base_url=None, cfg_file=None): ...
def initialize_job(job_id): ...
def initialize_jobtask(jobtask_id, job_id): ...

class TileGrid:
    def __init__(self, *, ul, crs, res, size, limits=None, name=None): ...

class Tracker:
    def __init__(self, tile_grid, store,
        name_template="{collection}_h{tile.horizontal:03d}v{tile.vertical:03d}_{date_start}_{date_end}",
        prefix_template="CEDAR_PREARD",
        tracking_template="TRACKING_PERIOD{date_start}-{date_end}_TASK{today}",
        tracking_prefix="CEDAR_TRACKING", filters=None, export_image_kwds=None, *,
        engine=None): ...
    def submit(self, collections, tile_indices, period_start, period_end, period_freq=None,
        save_empty_metadata=True, error_if_empty=False, *, callback=None) -> tuple[str, str]: ...
    def list(self, pattern=None) -> list[str]: ...
    def read(self, name) -> TrackingInfo: ...
    def update(self, name) -> TrackingInfo: ...
    def wait(self, name, timeout=None, callback=None) -> TrackingInfo: ...
    def cancel(self, name): ...
    def retry(self, name): ...
    def download(self, tracking_info, dest, overwrite=True, callback=None): ...
    def clean(self, tracking_info, tracking_name=None, callback=None): ...

class JobTask:
    def get_results_json(self, as_dataframe=False) -> dict[str, Any] | GeoDataFrame: ...
    def download_results(self, output_directory=None) -> list[str]: ...
    def download_quicklooks(self, output_directory=None) -> list[str]: ...
    def plot_quicklooks(self, figsize=(8, 8), titles=None, filepaths=None) -> Figure: ...
    def plot_results(self, figsize=(14, 8), bands=(1, 2, 3), titles=None, filepaths=None,
        plot_file_format=(".tif",), **kwargs) -> Figure: ...
    def map_results(self, bands=(1, 2, 3), aoi=None, show_images=True, show_features=True,
        name_column="uid", save_html=None) -> Map: ...

class Job:
    def get_jobtasks(self, return_json=False): ...
    def get_results_json(self, as_dataframe=False) -> dict[str, Any] | GeoDataFrame: ...
    def download_results(self, output_directory=None, unpacking=True) -> list[str]: ...
    def download_quicklooks(self, output_directory=None) -> list[str]: ...
    def plot_results(self, figsize=(14, 8), bands=(1, 2, 3), titles=None, filepaths=None,
        plot_file_format=(".tif",), **kwargs) -> Figure: ...
    def map_results(self, bands=(1, 2, 3), aoi=None, show_images=True, show_features=True,
        name_column="uid", save_html=None) -> Map: ...
"""
BY_KEYWORD = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)


def promises() -> list[tuple[str, ast.FunctionDef]]:
    found: list[tuple[str, ast.FunctionDef]] = []
    for node in ast.parse(CONTRACT).body:
        if isinstance(node, ast.FunctionDef):
            found.append((node.name, node))
        elif isinstance(node, ast.ClassDef):
            found += [(f"{node.name}.{f.name}", f) for f in node.body]
    return found


def real(name: str) -> Any:
    home, _, method = name.partition(".")
    owner = {"Job": Job, "JobTask": JobTask}.get(home) or getattr(orchard, home)
    return getattr(owner, method) if method else owner


@pytest.mark.parametrize(("name", "node"), promises(), ids=[name for name, _ in promises()])
def test_a_signature_is_as_promised(name: str, node: ast.FunctionDef) -> None:
    space: dict[str, Any] = {}
    node.returns, returns = None, node.returns
    exec(compile(ast.Module([node], []), name, "exec"), space)
    promised = inspect.signature(space[node.name]).parameters
    signature = inspect.signature(real(name))
    given = signature.parameters
    in_order = [p for p in promised.values() if p.kind not in BY_KEYWORD]
    assert [p.name for p in given.values() if p.kind not in BY_KEYWORD][: len(in_order)] == [
        p.name for p in in_order
    ]
    for parameter in promised.values():
        assert parameter.name in given
        assert like(given[parameter.name].default) == like(parameter.default), parameter.name
    for parameter in set(given) - set(promised):
        kind, default = given[parameter].kind, given[parameter].default
        assert kind is inspect.Parameter.VAR_KEYWORD or default is not inspect.Parameter.empty
    if returns is not None:
        assert signature.return_annotation.replace("builtins.", "") == ast.unparse(returns)


def like(default: Any) -> Any:
    """Return a default that may be a list or a tuple as one that can be compared."""
    is_sequence = isinstance(default, Sequence) and not isinstance(default, str)
    return tuple(default) if is_sequence else default


@pytest.mark.parametrize("kind", [Job, JobTask])
def test_what_is_asked_for_anew_is_a_property(kind: type) -> None:
    for name in ("info", "status", "is_succeeded"):
        assert isinstance(inspect.getattr_static(kind, name), property)
