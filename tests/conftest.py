"""Only here so that tests of every folder can import the helpers beside it (pytest puts this folder on the path)."""
