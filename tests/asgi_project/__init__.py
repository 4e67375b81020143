"""A second project for the tests of the panel: small, asynchronous, served by uvicorn."""
