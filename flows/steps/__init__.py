"""What a changeover does, a file a step."""
