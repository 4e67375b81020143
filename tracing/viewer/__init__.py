"""The trace log viewer: pages over the store, server-rendered, each with a JSON form."""
