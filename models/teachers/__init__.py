"""Networks that only learn features: files of weights, training, distilling."""
