"""The report of a changeover, one HTML file."""
