"""Checks of a batch, and the page that shows them."""
