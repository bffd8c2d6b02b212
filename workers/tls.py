"""TLS to PostgreSQL, in the words of its own programs: `?sslmode=verify-full&sslrootcert=/etc/muster/ca.pem`.

Tortoise hands a URL's words to asyncpg as arguments, which has none of these names, and reads them in no other way.
"""

import ssl
from collections.abc import Mapping
from typing import Any

#: What checks no certificate, as asyncpg names it too.
_UNCHECKED = ("disable", "allow", "prefer", "require")
MODES = (*_UNCHECKED, "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey")


class NotSecured(ValueError):
    """What a URL says of TLS cannot be done; the message names no value but the word's."""


def secured(words: Mapping[str, Any]) -> dict[str, Any]:
    """A URL's words with asyncpg's `ssl` in place of those about TLS; raises NotSecured.

    An authority's certificate alone means verify-full; without one, the system's authorities are trusted.
    """
    rest = {word: value for word, value in words.items() if word not in ("sslmode", *_FILES)}
    authority, certificate, key = (words.get(word) for word in _FILES)
    mode = words.get("sslmode") or ("verify-full" if authority or certificate else None)
    if mode is None:
        return rest
    if mode not in MODES:
        raise NotSecured(f"sslmode is none of {', '.join(MODES)}")
    if mode in _UNCHECKED:
        if authority or certificate:
            raise NotSecured(f"sslmode={mode} checks no certificate: take verify-full, or leave sslrootcert and sslcert out")
        return rest | {"ssl": mode}
    return rest | {"ssl": _context(authority, certificate, key, check_name=mode == "verify-full")}


def _context(authority: str | None, certificate: str | None, key: str | None, *, check_name: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl's own errors too
        raise NotSecured(f"sslrootcert, sslcert or sslkey cannot be read ({error.strerror or type(error).__name__})") from None
    context.check_hostname = check_name
    return context


def distrust(error: BaseException) -> str | None:
    """Why a server's certificate is not believed, where that is what is wrong."""
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else None
