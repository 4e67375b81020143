"""Simulated buyers: they use the site as browsers do, by its pages, links and forms.

Nothing in here looks behind the pages. A visitor follows the links that are on a page and sends
the forms that are on it, with their hidden fields and so with their CSRF tokens.
"""

from __future__ import annotations

import random
import re
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

USER_PREFIX = "sim-"
"""How the user name of every simulated buyer begins."""

# Out of a hundred visits so many ...
RETURNING = 45  # ... are by somebody who bought before
SECOND_CAR = 30  # ... buy two cars
CONTESTED = 12  # ... end with a rival at the checkout, with the same car in the basket
REGRETTED = 15  # ... are followed by the cancellation of the sale
SEARCHING = 40  # ... begin with a word typed into the search

TRIES = 8
"""How often a visitor tries to buy something before the visit counts as failed."""

FIRST_NAMES = (
    *("Ada", "Björn", "Chen", "Dora", "Emeka", "Farah", "Gustav", "Hana"),
    *("Ines", "Jonas", "Kofi", "Leila", "Mira", "Noor", "Omar", "Pia"),
)
LAST_NAMES = (
    *("Adeyemi", "Brandt", "Costa", "Dufour", "Eriksen", "Farouk"),
    *("Greco", "Hoang", "Ivanova", "Jansen", "Keller", "Lima"),
)

CAR = re.compile(r"^/cars/[-\w]+/$")
SALE = re.compile(r"^/sales/\d+/$")


class SimulationError(Exception):
    """The site cannot be simulated on; the message says why."""


class OutOfStockError(Exception):
    """No car is for sale and none could be freed."""


class UnexpectedPageError(Exception):
    """The site answered with an error, or with a page that lacks what should be on it."""


