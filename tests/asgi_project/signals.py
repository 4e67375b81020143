"""Signals of the project."""

from __future__ import annotations

from django.dispatch import Signal

parcel_sent = Signal()
"""Sent by the views when a parcel leaves; sender: the name of the customer."""

parcel_weighed = Signal()
"""Sent by the receiver ``weigh``; sender: the same."""
