"""Orders: baskets that become orders. Uses cars and buyers."""
