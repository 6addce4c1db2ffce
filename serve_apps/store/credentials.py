"""What opens a media URL, sealed: names, passwords and signatures are never stored or shown as they came.

A sealed URI is the URL as it may be shown, and behind it, as a fragment, the whole of it encrypted with a key of this
deployment. Only readers open it. `pipelines.media.addresses.shown` is what everybody else sees.
"""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken

from pipelines.errors import MediaError
from pipelines.media.addresses import AddressRefused, WebAddress, parse_address

_MARK = "#sealed="


class Credentials:
    """Seals and opens. The key follows from a secret of the deployment that is not in its database."""

    def __init__(self, secret: str) -> None:
        digest = hashlib.sha256(b"credentials of media URLs\0" + secret.encode()).digest()
        self._box = Fernet(base64.urlsafe_b64encode(digest))

    def seal(self, uri: str) -> str:
        """What may be stored: the same URI where it has no credentials."""
        try:
            address = parse_address(uri)
        except AddressRefused:
            return uri
        if not isinstance(address, WebAddress) or not address.has_credentials:
            return uri
        return address.shown() + _MARK + self._box.encrypt(address.to_text().encode()).decode()

    def open(self, uri: str) -> str:
        """The URI for a reader. Raises MediaError when it was sealed with another secret."""
        public, mark, sealed = uri.partition(_MARK)
        if not mark:
            return uri
        try:
            return self._box.decrypt(sealed.encode()).decode()
        except InvalidToken:
            detail = "its credentials were sealed with an earlier token of the API: ask for the analysis again"
            raise MediaError(public, detail) from None
