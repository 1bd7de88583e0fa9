"""Families of detectors, the catalogue of networks, and what they are built of."""
