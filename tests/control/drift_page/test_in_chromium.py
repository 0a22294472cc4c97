"""The page in a real browser: what it shows is what GetDrift says, whoever reads it and however; it reaches no other
machine.

Skipped where playwright or chromium is missing. Screenshots go to build/drift-page, and to docs/images where
ROOST_DRIFT_SCREENSHOTS is set.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from server.control.drift_page.listeners import Listeners
from tests.control.drift_page.watched import MODEL, UNWATCHED, Watched, watched

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM: Final = os.environ.get("ROOST_CHROMIUM") or shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
    pytest.mark.timeout(240),
]
ROOT: Final = Path(__file__).parents[3]
SCREENSHOTS: Final = "ROOST_DRIFT_SCREENSHOTS"
CHECKS: Final = (Path(__file__).parent / "page_checks.js").read_text()
WIDE, NARROW = (1280, 900), (390, 844)
NAMED_ROLES: Final = {
    "button", "checkbox", "columnheader", "combobox", "grid", "gridcell", "link", "radio", "rowheader",
}  # fmt: skip
WAIT_MS: Final = 20_000


@dataclass
class Seen:
    """A page, and all that it asked for and complained of."""

    page: Any
    world: Watched
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def check(self, name: str) -> Any:
        return await self.page.evaluate(f"checks.{name}()")

    async def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in await self.page.locator(selector).all_text_contents()]

    async def drawn(self) -> None:
        await self.page.wait_for_selector("#feature .figures", timeout=WAIT_MS)

    async def until(self, holds: str) -> None:
        """Evaluated from outside: the page's own policy lets nothing evaluate a text inside."""
        async with asyncio.timeout(WAIT_MS / 1000):
            while not await self.page.evaluate(holds):
                await asyncio.sleep(0.02)

    async def title_is(self, selector: str, text: str) -> None:
        await self.page.locator(selector, has_text=re.compile(f"^{re.escape(text)}$")).wait_for(timeout=WAIT_MS)

    async def tabs_to(self, is_there: str) -> None:
        """Presses Tab until a test of `checks.focus()` holds; all that had the focus shows it."""
        for _ in range(40):
            await self.page.keyboard.press("Tab")
            assert await self.check("focusIsSeen"), await self.check("focus")
            if await self.page.evaluate(f"(({is_there})(checks.focus()))"):
                return
        raise AssertionError(f"40 tabs lead nowhere: {is_there}")


@asynccontextmanager
async def browsing(
    world: Watched, query: str = f"?model={MODEL}", size: tuple[int, int] = WIDE, scheme: str = "light"
) -> AsyncIterator[Seen]:
    """The page as a browser of this size shows it. At the end nothing may have been complained of."""
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
        )
        await context.add_init_script(CHECKS)
        page = await context.new_page()
        seen = Seen(page, world)
        page.on("console", lambda said: seen.complaints.append(said.text) if said.type != "log" else None)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        await page.add_init_script(
            "addEventListener('securitypolicyviolation', (one) => console.error(`refused: ${one.violatedDirective}`))"
        )
        await page.goto(f"{world.address}/drift{query}")
        try:
            yield seen
        finally:
            await browser.close()
    assert seen.complaints == []
    assert {url.split("/drift")[0] for url in seen.requests if not url.startswith("data:")} == {world.address}


async def story(world: Watched, minutes: int = 34) -> None:
    """A morning: one feature goes off slowly, another suddenly, and a few minutes have hardly any rows."""
    await world.minutes(minutes - 16)
    for minute in range(12):
        world.shifts["monthly_charge"] = 0.08 * minute
        await world.minutes(1, rows=48 if minute == 3 else 800)
    world.shifts["payment_method"] = 0.12
    await world.minutes(4)


