"""What calls the server: versions, sign-off, promote, publish."""
