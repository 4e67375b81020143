"""Tests of the viewer in a real browser, on CarSales with its Content-Security-Policy.

``open_page`` fails a test on any console error, so on any breach of the policy, and on any request
that leaves the host.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from playwright.sync_api import expect

from tests.browser.accessibility import axe_finds, problems_in_each_look
from tests.tracing.analysis.building import TraceBuilder
from tests.tracing.viewer.hostile import MARK, hostile
from tests.tracing.viewer.traces import command, identify, order, store
from tests.tracing.wirings import keep, version
from tracing.models import Hazard, RecorderControl, Trace
from tracing.panels.panel import render
from tracing.panels.stored import describe
from tracing.store import finding
from tracing.templatetags.tracing_tags import asset

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

FIRST = f"/tracing/traces/{1:032x}"
PAGES = {
    "traces": "/tracing/",
    "mistake": "/tracing/?q=outcom:raised",
    "nothing": "/tracing/?q=name:nobody",
    "filters": "/tracing/?kind=request&duration=1ms",
    "charts": "/tracing/charts/",
    "tree": f"{FIRST}/",
    "span": f"{FIRST}/spans/3/",
    "flame": f"{FIRST}/flame/",
    "table": f"{FIRST}/table/",
    "receivers": f"{FIRST}/receivers/",
    "sql": f"{FIRST}/sql/",
    "hazards of a trace": f"{FIRST}/hazards/",
    "log": f"{FIRST}/log/",
    "json": f"{FIRST}/json/",
    "repetitions": f"/tracing/traces/{2:032x}/lines/1/",
    "map": "/tracing/map/",
    "explain": "/tracing/explain/?what=orders.Order",
    "ask": "/tracing/explain/",
    "story": "/tracing/story/?object=orders.Order:1",
    "statistics": "/tracing/statistics/",
    "heat": "/tracing/statistics/heat/",
    "compare": f"/tracing/compare/?a={3:032x}&b={1:032x}",
    "choose": "/tracing/compare/",
    "periods": "/tracing/compare/periods/?before_since=1d&after_since=1h",
    "hazards": "/tracing/hazards/",
    "recorder": "/tracing/recorder/",
    "processes": "/tracing/wiring/processes/",
    "prune": "/tracing/recorder/prune/",
    "searches": "/tracing/searches/",
}


@pytest.fixture(autouse=True)
def stored(db):
    """Store traces that every test starts from."""
    store(
        order(3, ago=7_200, slow=4),
        command(2, ago=600, cars=30),
        order(1, fails=True, slow=40),
        shared=False,
    )
    keep(version("web", "count", "index"), version("worker celery", "count"), version("tests"))


@pytest.fixture
def viewer(open_page, live_server, stored, admin_client):
    """Return ``viewer(path, **options)``: a page of the viewer, opened by staff who may all."""
    session = admin_client.cookies["sessionid"].value

    def viewer(path="/tracing/", **options) -> Page:
        page = open_page(live_server.url, **options)
        page.context.add_cookies(
            [{"name": "sessionid", "value": session, "url": live_server.url, "httpOnly": True}]
        )
        page.goto(path)
        if options.get("java_script_enabled", True):
            listens(page)
        return page

    return viewer


def listens(page: Page) -> None:
    """Wait until the modules of the page are at work: they come after it has loaded."""
    page.locator("html[data-ready]").wait_for(state="attached")


@pytest.fixture
def hashed_names(settings, tmp_path):
    """Serve what a host has that keeps static files under their hashed names alone."""
    settings.STATIC_ROOT = tmp_path
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    call_command("collectstatic", interactive=False, verbosity=0)
    manifest = json.loads((tmp_path / "staticfiles.json").read_text(encoding="utf-8"))
    for name in set(manifest["paths"]) - set(manifest["paths"].values()):
        (tmp_path / name).unlink()
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [tmp_path]


def names(page: Page) -> list[str]:
    return page.locator("#rows tr .col-name a.open").all_inner_texts()


def visible_rows(page: Page) -> int:
    return page.locator("#tree [role=row][data-number]:visible").count()


def current(page: Page) -> str:
    return page.locator("#tree .is-current a.open, #rows .is-current a.open").inner_text()


# -- Every page --------------------------------------------------------------------------------


QUARTERS = [list(PAGES)[first::4] for first in range(4)]
"""Of the pages: one page of the browser for each quarter, and no test that takes half a minute."""


def problems_of(page, addresses):
    """Return what is wrong with pages under their policy, by name."""
    found = {name: problems_in_each_look(page, address) for name, address in addresses.items()}
    return {name: problems for name, problems in found.items() if problems}


@pytest.mark.slow
@pytest.mark.parametrize("names", QUARTERS, ids=lambda names: names[0])
def test_axe_finds_nothing_in_both_themes_at_a_desk_and_on_a_phone_which_it_fits(viewer, names):
    assert problems_of(viewer(), {name: PAGES[name] for name in names}) == {}


def test_axe_finds_nothing_on_a_hazard_and_on_what_a_redirect_led_to(viewer):
    Trace.objects.filter(trace_id=f"{1:032x}").update(extra='{"redirect_key":"ab"}')
    Trace.objects.filter(trace_id=f"{2:032x}").update(
        extra='{"arrival_key":"ab"}', http_path="/orders/1/", started_ns=time.time_ns()
    )
    hazard = f"/tracing/hazards/{Hazard.objects.first().fingerprint}/"

    assert problems_of(viewer(), {"hazard": hazard, "redirected": PAGES["tree"]}) == {}


@pytest.fixture
def nadia(client, django_user_model):
    """Return the cookie of the session of one who may see traces and nothing else."""
    somebody = django_user_model.objects.create_user("nadia", is_staff=True)
    somebody.user_permissions.add(Permission.objects.get(codename="view_trace"))
    client.force_login(somebody)
    return {"name": "sessionid", "value": client.cookies["sessionid"].value, "httpOnly": True}


@pytest.mark.parametrize("address", [f"/tracing/traces/{9:032x}/", "/tracing/recorder/prune/"])
def test_axe_finds_nothing_on_a_page_that_refuses(
    open_page, live_server, nadia, page_problems, address
):
    page = open_page(live_server.url)
    page.context.add_cookies([{**nadia, "url": live_server.url}])
    page.goto(address)

    assert axe_finds(page) == []
    # The browser takes a page with the status 403 or 404 for an error.
    page_problems[:] = [each for each in page_problems if "Failed to load resource" not in each]


def test_pages_can_be_read_without_scripts(viewer):
    page = viewer(java_script_enabled=False)
    for name in ("traces", "tree", "map", "explain", "story", "statistics", "compare", "hazards"):
        page.goto(PAGES[name])

        content = page.locator("main").inner_text()
        told = ("make_sale", "orders:check_out", "swallowed-error")
        assert any(word in content for word in told), name


@pytest.mark.parametrize("width", [1280, 390])
def test_toolbar_lies_over_nothing(viewer, debug, width):
    page = viewer(viewport={"width": width, "height": 700})
    for name in ("traces", "tree", "span", "hazards"):
        page.goto(PAGES[name])
        listens(page)
        page.locator("#djDebugToolbar").wait_for(state="attached")

        expect(page.locator("#djDebugToolbar")).to_be_hidden()
        expect(page.locator("#djDebugToolbarHandle")).to_be_hidden()


def test_names_break_between_their_words_on_a_phone(viewer):
    page = viewer(viewport={"width": 390, "height": 844})
    broken = """[...document.querySelectorAll(".name")].flatMap((name) => [...name.childNodes])
        .filter((part) => {
            const range = document.createRange();
            range.selectNodeContents(part);
            return part.data && !/[ -]/.test(part.data) && range.getClientRects().length > 1;
        }).map((part) => part.data)"""
    lines = "Math.max(...[...document.querySelectorAll('td .name')].map(e => e.getClientRects().length))"
    for name in ("traces", "tree", "receivers", "map", "statistics", "compare", "hazards"):
        page.goto(PAGES[name])

        assert page.evaluate(broken) == [], name
    page.goto(PAGES["statistics"])
    assert page.evaluate(lines) > 1


def test_figures_fill_each_line_of_a_phone(viewer):
    page = viewer(PAGES["statistics"], viewport={"width": 390, "height": 844})

    gaps = page.evaluate(
        """[...document.querySelectorAll(".figures")].flatMap((frame) => {
            const ends = new Map();
            for (const each of frame.children) {
                const box = each.getBoundingClientRect();
                ends.set(box.top, box.right);
            }
            return [...ends.values()].map((end) => frame.getBoundingClientRect().right - end);
        })"""
    )
    assert gaps
    assert all(abs(gap) <= 2 for gap in gaps), gaps


def test_ends_of_long_routes_are_in_sight(viewer):
    name = "POST /cars/<int:car_id>/repairs/cancel/"
    trace = order(4, ago=1)
    trace.name = trace.http_path = name
    store(trace, shared=False)
    page = viewer(viewport={"width": 1280, "height": 700})
    shown = page.locator("#rows .two-lines", has_text="/repairs/").first

    box = shown.locator("a.open").evaluate(
        "link => [...link.getClientRects()].map(rect => rect.bottom).pop()"
    )
    frame = shown.bounding_box()
    assert box <= frame["y"] + frame["height"] + 1


ACTIONS = """() => {
  const look = (each) => {
    const style = getComputedStyle(each);
    return [style.outline, style.boxShadow, style.borderColor, style.backgroundColor].join();
  };
  const all = [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')];
  const shown = all.filter((each) => each.checkVisibility() && each.tabIndex >= 0 && !each.disabled);
  const reached = new Map(shown.map((each) => [each, look(each)]));
  const others = document.querySelectorAll('body *');
  const clicked = [...others].filter((each) => getComputedStyle(each).cursor === 'pointer'
    && each.checkVisibility() && !all.some((one) => one.contains(each)) && !each.closest('label'));
  addEventListener('focusin', ({target}) => {
    if (reached.has(target) && reached.get(target) !== look(target)) reached.delete(target);
  });
  window.left = () => [...reached.keys()].filter((each) => each.checkVisibility())
    .map((each) => each.outerHTML.slice(0, 80));
  return [shown.length, clicked.map((each) => each.outerHTML.slice(0, 80))];
}"""


@pytest.mark.parametrize("which", ["traces", "tree", "explain"])
def test_tab_leads_to_each_action_and_shows_where_it_is(viewer, which):
    page = viewer(PAGES[which])
    count, only_clicked = page.evaluate(ACTIONS)

    for _ in range(count):
        page.keyboard.press("Tab")

    assert only_clicked == []
    assert page.evaluate("left()") == []


def test_explanation_is_one_step_from_map_statistics_and_span_by_keyboard(viewer):
    for name in ("map", "statistics", "span"):
        page = viewer(PAGES[name])
        page.locator("a.explain", has_text="Explain").first.focus()
        page.keyboard.press("Enter")

        expect(page.locator("h1")).to_contain_text("What follows")
        expect(page.get_by_role("rowheader").first).to_be_visible()
    page.locator(".explained").focus()
    expect(page.locator(".explained")).to_be_focused()


def test_policy_is_in_force(viewer):
    page = viewer()

    policy = page.request.get("/tracing/").headers["content-security-policy"]

    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_modules_are_found_where_static_files_have_hashed_names_alone(hashed_names, viewer):
    page = viewer()
    assert page.request.get("/static/tracing/js/viewer.js").status == 404
    page.locator(".plot .u-over").first.wait_for()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{1:032x}/[0-9a-f]{{16}}/$"))
    listens(page)
    page.keyboard.press("w")
    assert page.locator("svg.bars").first.get_attribute("viewBox") == "15 0 70 10"

    scripts = page.evaluate(
        "performance.getEntriesByType('resource').map(it => it.name).filter(it => /js$/.test(it))"
    )
    assert len(scripts) > 12
    assert [name for name in scripts if not re.search(r"\.[0-9a-f]{12}\.js$", name)] == []


def test_modules_of_the_panel_are_found_there_too(hashed_names, open_page, live_server):
    html = (
        f'<!DOCTYPE html><html lang="en"><title>Panel</title><link rel="icon" href="data:,">'
        f'<script type="module" src="{asset("tracing/panel/panel.js")}"></script>'
        f"{render(describe(order(1, fails=True)))}"
    )
    policy = {"Content-Security-Policy": "default-src 'self'; img-src data:"}
    page = open_page(live_server.url)
    page.route("**/panel/", lambda route: route.fulfill(body=html, headers=policy))
    page.goto("/panel/")
    panel = page.locator("signal-trace-panel[data-ready]")
    panel.wait_for()

    rows = panel.locator("[role=treegrid] [data-number]:visible")
    expect(rows).to_have_count(6)
    panel.get_by_label("Filter").fill("fail_to_print")
    expect(rows).to_have_count(4)
    panel.get_by_role("tab", name="Hazards").click()
    expect(panel.locator("#view-hazards")).to_be_visible()


def test_every_page_weighs_less_than_300_kilobytes(viewer):
    page = viewer()
    page.wait_for_load_state("networkidle")

    weight = page.evaluate(
        """performance.getEntries()
            .filter(entry => entry.encodedBodySize)
            .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
    )

    assert 0 < weight < 300_000


