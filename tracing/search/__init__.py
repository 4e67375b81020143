"""The language of searches: what is asked for, told from where it is kept."""
