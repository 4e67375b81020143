"""Exporters: where finished traces go, in batches."""
