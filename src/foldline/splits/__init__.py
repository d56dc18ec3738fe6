"""Floor 2: rows become folds. Reads no files except images (near-duplicates); writes nothing."""
