"""The rows of `make bench`: one script each, with both sides."""
