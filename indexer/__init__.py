"""From catalogue to index."""
