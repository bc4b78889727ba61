"""From query to ranked products."""
