"""A page on this machine that asks a finished run about pictures, and browses what it said."""
