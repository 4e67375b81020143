"""Cars: what is for sale. Knows no other app of the domain."""
