"""From images to weights: crops, curriculum, budget, checkpoints, warm start."""
