"""What a line runs: pre-processing, inspector, calibration, export."""