# -- The list ----------------------------------------------------------------------------------


def test_search_replaces_the_results_and_the_address(viewer):
    page = viewer()
    assert names(page) == ["orders:check_out", "load_cars", "orders:check_out"]

    page.keyboard.press("/")
    page.keyboard.type("kind:command")
    page.keyboard.press("Enter")

    expect(page.locator("#rows tr")).to_have_count(1)
    assert names(page) == ["load_cars"]
    assert page.url.endswith("?q=kind%3Acommand")
    page.go_back()
    expect(page.locator("#rows tr")).to_have_count(3)


def test_wrong_search_points_at_the_mistake_and_keeps_the_results(viewer):
    page = viewer()
    page.fill("#q", "kind:command outcom:raised")
    page.press("#q", "Enter")

    expect(page.locator("#search-problem mark")).to_have_text("outcom")
    assert len(names(page)) == 3

    page.get_by_role("link", name="outcome", exact=True).click()
    expect(page.locator("#q")).to_have_value("kind:command outcome:raised")
    expect(page.locator("#search-problem")).to_be_hidden()


def test_completion_of_keys_and_values(viewer):
    page = viewer()
    page.click("#q")
    page.keyboard.type("recei")
    options = page.locator("#q-options [role=option]")

    expect(options.first).to_contain_text("receivers>")
    # The answer to the last letter draws the options anew and takes the choice back.
    page.wait_for_load_state("networkidle")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#q")).to_have_value("receiver:")
    page.keyboard.type("make")
    expect(options).to_have_text(["core.sales.receivers.make_sale"])
    page.keyboard.press("Tab")
    expect(page.locator("#q")).to_have_value("receiver:core.sales.receivers.make_sale ")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tr")).to_have_count(2)


