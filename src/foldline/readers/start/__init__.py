"""A first look at pictures that nobody has described: the label, what belongs together, the test set."""
