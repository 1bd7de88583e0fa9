"""What is allowed, judged by facts alone; nothing of a request or a page."""