def test_filters_search_too(viewer):
    page = viewer()
    page.get_by_text("Filters").click()
    page.locator("#filter-kind").select_option("command")
    page.get_by_role("button", name="Apply").click()

    expect(page.locator("#rows tr")).to_have_count(1)
    assert "kind=command" in page.url


def test_lines_are_walked_and_opened_with_keys(viewer):
    page = viewer()
    for key in "jjk":
        page.keyboard.press(key)
    page.keyboard.press("j")

    assert current(page) == "load_cars"
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{2:032x}/[0-9a-f]{{16}}/$"))


def test_live_brings_new_traces_and_can_be_paused(viewer):
    page = viewer()
    button = page.get_by_role("button", name="Live")
    page.keyboard.press("l")
    expect(button).to_have_attribute("aria-pressed", "true")

    store(command(9, cars=1, name="just_now"), shared=False)
    expect(page.locator("#rows tr").first).to_contain_text("just_now")
    expect(page.locator("#said")).to_have_text("1 new trace")

    page.keyboard.press("l")
    expect(button).to_have_attribute("aria-pressed", "false")


def test_live_keeps_the_place_of_whoever_reads(viewer):
    page = viewer(viewport={"width": 1280, "height": 220})
    page.get_by_role("button", name="Live").click()
    page.locator("#rows tr").last.locator("a.open").focus()
    store(command(9, cars=1, name="just_now"), shared=False)

    waiting = page.get_by_role("button", name="1 new trace")
    expect(waiting).to_be_in_viewport()
    assert "just_now" not in names(page)
    waiting.click()
    expect(page.locator("#rows tr").first).to_contain_text("just_now")


