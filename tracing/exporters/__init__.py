"""Exporters: where finished traces go. Each has ``export(batch)``, ``force_flush()``, ``shutdown()``."""
