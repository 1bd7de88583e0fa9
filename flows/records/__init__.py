"""What is on record: lineage, certificate, trail, rebuild."""
