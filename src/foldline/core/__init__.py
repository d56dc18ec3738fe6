"""Floor 1: configuration, files, errors, progress. Knows nothing of images or torch."""
