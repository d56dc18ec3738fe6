"""Runs of frozen features: what the heads see, and the predictions of all folds."""
