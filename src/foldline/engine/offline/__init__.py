"""What a notebook without network does: hidden rows are predicted, as far as the time reaches."""
