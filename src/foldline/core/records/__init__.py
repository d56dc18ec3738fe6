"""The JSON files between stages, one class each: nobody else opens them."""
