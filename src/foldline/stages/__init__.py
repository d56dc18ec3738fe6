"""Floor 5: one function a stage, files in, files out. Stages never import each other."""