def test_live_counts_all_ages_anew_when_traces_come(viewer):
    page = viewer()
    page.get_by_role("button", name="Live").click()
    page.evaluate("document.querySelector('#rows time[data-ago]').textContent = 'now'")
    store(command(9, cars=1, name="just_now"), shared=False)

    expect(page.locator("#rows tr").first).to_contain_text("just_now")
    assert "now" not in page.locator("#rows time[data-ago]").all_inner_texts()[1:]


def test_live_respects_the_search(viewer):
    page = viewer("/tracing/?q=kind:request")
    page.get_by_role("button", name="Live").click()
    store(command(8, cars=1, name="not_this"), order(9, name="but_this"), shared=False)

    expect(page.locator("#rows tr").first).to_contain_text("but_this")
    assert "not_this" not in names(page)


def test_two_chosen_traces_are_compared_the_earlier_first(viewer):
    page = viewer()
    boxes = page.locator("#rows input[type=checkbox]")
    boxes.nth(0).check()
    expect(page.get_by_role("button", name="Compare 1 of 2")).to_be_disabled()
    boxes.nth(2).check()
    page.get_by_role("button", name="Compare 2 of 2").click()

    expect(page).to_have_url(
        re.compile(f"a={3:032x}(/|%2F)[0-9a-f]{{16}}&b={1:032x}(/|%2F)[0-9a-f]{{16}}")
    )
    expect(page.locator(".compare")).to_contain_text("slower")


