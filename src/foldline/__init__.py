"""foldline: from the raw files of an image competition to a submission that the grader accepts."""

__version__ = "0.1.0"
