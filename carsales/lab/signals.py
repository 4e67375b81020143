"""A signal of the lab's own, which nobody but the lab sends or receives."""

from __future__ import annotations

from django.dispatch import Signal

bell_rung = Signal()
"""Sent by the lesson on senders, receivers and the dispatcher; sender: a `Door`.

Named arguments: `loudly`, whether the bell was rung hard.
"""
