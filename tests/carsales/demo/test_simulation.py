"""Tests of the simulated buyers and of the command that lets them loose."""

from __future__ import annotations

import random
import re
from io import StringIO

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import Sum

from carsales.demo.management.commands.simulate import (
    cancel_earlier_sale,
    client_in_process,
    client_of_site,
    positive,
)
from carsales.demo.simulation import (
    USER_PREFIX,
    Form,
    Page,
    Simulation,
    SimulationError,
    UnexpectedPageError,
    Visitor,
)
from core.buyers.models import Buyer
from core.cars.models import Car
from core.orders.models import Order
from core.sales.models import Sale, SaleItem

HTML = """
<a href="/cars/">All</a> <a href="/cars/ford-gt/">GT</a> <a href="/cars/ford-gt/">GT</a>
<a href="?page=2">Next</a> <a href="https://example.org/">Away</a> <a>Nowhere</a>
<a href="/sales/7/">Sale</a>
<form action="/search/"><input name="q"></form>
<form method="post" action="/orders/basket/add/ford-gt/">
  <input type="hidden" name="csrfmiddlewaretoken" value="abc"><input type="submit">
</form>
<form method="post"><input name="x"></form>
"""


def test_a_page_is_read_for_links_and_forms_that_post():
    page = Page("/cars/", HTML)

    assert page.cars() == ["/cars/ford-gt/"]
    assert page.link("page=2") == "/cars/?page=2"
    assert page.sale() == "/sales/7/"
    assert page.form("/add/") == Form("/orders/basket/add/ford-gt/", {"csrfmiddlewaretoken": "abc"})
    assert page.form("/cars/") == Form("/cars/", {"x": ""})


def test_a_page_without_what_is_looked_for_says_so():
    page = Page("/cars/", "")

    with pytest.raises(UnexpectedPageError, match="/cars/ has no link to …/check-out/"):
        page.link("/check-out/")
    with pytest.raises(UnexpectedPageError, match="/cars/ has no form for …/add/"):
        page.form("/add/")
    assert page.sale() is None


def test_the_number_of_sales_must_be_positive(capsys):
    assert positive("3") == 3
    with pytest.raises(CommandError, match="must be a whole number of at least 1"):
        call_command("simulate", "--sales=0")


def run(**options) -> str:
    output = StringIO()
    call_command("simulate", stdout=output, **options)
    return output.getvalue()


def counts(summary: str) -> dict[str, int]:
    return {
        name: int(number.replace(",", ""))
        for name, number in re.findall(r"│ (\w+) +│ +([\d,]+) │", summary)
    }


def assert_books_are_right() -> None:
    """Check that what signals have counted is what the rows add up to."""
    for order in Order.objects.all():
        total = order.cars.aggregate(total=Sum("price"))["total"] or 0
        assert (order.car_count, order.total) == (order.cars.count(), total)
    for buyer in Buyer.objects.all():
        spent = buyer.cars.aggregate(spent=Sum("price"))["spent"] or 0
        assert (buyer.cars_bought, buyer.spent) == (buyer.cars.count(), spent)
    sold = set(Car.objects.exclude(buyer=None).values_list("pk", flat=True))
    assert sold == set(SaleItem.objects.values_list("car", flat=True))
    assert Order.objects.filter(status="sold").count() == Sale.objects.count()


def test_an_interrupted_simulation_says_what_was_done_and_no_traceback(monkeypatch):
    def interrupted(simulation):
        simulation.tally.add("signups")
        simulation.tally.add("sales")
        raise KeyboardInterrupt

    monkeypatch.setattr(Simulation, "run", interrupted)
    output = StringIO()

    with pytest.raises(CommandError, match="What was sold stays sold") as caught:
        call_command("simulate", stdout=output, sales=9)

    assert caught.value.returncode == 130
    assert counts(output.getvalue())["sales"] == 1


