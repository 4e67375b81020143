"""What a trace is made of: its records, and nothing that records, reads or stores them."""
