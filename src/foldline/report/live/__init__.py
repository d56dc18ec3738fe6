"""The page that follows a training."""
