"""Floor 5: one function a stage, files in, files out. Stages do not import each other: they talk through files."""
