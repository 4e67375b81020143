"""The models whose signals are measured."""

from __future__ import annotations

from django.db import models


class Car(models.Model):
    """A row that is loaded by the thousand; its signals have no receivers."""

    make = models.CharField(max_length=50)
    model = models.CharField(max_length=50)
    year = models.IntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)
    mileage = models.IntegerField()
    sold = models.BooleanField(default=False)


class Item(models.Model):
    """A row that a request saves five times."""

    name = models.CharField(max_length=50)
    stock = models.IntegerField()


class Orphan(models.Model):
    """A sender without receivers, of a signal that has some."""


class One(models.Model):
    """A sender with one receiver."""

    name = models.CharField(max_length=50, default="")


class Three(models.Model):
    """A sender with three receivers."""


class Ten(models.Model):
    """A sender with ten receivers."""


class SignalLog(models.Model):
    """The table of the tracer that everybody writes once, by hand."""

    signal = models.CharField(max_length=200)
    sender = models.CharField(max_length=200)
    receivers = models.TextField()
    duration_ms = models.FloatField()
    created_at = models.DateTimeField(auto_now_add=True)