def test_dragging_over_the_histogram_chooses_a_time(viewer):
    page = viewer()
    drawing = page.locator("[data-brush] .u-over").first
    drawing.wait_for()
    rows = page.locator("#rows tr")
    everything = rows.count()
    box = drawing.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 30, steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile("since%3A.*until%3A"))
    # The newest stands at the very edge: the last pixel may leave it out.
    expect(rows).not_to_have_count(everything)
    assert 1 <= rows.count() <= 2 < everything


def test_point_of_the_scatter_opens_its_trace(viewer):
    page = viewer()
    drawing = page.locator("[data-brush] .u-over").last
    drawing.wait_for()
    # The one of two hours ago is alone at the left edge; how high it stands is its duration.
    box = drawing.bounding_box()
    for height in range(2, int(box["height"]), 6):
        page.mouse.move(box["x"] + 3, box["y"] + height)
        if "is-near" in drawing.get_attribute("class"):
            break
    expect(page.locator(".chart-tip:visible")).to_contain_text("orders:check_out")
    page.mouse.down()
    page.mouse.up()

    expect(page).to_have_url(re.compile(f"/tracing/traces/{3:032x}/[0-9a-f]{{16}}/$"))


def test_box_drawn_in_the_scatter_chooses_time_and_duration(viewer):
    page = viewer()
    drawing = page.locator("[data-brush] .u-over").last
    drawing.wait_for()
    # What comes late moves what is below it.
    page.wait_for_load_state("networkidle")
    # From the very edge: the one of two hours ago may stand within its first pixel.
    box = drawing.bounding_box()
    page.mouse.move(box["x"], box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] - 1, steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile("since%3A.*until%3A.*duration%3E%3D.*duration%3C%3D"))
    expect(page.locator("#rows tr")).to_have_count(1)


def test_charts_are_plain_links_without_scripts(viewer):
    page = viewer("/tracing/charts/", java_script_enabled=False)

    expect(page.locator("[data-chart=histogram] a").first).to_have_attribute(
        "href", re.compile("since=.*until=")
    )
    page.locator("circle.point").first.click(force=True)
    expect(page).to_have_url(re.compile("/tracing/traces/[0-9a-f]{32}/[0-9a-f]{16}/$"))


def test_columns_density_and_theme_are_kept(viewer):
    page = viewer()
    page.get_by_text("Columns").click()
    page.get_by_label("User").uncheck()
    page.get_by_role("button", name="Density").click()
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme").click()
    page.reload()

    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    expect(root).to_have_attribute("data-density", "dense")
    expect(page.locator("thead .col-user")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 23, 27)"


def test_search_is_saved_under_a_name(viewer):
    page = viewer("/tracing/?q=kind:command")
    page.get_by_text("Saved searches", exact=True).click()
    page.get_by_label("Keep this search as").fill("commands")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="commands").click()

    expect(page).to_have_url(re.compile(r"\?q=kind%3Acommand$"))


# -- One trace ---------------------------------------------------------------------------------


def test_tree_collapses_by_line_level_and_all(viewer):
    page = viewer(f"{FIRST}/")
    assert visible_rows(page) == 6

    page.get_by_role("button", name="Collapse all").click()
    assert visible_rows(page) == 1
    page.keyboard.press("p")
    assert visible_rows(page) == 3
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert visible_rows(page) == 6
    page.keyboard.press("o")
    assert visible_rows(page) == 4
    page.get_by_role("button", name="Expand all").click()
    assert visible_rows(page) == 6
    page.keyboard.press("j")
    page.keyboard.press("[")
    assert visible_rows(page) == 1
    page.keyboard.press("]")
    assert visible_rows(page) == 6
    page.locator("#tree .twist").nth(1).click()
    assert visible_rows(page) == 3


def test_tree_is_walked_with_arrows(viewer):
    page = viewer(f"{FIRST}/")
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert current(page) == "make_sale"
    page.keyboard.press("ArrowLeft")
    assert visible_rows(page) == 3
    page.keyboard.press("ArrowLeft")
    assert current(page) == "post_save orders.Order"