@dataclass(slots=True)
class Form:
    """A form on a page.

    Attributes:
        action: The path that it is sent to.
        fields: Its hidden and prefilled fields, by name.
    """

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class Page(HTMLParser):
    """A page to a visitor: its links and its forms that POST."""

    def __init__(self, path: str, html: str) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link, a form or a field of the form that is open."""
        values = {name: value or "" for name, value in attrs}
        if tag == "a" and values.get("href", "").startswith(("/", "?")):
            self.links.append(urljoin(self.path, values["href"]))
        elif tag == "form" and values.get("method", "").lower() == "post":
            self._form = Form(action=values.get("action") or self.path)
            self.forms.append(self._form)
        elif tag == "input" and self._form is not None and values.get("name"):
            self._form.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """Close a form."""
        if tag == "form":
            self._form = None

    def cars(self) -> list[str]:
        """Return the paths of the cars on the page, each once, in their order."""
        return list(dict.fromkeys(link for link in self.links if CAR.match(link)))

    def link(self, ending: str) -> str:
        """Return the first link that ends in *ending*.

        Raises:
            UnexpectedPageError: There is none.
        """
        for link in self.links:
            if link.endswith(ending):
                return link
        raise UnexpectedPageError(f"{self.path} has no link to …{ending}")

    def form(self, part: str) -> Form:
        """Return the first form whose action contains *part*.

        Raises:
            UnexpectedPageError: There is none.
        """
        for form in self.forms:
            if part in form.action:
                return form
        raise UnexpectedPageError(f"{self.path} has no form for …{part}")

    def sale(self) -> str | None:
        """Return the path of the sale that the page links to; None without one."""
        return next((link for link in self.links if SALE.match(link)), None)


@dataclass(slots=True)
class Tally:
    """A tally that several threads may count in."""

    signups: int = 0
    sales: int = 0
    cancellations: int = 0
    conflicts: int = 0
    errors: int = 0
    requests: int = 0
    last_error: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str) -> None:
        """Count one more of what is called *name*."""
        with self._lock:
            setattr(self, name, getattr(self, name) + 1)


class Visitor:
    """One browser: a session with its cookies."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def get(self, path: str) -> Page:
        """Return the page at *path*, after any redirects."""
        return self._page(self.client.get(path))

    def submit(self, form: Form, **values: str) -> Page:
        """Send *form* with *values* filled in and return the page that follows."""
        return self._page(self.client.post(form.action, data={**form.fields, **values}))

    def sign_up(self, rng: random.Random) -> None:
        """Become a new user with a name of its own and a password that nobody knows."""
        page = self.get("/accounts/sign-up/")
        password = secrets.token_urlsafe(18)
        page = self.submit(
            page.form("/sign-up/"),
            # Not from *rng*: a second run with the same seed needs new users.
            username=f"{USER_PREFIX}{secrets.token_hex(6)}",
            first_name=rng.choice(FIRST_NAMES),
            last_name=rng.choice(LAST_NAMES),
            password1=password,
            password2=password,
        )
        page.form("/log-out/")

    def choose_car(self, rng: random.Random) -> str | None:
        """Look around and return the path of a car for sale; None if there is none."""
        query = {"stock": "available", "sort": rng.choice(["", "price", "-price", "-year"])}
        if rng.randrange(100) < SEARCHING:
            cars = self.get(f"/cars/?{urlencode({**query, 'q': rng.choice('aeiost')})}").cars()
        else:
            page = self.get(f"/cars/?{urlencode(query)}")
            further = [link for link in page.links if "page=" in link]
            cars = page.cars()
            if further and rng.randrange(2):
                cars = self.get(further[-1]).cars() or cars
        cars = cars or self.get("/cars/?stock=available").cars()
        return rng.choice(cars) if cars else None

    def put_into_basket(self, car: str) -> bool:
        """Put the car into the basket; False if it was sold meanwhile."""
        page = self.get(car)
        forms = [form for form in page.forms if "/basket/add/" in form.action]
        return bool(forms) and self.submit(forms[0]).path != car

    def check_out(self) -> str | None:
        """Buy what is in the basket; return the sale, None if a car of it is sold already."""
        basket = self.get("/orders/basket/")
        if not any(link.endswith("/check-out/") for link in basket.links):
            return None
        page = self.get(basket.link("/check-out/"))
        return self.submit(page.form("/check-out/")).sale()

    def empty_basket(self) -> None:
        """Take every car out of the basket."""
        page = self.get("/orders/basket/")
        while forms := [form for form in page.forms if "/remove/" in form.action]:
            page = self.submit(forms[0])

    def cancel(self, sale: str) -> None:
        """Cancel a sale of one's own, and the order that it leaves open."""
        page = self.get(self.get(sale).link("/cancel/"))
        page = self.submit(page.form("/cancel/"))
        page = self.get(page.link("/cancel/"))
        self.submit(page.form("/cancel/"))

    def _page(self, response: httpx.Response) -> Page:
        """Return the page of a *response* that is no error."""
        if response.is_error:
            path = response.request.url.path
            raise UnexpectedPageError(f"{path} answered {response.status_code}")
        return Page(response.url.path, response.text)


