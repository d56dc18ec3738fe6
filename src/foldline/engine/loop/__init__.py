"""The training of one fold: steps, learning rates, averages of weights, resume points."""
