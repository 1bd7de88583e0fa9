"""Keeping a plant: backup, restore, doctor, status."""