def test_timeline_zooms_and_moves_with_keys_and_the_address_keeps_it(viewer):
    page = viewer(f"{FIRST}/")

    def view():
        return [float(n) for n in page.locator("svg.bars").first.get_attribute("viewBox").split()][
            :3:2
        ]

    page.keyboard.press("w")
    assert view() == [15, 70]
    page.keyboard.press("d")
    assert view() == [29, 70]
    page.keyboard.press("a")
    assert view() == [15, 70]
    expect(page).to_have_url(re.compile("zoom=15.000-85.000"))
    page.reload()
    listens(page)
    assert view() == [15, 70]
    page.keyboard.press("s")
    assert view() == [0, 100]
    page.locator("#minimap").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert view() == [29, 70]
    page.keyboard.press("0")
    assert view() == [0, 100]


def test_numbers_on_the_axis_keep_the_zeros_of_whole_numbers(viewer):
    page = viewer(f"{FIRST}/")
    page.locator("[data-whole]").evaluate("tree => { tree.dataset.whole = 1_000_000_000; }")

    page.keyboard.press("w")
    page.keyboard.press("0")

    ticks = page.locator("[data-tick]").all_text_contents()
    assert ticks == ["0 ns", "250 ms", "500 ms", "750 ms", "1 s"]


def test_dragging_over_the_minimap_zooms(viewer):
    page = viewer(f"{FIRST}/")
    box = page.locator("#minimap").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 10, steps=4)
    page.mouse.up()

    left, _, width, _ = map(float, page.locator("svg.bars").first.get_attribute("viewBox").split())
    assert (round(left), round(width)) == (25, 25)


def test_span_opens_beside_the_tree_with_an_address_of_its_own(viewer):
    page = viewer(f"{FIRST}/")
    page.get_by_role("link", name="fail_to_print").click()
    panel = page.locator("#panel")

    expect(panel).to_contain_text("out of paper")
    expect(panel).to_contain_text("Why did this run?")
    expect(page).to_have_url(re.compile(r"/spans/6/$"))
    page.go_back()
    expect(panel).to_be_hidden()
    page.go_forward()
    expect(panel).to_contain_text("out of paper")
    page.reload()
    expect(panel).to_contain_text("out of paper")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page).to_have_url(re.compile(f"{1:032x}/[0-9a-f]{{16}}/$"))


def test_span_shows_its_source(viewer):
    page = viewer(f"{FIRST}/spans/3/")

    expect(page.locator(".source")).to_contain_text("def make_sale")


def test_repetitions_open_in_place_and_close_again(viewer):
    page = viewer(f"/tracing/traces/{2:032x}/")
    assert visible_rows(page) == 2

    page.get_by_role("link", name="30 \N{MULTIPLICATION SIGN}").first.click()
    expect(page.locator("#tree [role=row][data-number]:visible")).to_have_count(32)
    expect(page.locator("#tree")).to_contain_text("cars.Car:29")
    page.get_by_role("link", name="30 \N{MULTIPLICATION SIGN}").first.click()
    expect(page.locator("#tree [role=row][data-number]:visible")).to_have_count(2)


def test_matches_are_walked(viewer):
    page = viewer(f"{FIRST}/")
    page.fill("#find", "app:sales OR outcome:raised")
    page.press("#find", "Enter")
    expect(page.locator(".matches")).to_have_text("2 matches")

    page.locator("main").focus()
    page.keyboard.press("f")
    assert current(page) == "fail_to_print"
    page.keyboard.press("b")
    assert current(page) == "make_sale"


def test_flame_graph_box_opens_its_span(viewer):
    page = viewer(f"{FIRST}/flame/")
    page.get_by_role("link", name=re.compile("make_sale")).first.click()

    expect(page.locator("#panel")).to_contain_text("core.sales.receivers.make_sale")


def test_table_is_sorted_by_its_headings(viewer):
    page = viewer(f"{FIRST}/table/")
    page.get_by_role("link", name="Dispatch or receiver", exact=True).click()
    page.get_by_role("link", name="Dispatch or receiver ↓").click()

    labels = page.locator(".spans-table tbody a.open").all_inner_texts()
    assert labels == sorted(labels, key=str.lower)


@pytest.mark.slow
def test_trace_of_20_000_dispatches_opens(viewer):
    store(command(5, cars=20_000), shared=False)

    page = viewer(f"/tracing/traces/{5:032x}/")

    expect(page.locator("#tree")).to_contain_text("20,000 \N{MULTIPLICATION SIGN}")
    assert page.locator("*").count() < 1_000


