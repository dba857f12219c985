"""Spam scoring: tests, weights and the X-Spam header fields: pure."""
