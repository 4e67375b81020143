"""Explanations: all that follows a signal, merged from many traces.

Pure: over the spans of traces, the names that are known and what this process has connected.
"""
