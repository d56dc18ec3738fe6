"""A competition looked at before any training: facts of the files, leaks, shift, pairs; and the page."""
