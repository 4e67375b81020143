"""The signal lab: lessons about signals with experiments that run for real.

It uses the domain and the tracer alike, which is why it is part of the project.
"""
