"""The report in a browser without a network: it draws, answers to the keyboard, has no faults."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from made_orders import CAUSES, made_facts, made_order

from orchard.report import (
    AcquisitionFacts,
    CubeFacts,
    Known,
    Picture,
    Report,
    build_model,
    gather,
)

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The report of an order with every state, two collections and a picture."""
    info = made_order(3, 4, collections=("LANDSAT/LC08/C02/T1_L2", "COPERNICUS/S2_SR_HARMONIZED"))
    facts = made_facts(info)
    position = next(iter(facts.acquisitions))
    day = facts.acquisitions[position][0].day
    known = Known(
        acquisitions=facts.acquisitions, pictures=[Picture(task=position, day=day, url=DOT)]
    )
    path = tmp_path_factory.mktemp("mixed") / "report.html"
    return info, Report(build_model(info, known)).save(path)


def pixels(page, canvas):
    """How many different colours a canvas shows."""
    return page.locator(canvas).evaluate(
        """canvas => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )


def brightness(colour):
    return sum(map(int, re.findall(r"\d+", colour)))


def live(page):
    return page.get_by_test_id("matrix-live").inner_text()


def tab_to(page, wanted):
    """Press Tab until what has the focus is what is wanted, as a CSS selector."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
    pytest.fail(f"Tab does not come to {wanted}")


def test_a_real_order(made, visit, tmp_path):
    known = gather(made.info, store=made.tracker.store, cubes=made.cubes, beside=tmp_path)
    page = visit(Report(build_model(made.info, known)).save(tmp_path / "report.html"))
    assert page.title() == f"{made.info.name} · Orchard"
    assert page.locator(".headline").inner_text().startswith("100 %")
    assert "6 of 6 tasks done" in page.locator(".headline").inner_text()
    numbers = page.locator(".numbers").inner_text()
    acquisitions = sum(map(len, known.acquisitions.values()))
    assert re.search(rf"Acquisitions\s+{acquisitions}\b", numbers)
    size = sum(file.size for status in made.info.statuses for file in status.files)
    assert f"{round(size / 1000)} kB" in numbers
    assert page.locator(".gallery img").count() == min(len(known.pictures), 8)
    widths = page.locator(".gallery img").evaluate_all(
        "all => all.map(image => image.naturalWidth)"
    )
    assert set(widths) == {64}
    assert page.locator("section[aria-labelledby=cubes-title] tbody tr").count() == 4
    assert pixels(page, ".map canvas") > 5
    assert page.locator(".median").get_attribute("d")


def test_the_matrix_by_keyboard(mixed, visit):
    info, path = mixed
    page = visit(path)
    tab_to(page, ".matrix-scroller")
    states = [order["status"]["state"] for order in info.orders]
    assert states[0] in live(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert f"2021-02: {states[24 + 1]}" in live(page)
    assert "row 2 of 24, column 2 of 24" in live(page)
    page.keyboard.press("Control+End")
    assert f"2022-12: {states[-1]}" in live(page)
    page.keyboard.press("ArrowDown")  # stays within
    assert "row 24 of 24, column 24 of 24" in live(page)
    page.keyboard.press("Control+Home")
    page.keyboard.press("f")
    failed = next(i for i, s in enumerate(states) if s in ("FAILED", "LOST") and i)
    assert states[failed] in live(page)
    page.keyboard.press("Enter")
    card = page.locator("aside.card")
    assert info.orders[failed]["name"] in card.inner_text()
    assert states[failed] in card.inner_text()
    assert info.orders[failed]["status"]["error_message"] in card.inner_text()


def test_filters_by_keyboard(mixed, visit):
    info, path = mixed
    page = visit(path)
    counted = page.locator(".filters output")
    assert counted.inner_text() == "576 tasks"
    tab_to(page, ".filters select")
    page.keyboard.type("FAILED")
    assert counted.inner_text() == f"{info.states['FAILED']} tasks of 576"
    tab_to(page, ".filters input")
    page.keyboard.type("h009v006")
    mine = [
        order["status"]["state"] for order in info.orders if "_h009v006_" in order["name"]
    ].count("FAILED")
    assert counted.inner_text() == f"{mine} task{'' if mine == 1 else 's'} of 576"
    assert "2 rows" in page.locator(".matrix-scroller").get_attribute("aria-label")
    tab_to(page, ".filters button")
    page.keyboard.press("Enter")
    assert counted.inner_text() == "576 tasks"
    # A cause, and a tile on the map, filter as well.
    tab_to(page, ".failures button")
    page.keyboard.press("Enter")
    most, tasks = max(info.failures().items(), key=lambda item: len(item[1]))
    assert most in CAUSES
    assert counted.inner_text() == f"{len(tasks)} tasks of 576"
    assert page.locator("aside.card .cause").inner_text() == most
    page.keyboard.press("Enter")
    page.locator(".map").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_test_id("map-live").inner_text().startswith("h009v005: ")
    page.keyboard.press("Enter")
    assert counted.inner_text() == "48 tasks of 576"


def test_the_table_holds_all_tasks_page_by_page(mixed, visit):
    info, path = mixed
    page = visit(path)
    page.get_by_text("As a table").first.click()
    rows = page.locator("[aria-label='Table of tasks'] tbody tr")
    assert rows.count() == 25
    page.get_by_role("navigation", name="Pages of tasks").get_by_text("Later").click()
    assert info.orders[25]["name"] in rows.first.inner_text()
    rows.first.get_by_role("button").click()
    assert info.orders[25]["name"] in page.locator("aside.card").inner_text()


def test_a_phone_shows_tasks_one_below_the_other(mixed, visit):
    info, path = mixed
    page = visit(path, width=390)
    page.get_by_text("As a table").first.click()
    table = page.get_by_label("Table of tasks")
    assert table.evaluate("box => box.scrollWidth === box.clientWidth")
    position = next(i for i, s in enumerate(info.statuses) if s.state == "COMPLETED")
    row = table.locator("tbody tr").nth(position)
    assert info.orders[position]["name"] in row.inner_text()
    named = row.locator("[data-name='Size']").evaluate(
        "cell => getComputedStyle(cell, '::before').content"
    )
    assert named == '"Size "'
    # Other tables are scrolled, and show at their sides that they can be.
    attached = "box => getComputedStyle(box).backgroundAttachment"
    assert table.evaluate(attached) == ", ".join(["local, local, scroll, scroll"] * 2)


def test_paper_shows_all_of_a_list(visit, tmp_path):
    info = made_order(2, 2, states=["COMPLETED"])
    cubes = [
        CubeFacts(
            path=f"cubes/{i}.nc", item=f"cubes/{i}.stac.json", format="netcdf", size=1, tasks=[i]
        )
        for i in range(60)
    ]
    page = visit(Report(build_model(info, Known(cubes=cubes))).save(tmp_path / "report.html"))
    box = page.get_by_label("Cubes", exact=True)
    hidden = "box => box.scrollHeight - box.clientHeight"
    assert box.evaluate(hidden) > 100
    shadows = "box => getComputedStyle(box).backgroundImage.split('linear-gradient').length - 1"
    assert box.evaluate(shadows) == 8  # at four sides, each covered at its end
    page.emulate_media(media="print")
    assert box.evaluate(hidden) == 0


@pytest.mark.parametrize(
    ("clear", "cloud", "said"),
    [
        (None, None, "neither a clear mask in the cubes nor the scenes' metadata tell"),
        (None, 20.0, "100 % less the cloud cover that the scenes' metadata tell"),
        (0.5, 20.0, "as measured in the cubes; where none tells, 100 % less the cloud cover"),
    ],
)
def test_what_is_clear_is_from_the_cubes_else_from_the_metadata(
    visit, tmp_path, clear, cloud, said
):
    info = made_order(1, 1, states=["COMPLETED"])
    day = date(2021, 1, 5)
    facts = {
        0: [AcquisitionFacts(day=day, scenes=2, clear=clear)],
        1: [AcquisitionFacts(day=day, scenes=2, cloud=cloud)],
    }
    cube = CubeFacts(path="0.nc", item="0.stac.json", format="netcdf", size=1, tasks=[0, 1])
    known = Known(acquisitions=facts, cubes=[cube])
    page = visit(Report(build_model(info, known)).save(tmp_path / "report.html"))
    assert said in page.locator("[aria-labelledby=clear-title]").inner_text()
    numbers = page.locator(".numbers").inner_text()
    assert re.search(r"Scenes, by task\s+4\s+in 2 of 24 results; one counts in each task", numbers)


def test_what_was_cancelled_has_not_failed(visit, tmp_path):
    info = made_order(1, 2, states=["COMPLETED", "CANCELLED"])
    page = visit(Report(build_model(info)).save(tmp_path / "report.html"))
    assert "Nothing has failed." in page.locator("[aria-labelledby=failures-title]").inner_text()
    n = info.states["CANCELLED"]
    assert f", {n} cancelled" in page.locator(".headline").inner_text()
    assert page.locator(".headline .alert").count() == 0
    page.get_by_label("State", exact=True).select_option(label=f"CANCELLED ({n})")
    assert page.locator(".filters output").inner_text() == f"{n} tasks of 48"


def test_one_is_no_plural_and_seconds_are_no_minutes(visit, tmp_path):
    info = made_order(1, 1, start="2021-01-01", end="2021-02-01", states=["COMPLETED"])
    status = info.orders[0]["status"]
    status["update_timestamp_ms"] = status["start_timestamp_ms"] + 600
    page = visit(Report(build_model(info)).save(tmp_path / "report.html"))
    assert "1 of 1 task done" in page.locator(".headline").inner_text()
    assert re.search(
        r"Runtime\s+0.6 s\s+a task, ± 0.0 s; 0.6 s", page.locator(".numbers").inner_text()
    )
    for one, of_what in ((".matrix-scroller", "1 row, 1 column"), (".map", "Map of 1 tile")):
        assert page.locator(one).first.get_attribute("aria-label").endswith(of_what)


def test_the_mouse_shows_and_selects(mixed, visit):
    _, path = mixed
    page = visit(path)
    page.locator(".gallery button").first.click()
    card = page.locator("aside.card")
    assert card.locator("img").count() == 1
    assert "Acquisitions" in card.inner_text()
    matrix = page.locator(".matrix-scroller")
    box = matrix.bounding_box()
    matrix.hover(position={"x": box["width"] - 10, "y": 40})
    tip = page.locator(".matrix .tip").inner_text()
    assert "2022-12" in tip
    matrix.click(position={"x": box["width"] - 10, "y": 40})
    assert "2022-12" in card.locator("h3").inner_text()


def test_the_theme_is_the_systems_until_it_is_chosen(mixed, visit):
    _, path = mixed
    page = visit(path, color_scheme="dark")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light").press("Enter")
    light = page.evaluate(background)
    assert brightness(dark) < 150
    assert brightness(light) > 600
    page.reload()
    assert page.evaluate(background) == light


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_serious_fault(mixed, visit, scheme, width):
    if not AXE.exists():
        pytest.skip("axe-core is not there: npm ci --prefix web")
    _, path = mixed
    page = visit(path, width=width, color_scheme=scheme)
    tab_to(page, ".matrix-scroller")
    page.keyboard.press("Enter")
    for details in page.locator("main details").all():
        details.locator("summary").click()
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({ resultTypes: ['violations', 'incomplete'] })")
    faults = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert not [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in faults]
    assert len(found["passes"]) > 20  # it has looked
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_policy_stops_what_is_not_of_the_page(mixed, visit, browser):
    _, path = mixed
    context = browser.new_context(offline=True)
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.foreign = true";
            document.body.append(script);
            new Image().src = "https://example.org/spy.png";
            fetch("https://example.org/").catch(() => {});
        }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.foreign") is None
    assert sum("Content Security Policy" in text for text in said) >= 3
    context.close()


def test_a_notebook_shows_it_in_a_frame(mixed, browser, tmp_path):
    info, _ = mixed
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html>{Report(build_model(info))._repr_html_()}")
    context = browser.new_context(offline=True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(notebook.as_uri())
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").inner_text() == info.name
    frame.get_by_role("button", name="Dark").click()
    assert not errors
    context.close()


def test_a_hundred_thousand_tasks_are_drawn(large, visit):
    info, path = large
    page = visit(path)
    assert page.locator(".filters output").inner_text() == "100,000 tasks"
    assert pixels(page, ".matrix-box canvas") > 8
    page.locator(".matrix-scroller").focus()
    page.keyboard.press("Control+End")
    assert info.orders[-1]["status"]["state"] in live(page)