@dataclass(slots=True)
class Simulation:
    """A number of sales, made by visitors in several threads.

    With one thread the same seed on the same data makes the same sales. With more, every visit is
    still decided by the seed, but who gets a car that two visitors want is not.

    Attributes:
        new_client: Makes the HTTP client of a new visitor.
        sales: How many sales to make.
        concurrency: How many visitors are on the site at once.
        seed: What decides everything that a visitor chooses.
        free_car: Called when no car is left and this run has no sale to cancel; says whether it
            has freed one.
        on_sale: Called after every sale.
    """

    new_client: Callable[[], httpx.Client]
    sales: int
    concurrency: int = 1
    seed: int = 0
    free_car: Callable[[], bool] = lambda: False
    on_sale: Callable[[], None] = lambda: None
    tally: Tally = field(default_factory=Tally)
    _regulars: list[Visitor] = field(default_factory=list)
    _sold: list[tuple[Visitor, str]] = field(default_factory=list)
    _clients: list[httpx.Client] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Tally:
        """Make the sales and return what happened.

        Raises:
            SimulationError: No site answers, it has no cars, or none are left.
        """
        try:
            self._look_at_stock()
            with ThreadPoolExecutor(self.concurrency) as pool:
                visits = [pool.submit(self._visit, number) for number in range(self.sales)]
                try:
                    for visit in visits:
                        visit.result()
                except BaseException:
                    self._stop.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        except OutOfStockError:
            raise SimulationError(
                "No car is for sale any more, and no sale of this run is left to cancel."
            ) from None
        finally:
            for client in self._clients:
                client.close()
        return self.tally

    def _look_at_stock(self) -> None:
        """Make sure that there is a site with cars."""
        try:
            page = self._new_visitor().get("/cars/")
        except (httpx.HTTPError, UnexpectedPageError) as error:
            raise SimulationError(f"The site does not answer: {error}") from None
        if not page.cars():
            raise SimulationError("There are no cars on the site: run load_cars first.")

    def _visit(self, number: int) -> None:
        """Make one sale, whatever gets in the way."""
        rng = random.Random(f"{self.seed}:{number}")  # noqa: S311 - choices, not secrets
        for _ in range(TRIES):
            if self._stop.is_set():
                return
            try:
                if self._buy_something(rng):
                    return
            except (httpx.HTTPError, UnexpectedPageError) as error:
                self.tally.add("errors")
                self.tally.last_error = str(error)
        raise SimulationError(
            f"Visit {number} gave up after {TRIES} tries. {self.tally.last_error}".rstrip()
        )

    def _buy_something(self, rng: random.Random) -> bool:
        """Let a visitor look around and buy; False if the cars went to somebody else."""
        visitor = self._some_visitor(rng)
        visitor.get("/")
        try:
            wanted = self._fill_basket(visitor, rng)
            if not wanted:
                return False
            rival = self._rival(wanted, rng) if rng.randrange(100) < CONTESTED else None
            sale = visitor.check_out()
            if rival is not None and rival.check_out() is None:
                self.tally.add("conflicts")
                rival.empty_basket()
            if sale is None:
                self.tally.add("conflicts")
                visitor.empty_basket()
                return False
            self.tally.add("sales")
            self.on_sale()
            if rng.randrange(100) < REGRETTED:
                self._cancel(visitor, sale)
            else:
                with self._lock:
                    self._sold.append((visitor, sale))
        finally:
            with self._lock:
                self._regulars.append(visitor)
        return True

    def _fill_basket(self, visitor: Visitor, rng: random.Random) -> str | None:
        """Put one or two cars into the basket; return the last, None if all slipped away."""
        wanted = None
        for _ in range(2 if rng.randrange(100) < SECOND_CAR else 1):
            car = visitor.choose_car(rng)
            while car is None:
                if wanted:
                    return wanted
                self._free_car(rng)
                car = visitor.choose_car(rng)
            if visitor.put_into_basket(car):
                wanted = car
        return wanted

    def _rival(self, car: str, rng: random.Random) -> Visitor | None:
        """Return a new visitor with the same car in the basket; None if it is sold by now."""
        rival = self._new_visitor()
        self._sign_up(rival, rng)
        return rival if rival.put_into_basket(car) else None

    def _some_visitor(self, rng: random.Random) -> Visitor:
        """Return a buyer who was here before, or a new one."""
        with self._lock:
            if self._regulars and rng.randrange(100) < RETURNING:
                # Out of the list while the visit lasts: a person has one browser.
                return self._regulars.pop(rng.randrange(len(self._regulars)))
        visitor = self._new_visitor()
        self._sign_up(visitor, rng)
        return visitor

    def _new_visitor(self) -> Visitor:
        """Return a visitor with a new browser, every request of which is counted."""
        client = self.new_client()
        client.event_hooks = {"request": [lambda _request: self.tally.add("requests")]}
        with self._lock:
            self._clients.append(client)
        return Visitor(client)

    def _sign_up(self, visitor: Visitor, rng: random.Random) -> None:
        visitor.sign_up(rng)
        self.tally.add("signups")

    def _cancel(self, visitor: Visitor, sale: str) -> None:
        visitor.cancel(sale)
        self.tally.add("cancellations")

    def _free_car(self, rng: random.Random) -> None:
        """Have a sale cancelled, so that a car is for sale again.

        Raises:
            OutOfStockError: There is no sale to cancel.
        """
        with self._lock:
            chosen = self._sold.pop(rng.randrange(len(self._sold))) if self._sold else None
        if chosen is not None:
            self._cancel(*chosen)
        elif self.free_car():
            self.tally.add("cancellations")
        else:
            raise OutOfStockError
