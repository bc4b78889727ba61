"""`data:` URIs: a medium that stands in its reference itself (RFC 2397).

data:image/png;base64,iVBORw0KGgo=      data:,percent%2Dencoded
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from triptych.errors import MediaError
from triptych.media.fetch import check_bytes

_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)


def is_data_uri(reference: str) -> bool:
    """Whether a reference is a `data:` URI, whatever the case of its scheme."""
    return reference[:5].lower() == "data:"


def decode_data_uri(reference: str, *, most_bytes: int) -> bytes:
    """The bytes of a `data:` URI. What it says of its type is not looked at: what a file is is read from its bytes.

    Raises MediaError media.bad_data_uri, media.empty or media.too_many_bytes.
    """
    header, comma, body = reference[5:].partition(",")
    if not comma:
        raise _bad("there is no comma before the data")
    if len(body) > 4 * most_bytes:  # at most 3 characters a byte: too many, without decoding them
        check_bytes(len(body), most_bytes, "The data: URI", "path")
    data = unquote_to_bytes(body)
    if _BASE64.search(header):
        data = b"".join(data.split())
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error as error:
            raise _bad("what follows the comma is not base64") from error
    check_bytes(len(data), most_bytes, "The data: URI", "path")
    return data


def _bad(why: str) -> MediaError:
    return MediaError(
        f"The data: URI cannot be read: {why}.", code="media.bad_data_uri", remedy="Write it as data:image/png;base64,..."
    )
