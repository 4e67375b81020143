"""The hall of hazards: every rule of the tracer, provoked for real and found."""
