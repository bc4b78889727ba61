"""Metrics and runs over both halves."""
