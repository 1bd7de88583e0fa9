"""Pseudo-defects: what is drawn on good images, by family and difficulty."""
