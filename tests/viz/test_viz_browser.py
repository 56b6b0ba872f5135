"""The saved page in a real browser without a network: it draws, answers, runs no foreign code."""

from __future__ import annotations

import shutil
import tarfile

import folium
import numpy as np
import pytest
from shapely.geometry import box
from test_viz_plots import write

from orchard import viz

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """Open a page offline; returns it and the list of its script errors."""
    context = browser.new_context(offline=True, viewport={"width": 900, "height": 700})

    def go(path):
        page, errors = context.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector(".leaflet-control-layers", state="attached")
        return page, errors

    yield go
    context.close()


def drawn(page):
    """The overlays' natural width in pixels, 0 where a picture is broken."""
    script = "found => found.map(image => image.complete ? image.naturalWidth : 0)"
    page.wait_for_function(
        "[...document.querySelectorAll('.leaflet-image-layer')].every(image => image.complete)"
    )
    return page.locator(".leaflet-image-layer").evaluate_all(script)


def test_the_real_result_in_a_browser(scenes, tmp_path, visit):
    with tarfile.open(scenes / "up42/result_tif.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    viz.map_results(files, aoi=(13.37, 52.49, 13.40, 52.51), save_html=tmp_path / "map")
    page, errors = visit(tmp_path / "map" / "final_map.html")
    assert drawn(page) == [1024]
    labels = page.locator(".leaflet-control-layers-overlays label").all_inner_texts()
    assert [label.strip().partition(" - ")[0] for label in labels] == ["Image 1", "aoi", "Features"]
    # The view is Berlin: both corners of the picture are on the screen.
    centre = page.evaluate(
        "(() => { for (const key in window) if (window[key] instanceof L.Map)"
        " { const c = window[key].getCenter(); return [c.lng, c.lat]; } })()"
    )
    assert centre == pytest.approx([13.392, 52.503], abs=0.005)
    page.mouse.click(450, 350)
    popup = page.locator(".leaflet-popup-content")
    popup.wait_for()
    assert "Feature 1 - 21ac03b7-1b1e-43c8-b385-56fde04610aa" in popup.inner_text()
    assert "7e17f023-a8e3-43bd-aaac-5bbef749c7f4_0-0.tif" in popup.inner_text()
    page.get_by_text("Image 1").click()
    assert page.locator(".leaflet-image-layer").count() == 0
    assert errors == []


def test_hostile_names_and_properties_do_nothing(tmp_path, visit):
    evil = "</script><img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
    feature = {
        "type": "Feature",
        "geometry": box(10, 50, 11, 51).__geo_interface__,
        "properties": {"uid": evil, evil: evil, "up42.data_path": "a.tif"},
    }
    picture = write(tmp_path / "a.tif", np.zeros((3, 20, 20), "uint8"), crs=None)
    viz.map_images(
        picture, {"type": "FeatureCollection", "features": [feature]}, save_html=tmp_path / "m.html"
    )
    page, errors = visit(tmp_path / "m.html")
    page.mouse.move(450, 350)
    page.mouse.click(450, 350)
    page.locator(".leaflet-popup-content").wait_for()
    page.locator(".leaflet-tooltip").wait_for()
    assert "onerror" in page.locator(".leaflet-popup-content").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0
    assert errors == []


def test_a_legend_and_a_users_own_marker(tmp_path, visit):
    values = np.linspace(0, 5000, 2500, dtype="f4").reshape(50, 50)
    page = viz.map_images(write(tmp_path / "ndvi.tif", values), stretch=(0, 100))
    (south, west), (north, east) = page.get_bounds()
    folium.Marker(((south + north) / 2, (west + east) / 2), popup="mine").add_to(page)
    page.save(tmp_path / "m.html")
    shown, errors = visit(tmp_path / "m.html")
    assert shown.locator(".orchard-legend").inner_text().split() == ["ndvi", "0", "5,000"]
    colours = shown.locator(".orchard-legend i").evaluate("bar => getComputedStyle(bar).background")
    assert "linear-gradient" in colours
    shown.locator(".leaflet-marker-icon").click()
    shown.locator(".leaflet-popup-content").wait_for()
    assert shown.locator(".leaflet-popup-content").inner_text() == "mine"
    icon = shown.locator(".leaflet-marker-icon").evaluate("image => image.naturalWidth")
    assert icon > 0
    assert errors == []
