"""Rows, fields, texts and charts, made once for all faces."""
