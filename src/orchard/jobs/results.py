"""What a job and a jobtask have in common: outputs that are asked for and downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from orchard.errors import MissingDependencyError
from orchard.jobs.archive import archive_suffix, unpack
from orchard.jobs.download import download
from orchard.jobs.errors import PlatformError
from orchard.jobs.names import check_id, url_path
from orchard.jobs.placing import place, staging
from orchard.jobs.viewing import Viewing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from geopandas import GeoDataFrame

    from orchard.jobs.session import Session

    Callback = Callable[..., object]

__all__ = ["Outputs", "to_dataframe"]


class Outputs(Viewing):
    """Results at one place of a platform: those of a job or of one of its blocks."""

    def __init__(self, session: Session, project_id: str, job_id: str) -> None:
        self.session = session
        self.project_id = check_id(project_id, "project")
        self.job_id = check_id(job_id, "job")

    @overload
    def get_results_json(self, as_dataframe: Literal[False] = ...) -> dict[str, Any]: ...
    @overload
    def get_results_json(self, as_dataframe: Literal[True]) -> GeoDataFrame: ...
    @overload
    def get_results_json(self, as_dataframe: bool) -> dict[str, Any] | GeoDataFrame: ...
    def get_results_json(self, as_dataframe: bool = False) -> dict[str, Any] | GeoDataFrame:
        """Get the results' ``data.json``.

        Parameters
        ----------
        as_dataframe : bool
            Return a GeoDataFrame instead of a dict.

        Returns
        -------
        dict or GeoDataFrame
            A GeoJSON FeatureCollection, or the same as a table in EPSG:4326 (longitude, latitude),
            which may be empty.
        """
        collection = self.session.client.document(self._url("outputs", "data-json", slash=True))
        if not isinstance(collection.setdefault("features", []), list):
            raise PlatformError(f"the data.json of {self!r} is not a FeatureCollection")
        return to_dataframe(collection) if as_dataframe else collection

    def _url(self, *parts: str, slash: bool = False) -> str:
        return url_path("projects", self.project_id, "jobs", self.job_id, *parts, slash=slash)

    def _default_directory(self) -> Path:
        return Path.cwd() / f"project_{self.project_id}" / f"job_{self.job_id}"

    def _link(self) -> str:
        """Ask for a signed link; it expires, so that it is asked for when it is needed."""
        data = self.session.client.data(self._url("downloads", "results", slash=True))
        url = data.get("url") if isinstance(data, dict) else None
        if not isinstance(url, str) or not url:
            raise PlatformError(f"the platform gave no download link for {self!r}")
        return url

    def _download(
        self,
        output_directory: str | os.PathLike[str] | None,
        *,
        unpacking: bool,
        callback: Callback | None,
    ) -> list[str]:
        """Download the result archive and put its files, or itself, into their place."""
        folder = (
            self._default_directory() if output_directory is None else Path(output_directory)
        ).absolute()
        with staging(folder) as workplace:
            archive = self._download_archive(workplace, callback)
            if unpacking:
                unpacked = workplace / "unpacked"
                files = place(unpacked, unpack(archive, unpacked), folder)
            else:
                target = folder / f"output{archive.suffix}"
                archive.replace(target)
                files = [target]
        results = [str(file) for file in files]
        self.results = results
        return list(results)

    def _download_archive(self, folder: Path, callback: Callback | None) -> Path:
        """Download the archive as it is; its suffix is that of its content."""
        path = folder / "archive"
        seen = 0

        def progress(there: int, total: int | None) -> None:
            nonlocal seen
            if callback is not None and total:
                callback(item=self.job_id, n_steps=max(0, there - seen) / total)
                seen = max(seen, there)

        download(self.session.client, self._link, path, progress=progress)
        return path.rename(path.with_suffix(archive_suffix(path)))


def to_dataframe(collection: dict[str, Any]) -> GeoDataFrame:
    """Return a FeatureCollection as a GeoDataFrame in EPSG:4326; an empty one gives no rows."""
    try:
        from geopandas import GeoDataFrame
    except ImportError as exc:
        raise MissingDependencyError("geopandas", "jobs") from exc

    features = [
        {"geometry": None, **feature, "properties": feature.get("properties") or {}}
        for feature in collection["features"]
    ]
    if not features:
        return GeoDataFrame({"geometry": []}, geometry="geometry", crs="EPSG:4326")
    return GeoDataFrame.from_features(features, crs="EPSG:4326")