async def test_the_heat_map_and_a_feature_show_what_get_drift_says(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await story(world)
        reply = await world.reply(counts_of="minute")
        window = next(one for one in reply.windows if (one.signal, one.length) == ("inputs", "minute"))
        async with browsing(world) as seen:
            await seen.drawn()
            names = [feature.name for feature in window.features]
            assert await seen.texts("tbody th .name") == names
            assert await seen.page.locator("#grid tbody tr").first.locator("td").count() == 30
            assert await seen.texts("#verdict-title") == ["Inputs have drifted"]
            assert await seen.texts("#why") == [window.why]
            assert await seen.texts("#alerts strong") == [f"drift of {MODEL}: inputs"]
            moved = await seen.texts("tr:has(.head .moved) .name")
            assert moved == [feature.name for feature in window.features if feature.moved]
            assert moved
            for feature in window.features[:3]:
                await seen.page.locator(f"th[data-feature='{feature.name}']").click()
                await seen.title_is("#feature-title", feature.name)
                shown = await seen.page.evaluate(
                    "Object.fromEntries([...document.querySelectorAll('#feature data')]"
                    ".map((one) => [one.dataset.name, one.value]))"
                )
                for figure in ("psi", "psi_debiased", "standard_error", "effective_rows", "log_e"):
                    assert float(shown[figure]) == getattr(feature, figure), (feature.name, figure)
                assert (shown["named"], shown["practical"]) == (str(feature.moved).lower(),) * 2 or not feature.moved
                counts = next(one for one in reply.counts if (one.signal, one.name) == ("inputs", feature.name))
                assert await seen.texts(".bins tbody th") == list(counts.bins)
                cells = "[...document.querySelectorAll('.bins tbody tr')].map((row) => [...row.querySelectorAll"
                pairs = await seen.page.evaluate(f"{cells}('[data-count]')].map((one) => Number(one.dataset.count)))")
                assert pairs == [list(pair) for pair in zip(counts.reference, counts.window, strict=True)]
                rule = await seen.texts("#feature .figures div:first-child .of")
                assert rule == [f"{feature.rule_of_thumb}, by a rule of thumb that decides nothing"]


async def test_the_keyboard_alone_reaches_a_cell_opens_it_and_comes_back(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await story(world)
        async with browsing(world) as seen:
            await seen.drawn()
            press = seen.page.keyboard.press
            assert await seen.check("tabStopsInGrid") == 1
            await seen.tabs_to("(focus) => focus.feature !== null")
            names = await seen.texts("tbody th .name")
            assert (await seen.check("focus"))["feature"] == names[0]
            await press("ArrowDown")
            await press("End")
            last = await seen.check("focus")
            assert last["feature"] == names[1]
            assert await seen.texts("#readout")
            await press("ArrowLeft")
            await press("ArrowLeft")
            older = await seen.check("focus")
            assert int(last["window"]) - int(older["window"]) == 120
            assert await seen.check("focusIsSeen")
            await press("Enter")
            await seen.until("checks.focus().id === 'feature-title'")
            assert await seen.texts("#feature-title") == [names[1]]
            assert "known for the last window only" in (await seen.texts(".unknown"))[0]
            await press("Escape")
            assert await seen.check("focus") == older
            await press("Home")
            await press("Enter")
            await seen.until("document.querySelectorAll('#feature data').length > 5")
            await press("Escape")
            await press("Control+End")
            assert (await seen.check("focus"))["feature"] == names[-1]
            await press("PageUp")
            assert (await seen.check("focus"))["feature"] == names[1]
            assert await seen.check("tabStopsInGrid") == 1


async def test_a_window_that_closes_changes_the_page_without_a_reload_and_keeps_the_focus(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(3)
        async with browsing(world) as seen:
            await seen.drawn()
            await seen.page.wait_for_selector("#live[data-state='live']", timeout=WAIT_MS)
            assert await seen.texts("#verdict-title") == ["Inputs are quiet"]
            assert await seen.texts("#alerts p") == ["No alert of drift stands."]
            await seen.page.evaluate("window.isTheSame = true")
            await seen.page.locator("#grid tbody tr").nth(1).locator("td").nth(1).click()
            before = await seen.check("focus")
            await seen.page.locator(f"td[data-window='{before['window']}']").nth(1).focus()
            before = await seen.check("focus")
            world.shifts["age"] = 2.0
            await world.minutes(1)
            await seen.title_is("#verdict-title", "Inputs have drifted")
            await seen.page.wait_for_selector("#alerts h3", timeout=WAIT_MS)
            await seen.until("document.querySelectorAll('#grid tbody tr:first-child td').length === 4")
            assert (await seen.texts("tbody th .name"))[0] == "age"
            assert await seen.check("focus") == before, "although its row has moved"
            told = await seen.texts("#news")
            assert told == ["Another minute: inputs have drifted, 800 rows."]
            assert await seen.page.evaluate("window.isTheSame")
            assert MODEL in await seen.page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everything_has_a_name_and_can_be_read_and_screenshots_are_taken(tmp_path: Path, scheme: str) -> None:
    async with watched(tmp_path) as world:
        await story(world)
        for size in (WIDE, NARROW):
            async with browsing(world, size=size, scheme=scheme) as seen:
                await seen.drawn()
                await seen.page.wait_for_selector("#live[data-state='live']", timeout=WAIT_MS)
                await _take(seen, f"drift-{size[0]}-{scheme}.png")
                assert await seen.check("tooWide") <= 0
                assert await seen.check("idsTwice") == []
                headings = await seen.check("headings")
                assert headings[0] == 1
                assert headings.count(1) == 1
                assert all(after - before <= 1 for before, after in pairwise(headings))
                await _all_named(seen)
                await seen.page.check("#numbers")
                contrast = await seen.check("contrast")
                assert contrast["low"] == []
                assert contrast["texts"] > 200, "figures in cells, too"
                assert await seen.check("tooWide") <= 0, "the heat map scrolls by itself"


async def _all_named(seen: Seen) -> None:
    session = await seen.page.context.new_cdp_session(seen.page)
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED_ROLES]
    assert {"grid", "gridcell", "rowheader", "radio", "checkbox", "combobox", "link"} <= {
        node["role"]["value"] for node in found
    }
    unnamed = [node["role"]["value"] for node in found if not node.get("name", {}).get("value", "").strip()]
    assert unnamed == []


async def _take(seen: Seen, name: str) -> None:
    for folder in (ROOT / "build" / "drift-page", *([ROOT / "docs" / "images"] * bool(os.environ.get(SCREENSHOTS)))):
        folder.mkdir(parents=True, exist_ok=True)
        await seen.page.screenshot(path=folder / name, full_page=True)


async def test_what_is_chosen_changes_the_page_and_its_address_and_a_model_without_a_baseline_says_why(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as world:
        world.shifts["churn_probability"] = 1.0
        await world.minutes(2)
        async with browsing(world, query="") as seen:
            await seen.until("document.getElementById('why').textContent.includes('--reference')")
            assert not await seen.page.locator("#heat-map").is_visible()
            assert not await seen.page.locator("#feature").is_visible()
            assert await seen.page.locator("#model").input_value() == UNWATCHED
            await seen.page.select_option("#model", MODEL)
            await seen.drawn()
            await seen.page.locator("input[value='predictions']").check()
            await seen.title_is("#feature-title", "churn_probability")
            assert await seen.texts("#verdict-title") == ["Predictions have drifted"]
            await seen.page.locator("input[value='psi']").check()
            assert "signal=predictions" in seen.page.url
            assert "measure=psi" in seen.page.url
            await seen.page.reload()
            await seen.drawn()
            assert await seen.texts("#verdict-title") == ["Predictions have drifted"]
            await seen.page.locator("input[value='hour']").check()
            await seen.until("document.getElementById('why').textContent.startsWith('No hour has')")
            assert (await seen.texts("#why"))[0].endswith("Choose minute: of these there are.")


async def test_where_too_many_listen_the_page_says_that_it_is_not_live(tmp_path: Path) -> None:
    async with watched(tmp_path, listeners=Listeners(most=0)) as world:
        await world.minutes(1)
        async with browsing(world) as seen:
            await seen.drawn()
            await seen.page.wait_for_selector("#live[data-state='ended']", timeout=WAIT_MS)
            assert (await seen.texts("#live-text"))[0].startswith("Not live")
            assert any("503" in said for said in seen.complaints), "which is the browser's own"
            seen.complaints.clear()
