"""A delivery without what is personal in it, so that it can be shown to others and still be processed. Pure.

By field names: those that hold names, addresses, birth dates and the like become null, with all that is in them. Ids and codes stay, or
nothing could be processed; an e-mail address anywhere else becomes null, too. Where the body cannot be read, nothing can be redacted.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, tostring

from schemas.delivery import Delivery, fingerprint
from workers.handlers.bodies import Unparsable, parsed, tree

#: Of every vendor: as `_plain` writes them.
_PERSONAL = frozenset(
    """
    firstname lastname middlename surname maidenname fullname displayname nickname initials salutation
    email emailaddress mail phone phonenumber telephone telephonenumber mobile mobilephone cell fax
    address street streetaddress city town zip zipcode postcode postalcode province
    birthdate dateofbirth birthday birthplace placeofbirth birthcity birthcountry birthprovince age gender sex nationality citizenship
    taxcode fiscalcode fiscalnumber socialsecuritynumber ssn vatnumber iban passport idcard
    photo photourl picture avatar avatarurl signature ip ipaddress note notes comment comments remark remarks pin
    """.split()  # noqa: SIM905 - words read best as words
)
#: What a longer name of such a field ends with: `providerGeneralComment`, `img_signature`, `codePin`.
_ENDINGS = tuple(
    """
    firstname lastname surname fullname displayname email emailaddress phone phonenumber mobile address birthdate taxcode fiscalcode
    photo picture avatar signature note notes comment comments remark remarks pin password token secret
    """.split()  # noqa: SIM905 - words read best as words
)
#: Of one vendor. 4HSE's entity_id is the e-mail address of a person's user; `data` and who is responsible may hold anything.
_OF_VENDOR: Mapping[str, frozenset[str]] = {
    "4hse": frozenset({"subscribername", "entityid", "relateduser", "data", "manager", "assignee", "watcher"}),
    "anewspring": frozenset({"login", "username", "loginname", "externallogin"}),
    "ispring": frozenset({"login", "username", "fields"}),
    "kare": frozenset({"username", "login", "fullusername", "personname", "providername", "description", "attendanceproof"}),
}
#: What holds a person, in whom also these are personal.
_PERSONS = frozenset({"user", "users", "person", "persons", "learner", "learners", "employee", "employees", "participant", "participants"})
_OF_PERSONS = frozenset({"name", "title", "login", "username", "function", "jobtitle"})

#: Headers that say nothing of anybody and prove nothing.
_HEADERS = frozenset({"content-type", "webhook-id", "webhook-timestamp"})
_EMAIL = re.compile(r"[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+")
_IDENTIFYING = re.compile(r"(id|ids|code|codes)$")


def redacted(delivery: Delivery) -> Delivery | None:
    """The delivery without what is personal, its fingerprint made anew; None if its body cannot be read."""
    try:
        body = _redacted(delivery.vendor, delivery.body)
    except Unparsable:
        return None
    headers = {name: value for name, value in delivery.headers.items() if name in _HEADERS}
    return delivery.model_copy(update={"headers": headers, "body": body, "fingerprint": fingerprint(delivery.event, body)})


def _redacted(vendor: str, body: bytes) -> bytes:
    personal = _PERSONAL | _OF_VENDOR.get(vendor, frozenset())
    if body.lstrip()[:1] == b"<":
        root = tree(body)
        _redact(root, personal)
        written: bytes = tostring(root, encoding="utf-8")
        return written
    return _written(_kept(parsed(body), "", personal))


def _written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _kept(value: Any, name: str, personal: frozenset[str]) -> Any:
    """A value under a name, without what is personal in it."""
    if isinstance(value, dict):
        inside = personal | _OF_PERSONS if name in _PERSONS else personal
        return {key: None if _named(_plain(key), inside) else _kept(inner, _plain(key), inside) for key, inner in value.items()}
    if isinstance(value, list):
        return [_kept(one, name, personal) for one in value]
    return _text(value, name, personal) if isinstance(value, str) else value


def _text(value: str, name: str, personal: frozenset[str]) -> str | None:
    """A text, in which there may be JSON, as in iSpring's payloads."""
    if value.lstrip()[:1] in ("{", "["):
        try:
            return _written(_kept(parsed(value.encode()), name, personal)).decode()
        except Unparsable:
            return None
    return None if _EMAIL.search(value) and not _IDENTIFYING.search(name) else value


def _redact(root: Element, personal: frozenset[str]) -> None:
    """The same of XML, in place: elements and attributes."""
    name = _plain(root.tag.rpartition("}")[2])
    inside = personal | _OF_PERSONS if name in _PERSONS else personal
    for key, value in root.attrib.items():
        kept = None if _named(_plain(key), inside) else _text(value, _plain(key), inside)
        root.attrib[key] = kept or ""
    root.text = root.text and _text(root.text, name, inside)
    for child in root:
        child.tail = None
        if _named(_plain(child.tag.rpartition("}")[2]), inside):
            child.attrib.clear()
            child[:] = []
            child.text = None
        else:
            _redact(child, inside)


def _named(name: str, personal: frozenset[str]) -> bool:
    """Whether what is called so is personal."""
    return name in personal or name.endswith(_ENDINGS)


def _plain(name: str) -> str:
    """A field's name as vendors of every taste write it."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
