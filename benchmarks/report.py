"""How large the report of an order is, and how long it takes to make and to draw.

    python benchmarks/report.py [TASKS]

Makes orders of 1,000 tasks up to TASKS (default 100,000) with tasks in every state, once with many
tiles and once with many periods, with acquisitions of 2,000 results; opens each report in headless
Chromium without a network, five times each in a new context. Prints one line of JSON per order:
size in MB, seconds to make the model and the page, and the median and the largest of the seconds
from the begin of the navigation until all is on the screen (a mark two frames after drawing).
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))

from made_orders import made_facts, made_order

from orchard.report import build_model, render

BUDGET = {"page_mb": 10.0, "drawn_s": 2.0}
TIMES = 5


def measure(info, folder: Path, browser) -> dict[str, float]:
    """Make and draw the report of an order."""
    began = time.perf_counter()
    model = build_model(info, made_facts(info))
    modelled = time.perf_counter()
    page = render(model)
    rendered = time.perf_counter()
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    drawn = [_draw(path, browser) for _ in range(TIMES)]
    return {
        "page_mb": round(path.stat().st_size / 1e6, 2),
        "model_s": round(modelled - began, 2),
        "render_s": round(rendered - modelled, 2),
        "drawn_s": round(statistics.median(drawn), 2),
        "drawn_max_s": round(max(drawn), 2),
    }


def _draw(path: Path, browser) -> float:
    context = browser.new_context(offline=True, viewport={"width": 1360, "height": 900})
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("performance.getEntriesByName('orchard-drawn').length > 0")
    seconds = page.evaluate("performance.getEntriesByName('orchard-drawn')[0].startTime") / 1000
    context.close()
    return seconds


def orders(most: int):
    """Yield orders of 1,000 tasks and more, with many tiles and with many periods."""
    for size, (rows, cols) in {1_000: (2, 10), 10_000: (10, 20), 100_000: (40, 50)}.items():
        if size > most:
            return
        tiles = made_order(rows, cols, start="2019-01-01", end="2023-03-01")
        yield f"{rows * cols} tiles x 50 periods", tiles
        end = date(1990, 1, 1) + timedelta(days=size // 100)
        periods = made_order(10, 10, start="1990-01-01", end=end.isoformat(), freq="D")
        yield f"100 tiles x {size // 100} periods", periods


def main() -> int:
    """Measure all orders; 1 when the last ones are over the budget."""
    from playwright.sync_api import sync_playwright

    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    worst = dict.fromkeys(BUDGET, 0.0)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for what, info in orders(most):
            found = measure(info, Path(folder), browser)
            print(json.dumps({"what": what, "tasks": len(info.orders), **found}), flush=True)
            worst = {key: max(worst[key], found[key]) for key in BUDGET}
        browser.close()
    over = {key: worst[key] for key, limit in BUDGET.items() if worst[key] > limit}
    print("over the budget: " + json.dumps(over) if over else "within the budget", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
