"""How pages look: colours, axes, numbers and words."""
