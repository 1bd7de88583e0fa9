"""What runs inside MLflow: gate, attempts, review page."""
