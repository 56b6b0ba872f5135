"""The configuration file: every key checked, errors that name file, line and key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchard.config import Config, find_config, has_config, load_config, template
from orchard.errors import ConfigError

BASE = """\
tile_grid: LANDSAT_ARD_CU
store: preard/
engine:
  name: local
  catalog: catalog.json
"""

# As CEDAR 0.0.4's template lays it out.
CEDAR = """\
tile_grid:
  name: WGS84 1x1deg ~30m
  crs: "EPSG:4326"
  ul: [-180.0, 80.0]
  res: [0.00025, 0.00025]
  size: [40000, 40000]
  limits:
  - [0, 13]
  - [0, 36]
tracker:
  store: %s
  name_template: "{collection}_h{tile.horizontal:03d}v{tile.vertical:03d}_{date_start}_{date_end}"
  prefix_template: "CEDAR"
  tracking_template: "TRACKING_PERIOD{period_start}-{period_end}_TASK{now}"
  tracking_prefix: "CEDAR_TRACKING"
  export_image_kwds: {shardSize: 256, fileDimensions: 512, cloudOptimized: true}
  filters:
    - {function: 'lte', name: 'CLOUD_COVER_LAND', value: 80.}
gcs:
  bucket_name: bucket
  credentials_file: account.json
  project: my-project
gdrive:
  client_secrets_file: client_secrets.json
  credentials_file: credentials.json
ard:
  destination: "ARD/{collection}/h{tile.horizontal:03d}v{tile.vertical:03d}"
  encoding: {chunks: {x: 250, y: 250, time: 50}, zlib: True}
