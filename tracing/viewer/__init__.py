"""The viewer: pages over the store, each with a JSON form."""
