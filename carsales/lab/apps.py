"""Configuration of the lab app."""

from __future__ import annotations

from django.apps import AppConfig


class LabConfig(AppConfig):
    """The signal lab; it connects receivers only while an experiment runs."""

    name = "carsales.lab"
    label = "lab"
