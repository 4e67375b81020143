"""Tests of reading cars from CSV, and of the command that loads them."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from carsales.demo.inventory import InventoryError, Loaded, load_cars, read_cars
from core.cars.models import Car

HEADER = "make,model,year,price"


def problems(*lines: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        read_cars([f"{line}\n" for line in lines])
    return [str(problem) for problem in caught.value.problems]


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("load_cars", *arguments, stdout=output)
    return output.getvalue()


def test_a_plain_file_is_read():
    (car,) = read_cars(
        [
            "Price,MODEL,make,year,colour,doors,body_style,horsepower\n",
            '"$12,500.50", GT ,Ford,2017,Blue,2,Coupe,647\n',
        ]
    )

    assert (car.make, car.model, car.year, car.price) == ("Ford", "GT", 2017, Decimal("12500.50"))
    assert (car.colour, car.body_style, car.horsepower) == ("blue", "coupe", 647)


def test_a_car_without_a_colour_always_gets_the_same():
    rows = [f"{HEADER}\n", "Ford,GT,2017,5\n"]

    assert read_cars(rows)[0].colour == read_cars(rows)[0].colour


def test_empty_lines_are_passed_over():
    assert len(read_cars([f"{HEADER}\n", "\n", "Ford,GT,2017,5\n", ",,,\n"])) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Ford,,2017,5", "model is missing"),
        ("Ford,GT,next,5", "year 'next': “next” value must be an integer."),
        (
            "Ford,GT,1700,5",
            "year '1700': Ensure this value is greater than or equal to 1886.",
        ),
        ("Ford,GT,2999,5", "year '2999': that is in the future"),
        ("Ford,GT,2017,cheap", "price 'cheap': “cheap” value must be a decimal number."),
        ("Ford,GT,2017,0", "price '0': Ensure this value is greater than or equal to 0.01."),
        (
            "Ford,GT,2017,1.005",
            "price '1.005': Ensure that there are no more than 2 decimal places.",
        ),
        ("Ford,GT,2017", "3 columns where the header has 4"),
        ("Ford,GT,2017,5,red", "5 columns where the header has 4"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_why(row, reason):
    assert problems(HEADER, "Audi,100,1993,5", row) == [f"line 3: {reason}"]


def test_every_bad_row_is_reported():
    assert problems(HEADER, "Ford,,2017,5", "Ford,GT,2017,5", "Ford,GT,2017,-1") == [
        "line 2: model is missing",
        "line 4: price '-1': Ensure this value is greater than or equal to 0.01.",
    ]


def test_an_unknown_word_is_reported():
    assert problems(f"{HEADER},body_style", "Ford,GT,2017,5,boat") == [
        "line 2: body_style 'boat': Value 'boat' is not a valid choice."
    ]


CARS93 = "manufacturer,model,type,min_price,price,max_price,drive_train,make"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Audi,90,Midsize,1,much,2,Front,Audi 90", "price 'much': not a number"),
        (
            "Audi,90,Boat,1,29.1,2,Front,Audi 90",
            "type 'Boat': not one of Small, Compact, Midsize, Large, Sporty, Van",
        ),
        (
            "Audi,90,Small,1,29.1,2,None,Audi 90",
            "drive_train 'None': not one of Front, Rear, 4WD",
        ),
    ],
)
def test_a_bad_row_of_cars93_is_reported(row, reason):
    assert problems(CARS93, row) == [f"line 2: {reason}"]


def test_prices_of_cars93_are_in_thousands():
    (car,) = read_cars([f"{CARS93}\n", "Audi,90,Midsize,25.9,29.1,32.3,,Audi 90\n"])

    assert (car.make, car.model, car.year, car.price) == ("Audi", "90", 1993, Decimal("29100.0"))
    assert (car.body_style, car.drivetrain) == ("sedan", "")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("brand,name", "the header lacks make, model, year, price"),
        ("make,model,price", "the header lacks year"),
        (";;", "there is no header"),
        ("", "there is no header"),
    ],
)
def test_a_header_without_what_is_needed_is_reported(header, reason):
    (problem,) = problems(header, "Ford,GT")

    assert problem.split(";")[0] == f"line 1: {reason}"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_may_be_separated_by_commas_semicolons_or_tabs(separator):
    rows = ("make,model,year,price", "Ford,GT,2017,447000.50")

    (car,) = read_cars([row.replace(",", separator) + "\n" for row in rows])

    assert (car.make, car.model, car.year, car.price) == ("Ford", "GT", 2017, Decimal("447000.50"))


@pytest.mark.parametrize("price", ["1234,50", "1.234,50", "1,2345", ",5"])
def test_a_comma_that_groups_no_thousands_is_reported(price):
    assert problems("make;model;year;price", f"Ford;GT;2017;{price}") == [
        f"line 2: price {price!r}: write 1234.50 or 1,234.50"
    ]


@pytest.mark.parametrize("price", ["1,234.50", "$1,234,567", "1234567"])
def test_commas_may_group_thousands(price):
    (car,) = read_cars(["make;model;year;price\n", f"Ford;GT;2017;{price}\n"])

    assert car.price == Decimal(price.strip("$").replace(",", ""))


def test_control_characters_are_reported():
    assert problems(HEADER, "Fo\0rd,GT,2017,5", 'Ford,"G\nT",2017,5') == [
        "line 2: control characters in make",
        "line 3: control characters in model",
    ]


def test_an_empty_file_is_reported():
    assert problems(HEADER) == ["line 1: there is no car in the file"]


def test_broken_csv_is_reported():
    assert problems(HEADER, 'Ford,"GT,2017,5') == ["line 2: not valid CSV: unexpected end of data"]


def test_loading_saves_only_what_is_not_there(make_car):
    make_car(make="Ford", model="GT", year=2017, price=Decimal(1))
    rows = [f"{HEADER}\n", "Ford,GT,2017,5\n", "Ford,GT,2017,5\n", "Audi,100,1993,5\n"]

    first = load_cars(read_cars(rows))
    second = load_cars(read_cars(rows))

    assert (first, second) == (Loaded(created=2, present=1), Loaded(created=0, present=3))
    assert Car.objects.count() == 3


@pytest.mark.django_db
def test_loading_that_fails_midway_leaves_nothing():
    cars = read_cars([f"{HEADER}\n", "Ford,GT,2017,5\n", "Ford,GT40,1966,5\n"])

    def interrupted():
        yield cars[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_cars(interrupted())

    assert not Car.objects.exists()


@pytest.mark.django_db
@pytest.mark.thorough
def test_the_command_loads_the_bundled_cars_once():
    first, second = run(), run()

    assert first == "Cars: 140 loaded, 0 already here.\n"
    assert second == "Cars: nothing to load, 140 already here.\n"
    assert Car.objects.get(make="Ford", model="GT").price == Decimal(447000)
    assert Car.objects.get(make="Ford", model="Festiva").price == Decimal(7400)


@pytest.mark.django_db
def test_the_command_loads_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEADER}\nŠkoda,Octavia,2016,15000\n", encoding="utf-8-sig")

    assert run(str(path)) == "Cars: 1 loaded, 0 already here.\n"
    assert Car.objects.get().make == "Škoda"


@pytest.mark.django_db
def test_the_command_interrupted_loads_nothing_and_says_so(monkeypatch):
    def saved(car):
        if Car.objects.exists():
            raise KeyboardInterrupt
        save(car)

    save = Car.save
    monkeypatch.setattr(Car, "save", saved)

    with pytest.raises(CommandError, match="Nothing was loaded") as caught:
        run()

    assert caught.value.returncode == 130
    assert not Car.objects.exists()


@pytest.mark.django_db
def test_the_command_can_be_silent(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEADER}\nFord,GT,2017,5\n")

    assert run(str(path), "--verbosity=0") == ""


@pytest.mark.django_db
def test_the_command_with_a_bad_row_loads_nothing_and_says_why(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEADER}\nFord,GT,2017,5\nFord,,2017,5\n")

    with pytest.raises(CommandError) as caught:
        run(str(path))

    assert str(caught.value) == f"Nothing was loaded. {path}:\n  line 3: model is missing"
    assert not Car.objects.exists()


def test_the_command_with_a_file_that_is_not_there_says_so(tmp_path):
    path = tmp_path / "none.csv"

    with pytest.raises(CommandError) as caught:
        run(str(path))

    assert str(caught.value) == f"Nothing was loaded. {path}: No such file or directory"


def test_the_command_with_a_file_that_is_not_utf_8_says_so(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(f"{HEADER}\nFord,GT,2017,5\nCitroën,DS,1960,5\n".encode("latin-1"))

    with pytest.raises(CommandError, match="line 3: not UTF-8 text"):
        run(str(path))
