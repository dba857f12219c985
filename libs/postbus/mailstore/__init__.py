"""The mail store: the only code that touches schema `mailstore` (architecture §4)."""