@pytest.mark.django_db(transaction=True)
class TestSimulation:
    """The site is in this process, and so are its visitors, in threads of their own."""

    @pytest.fixture
    def stock(self, make_car):
        return [make_car(make=make) for make in ("Audi", "BMW", "Ford") for _ in range(5)]

    @pytest.mark.thorough
    def test_makes_the_sales_and_counts_what_happened(self, stock):
        summary = run(sales=8, seed=5)

        counted = counts(summary)
        assert counted["sales"] == 8
        assert counted["errors"] == 0
        assert counted["signups"] == User.objects.filter(username__startswith=USER_PREFIX).count()
        assert Sale.objects.count() == 8 - counted["cancellations"]
        assert counted["requests"] > 8 * 5
        assert_books_are_right()

    @pytest.mark.thorough
    def test_with_the_same_seed_sells_the_same_cars(self, stock):
        sold = []
        for _ in range(2):
            run(sales=5, seed=7, verbosity=0)
            sold.append(list(SaleItem.objects.order_by("pk").values_list("car", flat=True)))
            for sale in Sale.objects.all():
                sale.cancel()

        assert sold[0] == sold[1]
        assert sold[0]

    @pytest.mark.slow
    def test_with_another_seed_sells_other_cars(self, stock):
        sold = []
        for seed in (1, 2):
            run(sales=5, seed=seed, verbosity=0)
            sold.append(list(SaleItem.objects.order_by("pk").values_list("car", flat=True)))
            for sale in Sale.objects.all():
                sale.cancel()

        assert sold[0] != sold[1]

    @pytest.mark.slow
    def test_with_several_buyers_at_once_and_few_cars_cancels_to_go_on(self, make_car):
        for _ in range(3):
            make_car()

        counted = counts(run(sales=10, concurrency=3, seed=2))

        # What gets in a visitor's way, a page that another has changed or a lock that was held for
        # long, is counted and tried again: how often depends on the machine.
        assert counted["sales"] == 10
        assert counted["cancellations"] >= 7
        assert_books_are_right()

    @pytest.mark.thorough
    def test_contested_cars_are_counted_as_conflicts(self, stock, monkeypatch):
        monkeypatch.setattr("carsales.demo.simulation.CONTESTED", 100)

        counted = counts(run(sales=2, seed=1))

        assert counted["conflicts"] == 2
        assert_books_are_right()

    @pytest.mark.thorough
    def test_without_a_free_car_cancels_sales_of_an_earlier_run(self, make_car, make_buyer):
        car = make_car()
        earlier = make_buyer(username=f"{USER_PREFIX}before")
        order = Order.objects.basket_of(earlier)
        order.add(car)
        order.place()

        counted = counts(run(sales=1, seed=1))

        order.refresh_from_db()
        assert (counted["sales"], order.status) == (1, "open")

    @pytest.mark.thorough
    def test_without_a_free_car_and_nothing_to_cancel_ends_and_says_why(self, make_car, make_buyer):
        make_car(buyer=make_buyer())

        with pytest.raises(CommandError, match="No car is for sale any more"):
            run(sales=1, seed=1)

    def test_leaves_sales_of_real_people_alone(self, make_car, make_buyer):
        order = Order.objects.basket_of(make_buyer())
        order.add(make_car())
        order.place()

        assert not cancel_earlier_sale()
        assert Sale.objects.count() == 1

    def test_without_cars_says_to_load_them(self):
        with pytest.raises(CommandError, match="There are no cars on the site: run load_cars"):
            run(sales=1)

    @pytest.mark.thorough
    def test_drives_a_running_site_by_its_url(self, live_server, stock):
        counted = counts(run(sales=1, seed=3, url=live_server.url))

        assert (counted["sales"], counted["errors"], SaleItem.objects.exists()) == (1, 0, True)

    def test_the_token_of_a_form_is_needed(self, stock):
        visitor = Visitor(client_in_process()())
        visitor.sign_up(random.Random(1))
        form = visitor.get(stock[0].get_absolute_url()).form("/basket/add/")

        with pytest.raises(UnexpectedPageError, match="answered 403"):
            visitor.submit(form, csrfmiddlewaretoken="forged")


@pytest.mark.thorough
def test_a_site_that_does_not_answer_is_reported():
    simulation = Simulation(new_client=client_of_site("http://127.0.0.1:9"), sales=1)

    with pytest.raises(SimulationError, match="The site does not answer"):
        simulation.run()


def test_a_site_that_fails_again_and_again_is_given_up():
    """The list of cars works, everything else is broken."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/cars/":
            return httpx.Response(200, text='<a href="/cars/ford-gt/">GT</a>')
        return httpx.Response(500)

    simulation = Simulation(
        new_client=lambda: httpx.Client(
            base_url="http://broken", transport=httpx.MockTransport(answer)
        ),
        sales=2,
    )

    with pytest.raises(SimulationError, match=r"gave up after 8 tries\. /accounts/sign-up/ answer"):
        simulation.run()

    assert (simulation.tally.sales, simulation.tally.errors >= 8) == (0, True)
