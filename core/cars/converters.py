"""URL converters that accept only the bodies and colours there are."""

from __future__ import annotations

from django.urls.converters import StringConverter

from .models import Car


class BodyStyleConverter(StringConverter):
    """A body style, such as `coupe`."""

    regex = "|".join(Car.BodyStyle.values)


class ColourConverter(StringConverter):
    """A colour, such as `red`."""

    regex = "|".join(Car.Colour.values)
