"""Fakes, builders and the transcript player; imported by tests/ and integration/ only."""
