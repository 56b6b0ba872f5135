"""Result archives as a platform makes them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

FEATURES = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [13.4, 52.5]},
            "properties": {"uid": "u1", "up42.data_path": "u1/u1.tif"},
        }
    ],
}


def tgz(files: dict[str, bytes]) -> bytes:
    """An archive as a platform makes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


RESULT = {
    "output/data.json": json.dumps(FEATURES).encode(),
    "output/u1/u1.tif": b"picture one",
}
