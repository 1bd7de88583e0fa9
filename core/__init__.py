"""The ground floor: standard library alone, for every room."""
