"""What a server that is not there does: that says nothing of the medium that was asked for."""

from __future__ import annotations

from triptych.errors import MediaError


class AwayError(MediaError):
    """The host takes no connection, or its name cannot be resolved for the moment."""


class DroppedError(AwayError):
    """The host took the connection and dropped it before it said a word, as a proxy does whose server is away."""
