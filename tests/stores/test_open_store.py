"""What open_store takes, what it refuses, and that it repeats no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchard.errors import InputError
from orchard.stores import ObjectInfo, check_folder, check_key, open_store


def test_paths_and_file_urls_are_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in (tmp_path, str(tmp_path), f"{tmp_path}/", tmp_path.as_uri(), "~"):
        store = open_store(url)
        assert store.path("a") == tmp_path / "a"
    (tmp_path / "with space").mkdir()
    assert open_store((tmp_path / "with space").as_uri()).path("a").parent.is_dir()
    assert open_store("a:b").url == "a:b"


def test_an_unknown_scheme_lists_the_known_ones():
    with pytest.raises(InputError, match=r"ftp:// is not a store.*s3://.*gdrive://.*folder"):
        open_store("ftp://example.org/a")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter22@bucket/a",
        "gs://bucket/a?token=hunter22",
        "az://container/a?sig=hunter22",
        "gdrive://folder#hunter22",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(InputError) as error:
        open_store(url)
    assert "hunter22" not in str(error.value)


def test_options_where_there_are_none(tmp_path):
    with pytest.raises(InputError, match="region"):
        open_store(tmp_path, region="x")
    with pytest.raises(InputError, match="region"):
        open_store("memory://a", region="x")


def test_other_machines_and_empty_paths():
    with pytest.raises(InputError, match="another machine"):
        open_store("file://server/share")
    with pytest.raises(InputError, match="empty"):
        open_store("")


def test_keys_must_be_strings():
    for check in (check_key, check_folder):
        with pytest.raises(InputError, match="is a string"):
            check(Path("a"))


def test_object_info_is_a_value():
    assert ObjectInfo(key="a", size=1) == ObjectInfo(key="a", size=1)
    assert hash(ObjectInfo(key="a", size=1)) == hash(ObjectInfo(key="a", size=1))
