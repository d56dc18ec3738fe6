"""Where a training's curves go beside foldline's own files: one class a program that people already use."""
