"""The words of a buffer, beside the times of receivers that ended."""

from __future__ import annotations

from typing import Final

# (word, start, receiver set, code, instruction, *details): a dispatch of send or send_robust opened; the
# word is the name of the method. The details are those of ``attributes.arguments``, or NO_DETAILS.
NO_DETAILS: Final = (None,)
RETURNED: Final = "returned"
"""(RETURNED, end, type name): a receiver returned something else than None."""
RAISED: Final = "raised"
"""(RAISED, end, type, message, closes): a receiver raised; *closes* if that ended the dispatch."""
CUT: Final = "cut"
"""(CUT, end or 0, type, start): the dispatch that began at *start* ended between its receivers."""
CPU: Final = "cpu"
"""(CPU, moment): the CPU clock of the thread, where a dispatch opened or a receiver has ended."""
NUMBERS: Final = "numbers"
"""(NUMBERS, numbers, span id or empty): the span numbers of the dispatch that opens next and of its
receivers, and the span of another tracer around it."""
QUERY_CPU: Final = "query_cpu"
"""(QUERY_CPU, nanoseconds): what the query after it took of that clock."""
QUERY: Final = "query"
"""(QUERY, start, end, alias, statement or None)."""
TRANSACTION: Final = "transaction"
"""(TRANSACTION, key, Block or None): the innermost open block of a connection is now this one.

The key is the alias, or for a connection beside the one that the alias stands for, something else."""
ASYNC_OPEN: Final = "async_open"
"""(ASYNC_OPEN, start, key, receiver set, method, code, instruction, *details): an asend began."""
ASYNC_PHASE: Final = "async_phase"
"""(ASYNC_PHASE, start, key, in event loop): the async receivers of the open dispatch are next."""
ASYNC_CLOSE: Final = "async_close"
"""(ASYNC_CLOSE, end, key, exception type)."""
BATCH: Final = "batch"
"""(BATCH, start, key, requested): this thread runs the sync receivers of the asend *key*."""
BATCH_END: Final = "batch_end"
"""(BATCH_END,)."""
CALL_END: Final = "call_end"
"""(CALL_END, end, outcome as a word, type, message): the async receiver of this buffer is through.

Its first step, and its end where it returned None, are the bare moments outside any dispatch."""
LINK: Final = "link"
"""(LINK, buffer number): work handed over from here goes on in that buffer."""
BYPASS: Final = "bypass"
"""(BYPASS, start, operation, model label, signals, receivers, rows, code, instruction).

Without receivers: nobody listens for that very model."""
SQL_WRITE: Final = "sql_write"
"""(SQL_WRITE, start, statement, rows, code, instruction): the application's own SQL may have written."""
EFFECT: Final = "effect"
"""(EFFECT, start, kind, target, backend, in on_commit, code, instruction, task id): mail, task, socket."""
CALLBACK: Final = "callback"
"""(CALLBACK, start, callback number, alias): an on_commit callback began.

The alias is empty unless ``on_commit()`` runs it at once, for want of a transaction of that alias."""
CALLBACK_END: Final = "callback_end"
"""(CALLBACK_END,)."""
REGISTERED: Final = "registered"
"""(REGISTERED, callback number, alias, its code or None, code, instruction): on_commit() was called."""
CONNECTION: Final = "connection"
"""(CONNECTION, start, change, SignalReference, sender, ReceiverLabel, code, instruction)."""
LOST_RECEIVER: Final = "lost_receiver"
"""(LOST_RECEIVER, signal, sender, ReceiverLabel, was called): a weak receiver was found dead.

The signal is a SignalReference, or the name itself."""
VALUES: Final = "values"
"""(VALUES, key, dict): redacted named arguments of the async dispatch *key*; of the open one for 0."""