"""


@pytest.fixture
def written(tmp_path):
    (tmp_path / "catalog.json").write_text('{"type": "Catalog", "links": []}')

    def write(text: str) -> Path:
        path = tmp_path / "orchard.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def _refused(path: Path, check: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path).check() if check else load_config(path)
    text = str(caught.value)
    assert str(path) in text
    return text.replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("store: x/\n", "FILE: tile_grid: is missing"),
        (BASE + "stor: y\n", "FILE, line 6: stor: is not known here: did you mean store?"),
        (BASE + "ard:\n  format: hdf\n", "FILE, line 7: ard.format: input should be 'netcdf'"),
        (
            BASE + "ard:\n  encoding:\n    zib: true\n",
            "line 8: ard.encoding.zib: is not known here",
        ),
        (
            BASE + "ard:\n  encoding:\n    chunks:\n      z: 5\n",
            "line 9: ard.encoding.chunks.z: input should be 'time', 'y' or 'x'",
        ),
        (
            BASE + "ard: {encoding: {chunks: {x: many}}}\n",
            "line 6: ard.encoding.chunks.x: input should be a valid integer",
        ),
        (BASE + "tracker: [1]\n", "FILE, line 6: tracker: must be a mapping of keys"),
        (
            BASE + "tracker:\n  name_tmplate: x\n",
            "line 7: tracker.name_tmplate: is not known here: did you mean name_template?",
        ),
        (
            BASE + "tracker:\n  filters: {A: lte}\n",
            "line 7: tracker.filters: must be a list of filters",
        ),
        (
            BASE + "tracker:\n  export_image_kwds: {crs: x}\n",
            "line 7: tracker.export_image_kwds: crs is given by the tile grid",
        ),
        (
            BASE + "tracker:\n  export_image_kwds: {fileDimensions: -5}\n",
            "line 7: tracker.export_image_kwds: fileDimensions -5",
        ),
        (
            BASE + "tracker: {prefix_template: CEDAR_TRACKING}\n",
            "line 6: tracker: prefix_template and tracking_prefix must be different folders",
        ),
        (BASE + "collections: {A: 5}\n", "line 6: collections.A: must be a mapping of keys"),
        (BASE + "platform: {project_id: x}\n", "line 6: platform.base_url: is missing"),
        ("tile_grid: {}\nstore: x\n", "line 1: tile_grid: needs the name of a grid, or crs"),
        (
            "tile_grid:\n  crs: EPSG:3035\n  ul: [0, 0]\n  res: [1, 1]\nstore: x\n",
            "line 1: tile_grid: a definition needs size, too",
        ),
        (
            "tile_grid:\n  crs: EPSG:3035\n  ul: [0, a]\nstore: x\n",
            "line 3: tile_grid.ul.1: input should be a valid number",
        ),
        (BASE + "store: y\n", "FILE, line 6: store is said twice, first in line 2"),
        (BASE + "ard: [\n", "FILE, line 7: not YAML: "),
        (BASE + "  workers: 0\n", "line 6: engine.workers: input should be greater than or equal"),
        (BASE + "  workers: two\n", "line 6: engine.workers: input should be a valid integer"),
        ("- a\n- b\n", "FILE holds no mapping of keys"),
        ("", "FILE holds no mapping of keys"),
        (BASE + "ard:\n  destination: ${NO_SUCH_THING}/x\n", "line 7: the environment has no"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line_and_key(written, text, expected):
    assert expected in _refused(written(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tile_grid: LANDSAT_ARD_C\nstore: x\n", "FILE, line 1: there is no tile grid"),
        (
            "store: x\ntile_grid: {crs: nonsense, ul: [0, 0], res: [1, 1], size: [9, 9]}\n",
            "FILE, line 2: ",
        ),
        ("tile_grid: LANDSAT_ARD_CU\nstore: ftp://x\n", "FILE, line 2: ftp:// is not a store"),
        (
            "tile_grid: LANDSAT_ARD_CU\nstore:\n  url: x\n  options:\n    endpont: 5\n",
            "FILE, line 5: a folder takes no options, but got endpont",
        ),
        (BASE.replace("name: local", "name: modal"), "FILE, line 4: unknown engine 'modal'"),
        (
            BASE.replace("catalog.json", "no/catalog.json"),
            "FILE, line 5: there is no STAC catalogue at ",
        ),
        (
            BASE + "  wrkers: 3\n",
            "FILE, line 6: engine 'local' has no option 'wrkers': did you mean workers?",
        ),
        (BASE + "  zzz: 3\n", "FILE, line 6: engine 'local' has no option 'zzz': it has catalog, "),
        (BASE + "  executor: thread\n", "FILE, line 6: unknown executor 'thread'"),
        (BASE + "  resampling: best\n", "FILE, line 6: unknown resampling 'best'"),
        (BASE + "collections: {A/B: {bnds: 1}}\n", "FILE, line 6: "),
        (
            BASE + "tracker:\n  filters:\n    NO/SUCH: []\n",
            "FILE, line 8: unknown collection 'NO/SUCH'",
        ),
        (
            BASE + "tracker:\n  filters: [{function: lte}]\n",
            "FILE, line 7: ",
        ),
        (
            BASE + "tracker:\n  filters:\n  - {function: lte, name: CLOUD_COVER, value: 9}\n"
            "  - {function: lte, name: CLOUDS, value: 10}\n",
            "FILE, line 9: cannot filter any collection by 'CLOUDS': no STAC property is known",
        ),
        (
            BASE + "tracker:\n  filters: [{function: lte, name: CLOUD_COVER_LND, value: 10}]\n",
            "'CLOUD_COVER_LND': no STAC property is known for it: did you mean CLOUD_COVER_LAND",
        ),
        (
            BASE + "tracker:\n  filters:\n    COPERNICUS/S2_SR_HARMONIZED:\n"
            "    - {function: lte, name: CLOUD_COVER_LAND, value: 10}\n",
            "FILE, line 9: cannot filter COPERNICUS/S2_SR_HARMONIZED by 'CLOUD_COVER_LAND'",
        ),
        (
            BASE + "tracker:\n  filters:\n  - {function: or, filters: [\n"
            "      {function: lte, name: CLOUD_COVER_LAND, value: 10},\n"
            "      {function: lte, name: CLOUDY_PIXEL_PERCENTAGE, value: 10}]}\n",
            "FILE, line 8: cannot filter by 'CLOUDY_PIXEL_PERCENTAGE' and 'CLOUD_COVER_LAND' at",
        ),
        (
            BASE + "tracker:\n  prefix_template: x\n  name_template: '{colection}'\n",
            "FILE, line 8: name_template '{colection}' has the unknown key 'colection'",
        ),
        (
            BASE + "tracker:\n  tracking_template: '{tile.horizontl}'\n",
            "FILE, line 7: tracking_template",
        ),
        (
            BASE + "ard:\n  destination: 'x/{colection}'\n",
            "FILE, line 7: destination has the unknown key 'colection'",
        ),
    ],
)
def test_check_names_what_cannot_be_opened(written, text, expected):
    assert expected in _refused(written(text), check=True)


def test_filters_that_catalogues_or_earth_engine_know_are_fine(written):
    filters = "tracker:\n  filters:\n"
    known = (
        "  - {function: lte, name: CLOUD_COVER_LAND, value: 10}\n"
        "  - {function: lte, name: CLOUDY_PIXEL_PERCENTAGE, value: 10}\n"
        "  - {function: calendarRange, name: month, value: [6, 8]}\n"
    )
    load_config(written(BASE + filters + known)).check()
    own = (
        "collections:\n  LANDSAT/LC08/C02/T1_L2: {properties: {MINE: mine}}\n"
        + filters
        + "    LANDSAT/LC08/C02/T1_L2: [{function: notNull, name: MINE}]\n"
    )
    load_config(written(BASE + own)).check()
    theirs = "  - {function: lte, name: ANY_OF_THEIRS, value: 10}\n"
    engine = "engine: {name: earthengine, project: p}\n"
    load_config(written(BASE.partition("engine")[0] + engine + filters + theirs)).check()


def test_several_problems_are_told_together(written):
    text = _refused(written("stor: x\nard: {format: z}\ntile_grid: A\n"))
    assert {line.split(": ")[1] for line in text.splitlines()} == {"stor", "ard.format", "store"}


def test_relative_paths_are_relative_to_the_file(written, tmp_path, monkeypatch):
    path = written(BASE + "  ledger: here/ledger.sqlite\nard: {destination: 'cubes/{name}'}\n")
    monkeypatch.chdir("/")
    config = load_config(path)
    engine = config.get_engine()
    assert Path(config.store.path("a")) == tmp_path / "preard" / "a"
    assert Path(engine.catalog_href) == tmp_path / "catalog.json"
    assert engine.ledger(config.store).path == tmp_path / "here" / "ledger.sqlite"
    assert config.ard.destination == str(tmp_path / "cubes" / "{name}")


@pytest.mark.parametrize("href", ["https://example.com/v1", "/abs/catalog.json"])
def test_urls_and_absolute_paths_stay(written, href):
    config = load_config(written(BASE.replace("catalog.json", href)))
    assert config.get_engine().catalog_href == href


def test_a_grid_may_come_from_a_file_of_ones_own(written, tmp_path):
    (tmp_path / "grids.yaml").write_text(
        "MINE: {crs: EPSG:3035, ul: [0, 9], res: [1, 1], size: [5, 5], limits: [[0, 1], [0, 1]]}"
    )
    grid = load_config(written("tile_grid: {name: MINE, file: grids.yaml}\nstore: x\n")).tile_grid
    assert (grid.name, grid.size) == ("MINE", (5, 5))


def test_variables_are_filled_in(written, monkeypatch):
    monkeypatch.setenv("WHERE", "https://example.com/v1")
    monkeypatch.setenv("N", "3")
    monkeypatch.setenv("PIN", "0123")
    text = BASE.replace("catalog.json", "${WHERE}/x") + "  workers: ${N}\n"
    text += "platform: {base_url: 'http://h', project_id: \"${PIN}\"}\n"
    config = load_config(written(text))
    assert config.get_engine().catalog_href == "https://example.com/v1/x"
    assert config.data["engine"]["workers"] == 3
    assert config.platform.project_id == "0123"


def test_the_options_of_an_engine_are_those_of_the_file(written, tmp_path):
    config = load_config(written(BASE + "  workers: 3\n"))
    catalog = str(tmp_path / "catalog.json")
    assert config.engine_options("local") == {"catalog": catalog, "workers": 3}
    assert config.engine_options("earthengine") == {}
    assert Config({"tile_grid": "LANDSAT_ARD_CU", "store": "x"}).engine_options("local") == {}


def test_an_empty_part_is_as_if_it_were_left_out(written):
    config = load_config(written(BASE + "tracker:\n  # nothing\nard:\n"))
    assert config.ard.format == "netcdf"
    assert config.get_tracker().filters is None


def test_secrets_are_never_shown(written, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2hunter2")
    config = load_config(
        written("""\
