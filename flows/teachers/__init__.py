"""Teachers: getting, training and registering them."""