def test_flame_graph_is_zoomed_with_a_double_click_and_keys(viewer):
    page = viewer(f"{FIRST}/flame/")
    boxes = page.locator("#flame a > svg")
    first = boxes.first
    before = first.get_attribute("width")
    narrow = boxes.nth(2)

    narrow.dblclick()
    expect(narrow).to_have_attribute("width", "100%")
    assert page.url.endswith("/flame/")
    page.keyboard.press("0")

    expect(first).to_have_attribute("width", re.compile(f"^{float(before.rstrip('%')):g}"))


def test_map_is_fitted_and_enlarged(viewer):
    page = viewer("/tracing/map/")
    drawing = page.locator("svg.map")
    width = drawing.bounding_box()["width"]

    page.get_by_role("button", name="Larger").click()
    larger = drawing.bounding_box()["width"]
    page.get_by_role("button", name="Fit").click()
    fitted = drawing.bounding_box()

    assert larger > width
    assert fitted["height"] <= page.viewport_size["height"]


def test_lines_of_a_long_tree_come_as_one_scrolls_and_fold_like_the_others(viewer):
    build = TraceBuilder()
    for number in range(200):
        build.call(build.dispatch(sender=f"cars.Car{number}"), "core.cars.receivers.give_code")
    store(identify(build.build(), 5), shared=False)
    page = viewer(f"/tracing/traces/{5:032x}/")
    rows = page.locator("#tree [data-number]")
    expect(rows).to_have_count(250)
    page.keyboard.press("o")

    page.locator("#tree-more").scroll_into_view_if_needed()
    expect(rows).to_have_count(400, timeout=30_000)
    expect(page.locator("#tree-more")).to_have_count(0)
    last = page.locator("#tree .is-dispatch").last
    last.get_by_role("button", name="Collapse").click()

    expect(last).to_have_attribute("aria-expanded", "false")
    expect(rows.last).to_be_hidden()


def test_hostile_trace_is_text_in_the_browser(viewer):
    store(hostile(), shared=False)
    dialogs = []
    rests = ("", "spans/2/", "flame/", "receivers/", "sql/", "log/")
    inner = [f"/tracing/traces/{666:032x}/{rest}" for rest in rests]
    page = viewer("/tracing/recorder/")
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    for path in ("/tracing/", *inner, "/tracing/map/", "/tracing/hazards/"):
        page.goto(path)
        listens(page)
        page.wait_for_load_state("networkidle")

        assert page.locator(f"#{MARK}").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert dialogs == []


# -- The other pages ---------------------------------------------------------------------------


HEADINGS = {
    "t": "Traces",
    "m": "Map",
    "s": "Statistics",
    "c": "Compare two traces",
    "h": "Hazards",
    "r": "Recorder",
}


def test_pages_are_reached_with_g_and_a_letter(viewer):
    page = viewer(f"{FIRST}/")
    for key, heading in HEADINGS.items():
        page.keyboard.press("g")
        page.keyboard.press(key)

        expect(page.locator("h1")).to_have_text(heading)
        listens(page)


def test_keys_are_explained(viewer):
    page = viewer()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")

    expect(dialog).to_be_hidden()


def test_map_lights_up_what_is_tied_to_a_node_and_focuses_it(viewer):
    page = viewer("/tracing/map/?connected=no")
    node = page.locator('.map-node[data-node="r:core.sales.receivers.make_sale"]')
    node.hover()
    expect(page.locator(".edge.is-lit")).to_have_count(2)
    node.click()

    expect(page.locator(".focus-line")).to_contain_text("core.sales.receivers.make_sale")
    assert page.locator(".map-node", has_text="give_code").count() == 0


def test_heat_map_is_loaded_into_the_statistics(viewer):
    page = viewer("/tracing/statistics/")

    expect(page.locator(".heat-chart rect.heat").first).to_be_visible()


def test_recording_is_paused_and_resumed(viewer, settings):
    settings.TRACING = {**settings.TRACING, "ENABLED": True}
    page = viewer("/tracing/recorder/")
    page.get_by_role("button", name="Pause recording").click()
    expect(page.locator(".page-head .status")).to_contain_text("paused")
    assert RecorderControl.objects.get(pk=1).paused is True
    page.get_by_role("button", name="Resume recording").click()

    expect(page.locator(".page-head .status")).to_contain_text("recording")
    assert RecorderControl.objects.get(pk=1).paused is False


def test_hazard_is_marked_as_known(viewer):
    page = viewer("/tracing/hazards/")
    page.get_by_role("link", name=re.compile("PrinterError")).click()
    page.get_by_label("It is known and accepted, because").fill("no paper in the demo")
    page.get_by_role("button", name="Mark as known").click()

    expect(page.locator("main")).to_contain_text("Marked as known: no paper in the demo")
    assert Hazard.objects.get(hazard="swallowed-error").known is True


