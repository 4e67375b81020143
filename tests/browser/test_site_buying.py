"""Tests of buying a car in a real browser."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.cars.models import Car
from core.sales.models import Sale
from tests.browser.accessibility import problems_in_each_look
from tests.conftest import DESKTOP, PHONE

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def cars() -> list[Car]:
    return [
        Car.objects.create(make=make, model=model, year=2017, price=Decimal(price))
        for make, model, price in (
            ("Ford", "GT", 447000),
            ("Ford", "Festiva", 7400),
            ("BMW", "i8", 140700),
        )
    ]


def sign_up(page: Page, name: str) -> None:
    page.goto("/accounts/sign-up/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=True).fill("xk3-hhqp9")
    page.get_by_label("Password confirmation").fill("xk3-hhqp9")
    page.get_by_role("main").get_by_role("button", name="Sign up").click()
    page.get_by_text(f"Welcome, {name}.").wait_for()


def put_into_basket(page: Page, car: Car) -> None:
    page.goto(car.get_absolute_url())
    page.get_by_role("button", name="Put into the basket").click()
    page.get_by_text(f"{car} is in your basket.").wait_for()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_car_is_found_bought_and_given_back(open_page, live_server, cars, viewport):
    page = open_page(live_server.url, viewport=viewport)
    sign_up(page, "ada")

    page.goto("/cars/")
    page.get_by_label("Search", exact=True).fill("gt")
    page.get_by_text("1 car", exact=True).wait_for()
    found = page.url
    page.get_by_role("link", name="Ford GT").click()
    page.get_by_role("button", name="Put into the basket").click()
    page.get_by_role("link", name="Check out").click()
    page.get_by_role("button", name="Buy for $447,000").click()
    page.get_by_text("The cars are yours.").wait_for()
    bought = Sale.objects.get()
    page.get_by_role("link", name="See the sale").click()
    page.get_by_role("link", name="Cancel this sale").click()
    page.get_by_role("button", name="Cancel the sale").click()
    page.get_by_text("is open again").wait_for()

    assert "q=gt" in found
    assert bought.receipt
    assert not Sale.objects.exists()
    assert not Car.objects.exclude(buyer=None).exists()


def test_a_found_car_stays_under_the_pointer_while_it_is_pressed(open_page, live_server, cars):
    page = open_page(live_server.url)
    page.goto("/cars/")
    page.get_by_label("Search", exact=True).fill("gt")
    page.get_by_text("1 car", exact=True).wait_for()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    # The browser asks for its icon whenever it likes.
    ours = f"{live_server.url}/cars/"

    page.get_by_role("link", name="Ford GT").hover()
    page.mouse.down()
    # As long as a slow press, and longer than the search waits for the next letter.
    page.wait_for_timeout(500)
    searched = [url for url in requests if url.startswith(ours)]
    page.mouse.up()
    page.get_by_role("heading", name="Ford GT").wait_for()

    assert searched == []


@pytest.mark.parametrize(
    ("label", "value"), [("Price from", "100000"), ("Price to", "8000")], ids=["from", "to"]
)
def test_a_price_searches_while_it_is_typed(open_page, live_server, cars, label, value):
    page = open_page(live_server.url)
    page.goto("/cars/")

    page.get_by_label(label).fill(value)
    page.get_by_text("2 cars" if label == "Price from" else "1 car", exact=True).wait_for()


def test_of_two_browsers_the_slower_one_is_told(open_page, live_server, cars):
    pages = {name: open_page(live_server.url) for name in ("ada", "grace")}
    for name, page in pages.items():
        sign_up(page, name)
        put_into_basket(page, cars[0])
        page.get_by_role("link", name="Check out").click()
        page.get_by_role("button", name="Buy for $447,000").wait_for()

    for page in pages.values():
        page.get_by_role("button", name="Buy for $447,000").click()
    pages["ada"].get_by_text("The cars are yours.").wait_for()
    pages["grace"].get_by_text("Somebody else was faster: Ford GT 2017 has just been").wait_for()
    pages["grace"].get_by_role("button", name="Remove Ford GT 2017").click()
    pages["grace"].get_by_text("There is no car in this order.").wait_for()

    assert Sale.objects.get().buyer.name == "ada"


def test_an_experiment_of_the_lab_runs_in_place(page, theme):
    page.emulate_media(color_scheme=theme)
    page.goto("/lab/m2m-changed/")

    page.get_by_role("button", name="Change an order's cars").click()
    page.get_by_role("heading", name="What was found").wait_for()

    assert page.get_by_role("rowheader", name="A.orders.clear()").is_visible()
    assert not Car.objects.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "paths",
    [
        ("/", "/cars/", "/cars/GT", "/accounts/sign-up/", "/accounts/log-in/"),
        (
            "/lab/",
            "/lab/m2m-changed/",
            "/lab/hazards/",
            "/lab/hazards/n-plus-one/",
            "/lab/user-and-buyer/",
        ),
    ],
    ids=["shop", "lab"],
)
def test_axe_finds_nothing_in_both_themes_at_a_desk_and_on_a_phone_which_it_fits(page, cars, paths):
    car = cars[0].get_absolute_url()
    found = {
        path: problems_in_each_look(page, car if path == "/cars/GT" else path) for path in paths
    }

    assert {path: problems for path, problems in found.items() if problems} == {}
