"""A signal of the lab's own, which nobody but the lab sends or receives."""

from __future__ import annotations

from django.dispatch import Signal

bell_rung = Signal()
"""Sent by the lesson on senders, receivers and the dispatcher; sender: a `Door`.

Named arguments: `loudly`, whether the bell was rung hard.
"""

hammer_fell = Signal()
"""Sent in the hall of hazards; sender: an object of one experiment.

Named arguments: `cars`, the cars that were sold, `lot`, the number of what was, or `address`, of
whom to call; each where its experiment needs it.
"""

rumour_spread = Signal()
"""Sent in the hall of hazards by whoever tells a rumour; sender: the `Rumour`."""
