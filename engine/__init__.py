"""A real Elasticsearch and a real Redis on this machine without Docker, for tests, the demo and evaluation."""
