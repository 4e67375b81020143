"""The views of the viewer, one module for each page or group of pages."""
