"""Message bytes: whole messages, immutable, named by generation day and content (architecture §4)."""
