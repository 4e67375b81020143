"""Traces read from ClickHouse.

Its modules have the functions of those in ``tracing.store`` that are called alike: ``tracing.store.choice``
asks them where the settings choose ClickHouse. What they lack it does not answer.
"""
