"""Sales: what came of the orders. Uses orders, which learn of it by signal only."""
