"""Servers, processes, locks, schedules."""
