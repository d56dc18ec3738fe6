"""Floor 4: one fold is fitted, K folds are used for inference. The only room that trains."""
