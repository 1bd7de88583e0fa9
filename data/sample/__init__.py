"""A sample product, rendered, for the demo and for tests."""