tile_grid: LANDSAT_ARD_CU
store:
  url: s3://bucket/prefix
  options: {secret_access_key: "${SECRET}", region: eu-1, token_file: t.json,
            client_options: {default_headers: {authorization: "${SECRET}"}}}
engine:
  name: local
  catalog: "https://me:${SECRET}@example.com/catalog.json?sig=${SECRET}"
platform: {base_url: "http://me:${SECRET}@h/", project_api_key: "${SECRET}"}
""")
    )
    shown = yaml.safe_dump(config.data)
    assert "hunter2" not in shown + repr(config) + repr(config.platform)
    for kept in (
        "eu-1",
        "t.json",
        "s3://bucket/prefix",
        "example.com/catalog.json",
        "http://***@h/",
    ):
        assert kept in shown


def test_what_is_printed_is_a_configuration_with_the_same_meaning(written):
    config = load_config(written(BASE + "tracker: {prefix_template: mine}\n"))
    again = Config(config.data, config.path)
    assert again.data == config.data
    assert again.get_tracker().templates == config.get_tracker().templates


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "is not JSON: "),
        ("[]", "is not a STAC document: it holds no JSON object"),
        ("{}", "is not a STAC catalogue: its type is None, not Catalog, Collection, "),
        ('{"type": ["a"]}', "is not a STAC catalogue: its type is ['a'], not Catalog, "),
        (
            '{"type": "Polygon", "coordinates": []}',
            "is not a STAC catalogue: its type is 'Polygon'",
        ),
        (
            '{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "field"}]}',
            "is not a STAC catalogue: it is GeoJSON, but none of its features has the assets",
        ),
        ('{"type": "Feature", "geometry": null}', "is not a STAC catalogue: it is GeoJSON, "),
    ],
)
def test_a_catalogue_that_is_none(written, tmp_path, content, message):
    path = written(BASE)
    (tmp_path / "catalog.json").write_text(content)
    text = _refused(path, check=True)
    assert text.startswith("FILE, line 5: ")
    assert f"{tmp_path / 'catalog.json'} {message}" in text


@pytest.mark.parametrize(
    "content",
    [
        '{"type": "Collection", "id": "s2", "links": []}',
        '{"type": "FeatureCollection", "features": []}',
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "assets": {}}]}',
        '{"type": "Feature", "assets": {}}',
    ],
)
def test_what_may_be_a_catalogue(written, tmp_path, content):
    path = written(BASE)
    (tmp_path / "catalog.json").write_text(content)
    load_config(path).check()


def test_the_template_is_a_valid_configuration(written):
    load_config(written(template())).check()


def test_what_is_commented_in_the_template_is_valid_too(written):
    shown, examples = template().split("engine:", 1)
    text = re.sub(
        r"^( *)# (?=filters|export_image_kwds|collections|resampling|  )",
        r"\1",
        examples,
        flags=re.MULTILINE,
    )
    text = f"{shown}engine:{text}"
    config = load_config(written(text))
    config.check()
    assert "MINE/S2_L2A" in config.collections
    assert config.get_tracker().filters
    assert config.get_engine().resampling == "nearest"


@pytest.mark.filterwarnings("default::UserWarning")
def test_cedar_with_gcs_is_understood_with_a_warning(written, tmp_path):
    with pytest.warns(UserWarning, match="written for CEDAR.*gs://bucket.*earthengine"):
        config = load_config(written(CEDAR % "gcs"))
    assert config.data["store"] == {
        "url": "gs://bucket",
        "options": {"service_account": "account.json"},
    }
    assert config.data["engine"]["name"] == "earthengine"
    assert config.data["engine"]["project"] == "my-project"
    assert config.tile_grid.limits == ((0, 13), (0, 36))
    assert config.data["tracker"]["filters"] == [
        {"function": "lte", "name": "CLOUD_COVER_LAND", "value": 80.0}
    ]
    assert config.ard.encoding.given == {"chunks": {"x": 250, "y": 250, "time": 50}, "zlib": True}


@pytest.mark.filterwarnings("default::UserWarning")
def test_cedar_with_gdrive_is_understood_with_a_warning(written):
    with pytest.warns(UserWarning, match="written for CEDAR"):
        config = load_config(written(CEDAR % "gdrive"))
    assert config.data["store"] == {
        "url": "gdrive://",
        "options": {"token_file": "credentials.json"},
    }


@pytest.mark.filterwarnings("default::UserWarning")
def test_cedars_names_of_grids_are_understood(written):
    text = yaml.safe_load(CEDAR % "gcs")
    text["tile_grid"] = {"grid_name": "LANDSAT_ARD_AK"}
    with pytest.warns(UserWarning, match="CEDAR"):
        assert load_config(written(yaml.safe_dump(text))).tile_grid.name == "LANDSAT_ARD_AK"


def test_where_a_configuration_is_looked_for(tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHARD_CONFIG", raising=False)
    assert not has_config()
    with pytest.raises(ConfigError, match="orchard config template"):
        find_config()
    named = tmp_path / "other.yaml"
    monkeypatch.setenv("ORCHARD_CONFIG", str(named))
    assert has_config()
    with pytest.raises(ConfigError, match=r"no configuration file .*other\.yaml"):
        find_config()
    named.write_text(BASE)
    assert find_config() == named
    path = written(BASE)
    assert find_config(path) == path
    monkeypatch.delenv("ORCHARD_CONFIG")
    assert find_config() == Path("orchard.yaml")


def test_a_file_that_cannot_be_read_is_named(written):
    path = written("")
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in _refused(path)


def test_the_same_error_for_programs_without_a_file():
    with pytest.raises(ConfigError, match="configuration: store: is missing"):
        Config({"tile_grid": "LANDSAT_ARD_CU"})


def test_reading_a_configuration_loads_nothing_heavy(written):
    code = (
        "import sys, orchard.config as c; c.load_config(sys.argv[1]);"
        "print([m for m in ('pandas', 'xarray', 'rasterio', 'odc', 'dask') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(written(BASE))], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