def test_part_that_fails_leaves_the_page(viewer, page_problems, monkeypatch):
    monkeypatch.setattr("tracing.viewer.views.charts.Charts.data", lambda *_: 1 / 0)
    page = viewer()

    expect(page.locator("#charts")).to_have_text("The charts could not be loaded.")
    assert len(names(page)) == 3
    page_problems.clear()


def test_trace_is_pinned_with_a_note(viewer):
    page = viewer(f"{FIRST}/")
    page.get_by_text("More about this trace").click()
    page.get_by_label("Keep it when traces are pruned").check()
    page.get_by_label("Note").fill("the broken one")
    page.get_by_role("button", name="Save").click()
    page.goto("/tracing/")

    expect(page.locator("#rows")).to_contain_text("the broken one")
    assert Trace.objects.pinned().count() == 1


# -- Narrow, plain and on paper ----------------------------------------------------------------

PHONE = {"width": 390, "height": 844}


def test_phone_shows_every_section_and_every_tab(viewer):
    page = viewer(f"{FIRST}/json/", viewport=PHONE)

    for name in ("Traces", "Recorder"):
        expect(page.locator(".top nav").get_by_role("link", name=name)).to_be_in_viewport(ratio=1)
    for name in ("Tree", "JSON"):
        expect(page.locator(".tabs").get_by_role("link", name=name)).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("path", ["/tracing/statistics/", f"{FIRST}/table/", "/tracing/compare/"])
def test_names_have_room_on_a_phone(viewer, path):
    page = viewer(path, viewport=PHONE)

    assert page.locator("tbody td:has(> .open, > .name)").first.bounding_box()["width"] >= 160


def test_places_have_room_on_a_phone(viewer):
    page = viewer("/tracing/why-not/?receiver=core.sales.receivers.make_sale", viewport=PHONE)

    assert page.locator("tbody td:has(> code)").first.bounding_box()["width"] >= 140


def test_search_ends_where_the_list_ends(viewer):
    page = viewer()

    ends = [
        box["x"] + box["width"]
        for box in (
            page.get_by_role("button", name="Search", exact=True).bounding_box(),
            page.locator(".table-frame").bounding_box(),
        )
    ]

    assert abs(ends[0] - ends[1]) < 1


@pytest.mark.parametrize(
    ("query", "found"), [("took>0ns", 3), ("created:no", 2)], ids=["all", "not the newest"]
)
def test_search_through_spans_goes_on_by_itself(viewer, monkeypatch, query, found):
    monkeypatch.setattr(finding, "SPANS_SECONDS", 0.0)
    monkeypatch.setattr(finding, "_FIRST_BATCH", 1)
    store(command(9, ago=1, cars=2), shared=False)

    page = viewer(f"/tracing/?q={quote(query)}")

    expect(page.locator("#rows tr")).to_have_count(found + (query == "took>0ns"))
    expect(page.get_by_text("Looking further")).to_have_count(0)
    expect(page.get_by_text("Go on searching")).to_have_count(0)
    assert (
        len(page.locator("#rows [type=checkbox]:visible").all()) == page.locator("#rows tr").count()
    )


def test_list_without_scripts_leaves_no_room_for_charts(viewer):
    page = viewer(java_script_enabled=False)

    assert page.locator("#charts").bounding_box()["height"] < 60


def test_list_keeps_room_for_charts_only_where_there_is_something_to_draw(viewer):
    page = viewer("/tracing/?q=name:nothing-is-called-so")
    charts = page.locator("#charts")

    expect(charts.locator("*")).to_have_count(0)
    assert charts.bounding_box()["height"] == 0

    page.fill("#q", "kind:command")
    page.keyboard.press("Enter")
    expect(charts.locator("figure").first).to_be_visible()
    assert charts.bounding_box()["height"] > 100


def test_paper_has_the_whole_map(viewer):
    page = viewer("/tracing/map/", viewport={"width": 800, "height": 300})
    page.emulate_media(media="print")

    assert page.locator(".map-frame").evaluate("it => it.scrollHeight - it.clientHeight") <= 0


@pytest.mark.parametrize("path", ["/tracing/", "/tracing/statistics/"])
def test_paper_is_as_wide_as_a_list(viewer, path):
    page = viewer(path, viewport={"width": 794, "height": 1123})
    page.emulate_media(media="print")

    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
