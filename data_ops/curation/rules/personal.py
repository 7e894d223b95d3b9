"""Where do texts name people, machines and keys, and what stands in their place?

One pass of RE2 (linear in the text, whatever it holds) finds candidates of all types; each type then checks its own:
check digits, lengths by country, addresses that are routed, the words before it. What stays is replaced by its type:
`<EMAIL>`. Names, places and what else only a reader recognises stay: this is no anonymisation.
"""

import importlib.util
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from data_ops.curation.rules.rule import Rule, RuleVerdict, Texts
from data_ops.documents.spelling import normalised

Type = Literal["key", "email", "iban", "ip", "card", "phone"]
TYPES: tuple[Type, ...] = ("key", "email", "iban", "ip", "card", "phone")
#: As RE2 reads them, in bytes; of two that begin at one place the earlier type wins.
PATTERNS: dict[Type, str] = {
    "key": "|".join(
        (
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,20}PRIVATE KEY-----)?",
            r"\beyJ[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]{8,}",  # a JSON web token
            r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
            r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{50,}|\bglpat-[\w\-]{20,}",
            r"\bhf_[A-Za-z0-9]{30,}\b|\bsk-[\w\-]{20,}|\b[rs]k_live_[A-Za-z0-9]{20,}|\bAIza[\w\-]{35}",
            r"\bxox[abprs]-[A-Za-z0-9\-]{10,}",
            r"(?i:(?:api[_-]?key|secret|token|passw(?:or)?d)[\"']?[ \t]{0,4}[:=][ \t]{0,4})[\"'][\w/+.\-]{16,}[\"']",
        )
    ),
    "email": r"[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,5}[A-Za-z]{2,24}",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
    "ip": r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9A-Fa-f]{1,4}:){3,7}(?::?[0-9A-Fa-f]{1,4}){1,4}\b",
    "card": r"\b\d{13,19}\b|\b\d{4}(?:[ \-]\d{4}){3}\b|\b\d{4}[ \-]\d{6}[ \-]\d{5}\b",
    "phone": r"\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d{1,4}(?:[ .\-]?\d{2,4}){2,4}(?:-\d{1,4})?\b"
    r"|\(\d{3}\) ?\d{3}[.\-]\d{4}\b|\b\d{3}-\d{3}-\d{4}\b|\b\d{3}\.\d{3}\.\d{4}\b",
}
FILE_ENDINGS = frozenset(b"png jpg jpeg gif svg webp ico css js ts py json html xml txt md so dll tar gz zip".split())
ADDRESS_CUES = re.compile(rb"(?i)\b(ip|host|addr|server|ping|from|client|peer|dns|gateway|http)")
NUMBER_CUES = re.compile(rb"(?i)(version|\bv|release|\brev|section|\bsec|\xc2\xa7|\boid|chapter|table|figure)\W*$")
PHONE_CUES = re.compile(rb"(?i)(phone|tel|call|fax|mobile|cell|contact|hotline|sms|whatsapp)")
#: Characters of an IBAN by country, from the registry of SWIFT (ISO 13616).
IBANS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18
FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21
LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27
ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""
IBAN_LENGTHS = {entry[:2].encode(): int(entry[2:]) for entry in IBANS.split()}
#: First digits and lengths of cards: Visa, Mastercard, American Express, Discover, Diners, JCB, UnionPay.
CARDS = re.compile(
    rb"4(\d{12}|\d{15}|\d{18})|(5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(011|5\d\d)\d{12}|3[068]\d{12}|35\d{14}|62\d{14,17}"
)


class PersonalData(Rule):
    """Rewrite e-mail addresses, phone numbers, public addresses of machines, cards, IBANs and keys to their types."""

    types: tuple[Type, ...] = Field(TYPES, min_length=1, description="What is replaced.")

    @model_validator(mode="after")
    def _library_is_there(self) -> Self:
        if importlib.util.find_spec("re2") is None:
            raise ValueError("personal_data needs google-re2, which is not installed; pip install 'headrace[pii]'")
        return self

    def judge(self, texts: Texts) -> RuleVerdict:
        """No text goes; placeholders stand where something was found."""
        drop = np.zeros(len(texts), dtype=np.bool_)
        plain = texts.text.cast(pa.binary()).to_pylist()
        chosen = tuple(name for name in TYPES if name in self.types)
        now = [_replaced(text, chosen) for text in plain]
        if now == plain:
            return RuleVerdict(drop)
        return RuleVerdict(drop, normalised(pa.array(now, pa.binary()).cast(texts.text.type)))


@lru_cache(maxsize=8)
def _finder(chosen: tuple[Type, ...]) -> Any:
    """The pattern of some types, compiled once a process."""
    import re2  # only this rule needs it

    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # bytes: a byte beyond ASCII is no part of any pattern
    return re2.compile("|".join(f"({PATTERNS[name]})" for name in chosen).encode(), options)


def _replaced(text: bytes, chosen: tuple[Type, ...]) -> bytes:
    parts, done = [], 0
    for match in _finder(chosen).finditer(text):
        start, end = match.span()
        kind = chosen[match.lastindex - 1]
        if start >= done and CHECKS[kind](text, start, end):
            parts += [text[done:start], f"<{kind.upper()}>".encode()]
            done = end
    return b"".join((*parts, text[done:])) if parts else text


def _is_key(text: bytes, start: int, end: int) -> bool:
    """A token of a known form; one of an unknown form only where its letters are as random as a key's."""
    found = text[start:end]
    if found[:1] in b"-" or not found.endswith((b'"', b"'")):
        return True
    value = re.split(rb"[\"']", found)[-2]
    share = [count / len(value) for count in Counter(value).values()]
    return -sum(p * math.log2(p) for p in share) >= 3.5 and any(48 <= c <= 57 for c in value)


def _is_email(text: bytes, start: int, end: int) -> bool:
    return text[start:end].rpartition(b".")[2].lower() not in FILE_ENDINGS and text[end : end + 1] not in (b"@", b"(")


def _is_iban(text: bytes, start: int, end: int) -> bool:
    """The length of its country and the check digits of ISO 7064."""
    found = text[start:end].replace(b" ", b"")
    if IBAN_LENGTHS.get(found[:2]) != len(found):
        return False
    return int("".join(str(int(chr(c), 36)) for c in found[4:] + found[:4])) % 97 == 1


def _is_ip(text: bytes, start: int, end: int) -> bool:
    """An address that is routed; version and section numbers are shorter, or said to be such."""
    found, before = text[start:end], text[max(0, start - 24) : start]
    after = text[end : end + 2]
    if text[start - 1 : start] in (b".", b"-", b"_") or after[:1] in (b"-", b"_") or re.match(rb"\.\d", after):
        return False
    try:
        if not ipaddress.ip_address(found.decode()).is_global:
            return False
    except ValueError:
        return False
    if b":" in found:
        return True
    digits = sum(48 <= c <= 57 for c in found)
    is_named = ADDRESS_CUES.search(before) is not None or after[:1] in (b":", b"/")
    return not NUMBER_CUES.search(before) and (digits >= 8 or (digits >= 6 and is_named))


def _is_card(text: bytes, start: int, end: int) -> bool:
    """Digits and length of a brand, and the check digit of Luhn."""
    digits = re.sub(rb"\D", b"", text[start:end])
    if not CARDS.fullmatch(digits) or text[start - 1 : start] in (b"-", b".") or text[end : end + 1] in (b"-", b"."):
        return False
    doubled = [int(chr(c)) for c in digits]
    doubled[-2::-2] = [2 * d - 9 * (d > 4) for d in doubled[-2::-2]]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 2


def _is_phone(text: bytes, start: int, end: int) -> bool:
    """A number with its country; one without only behind a word that says so, or in brackets as Americans write it."""
    found, before = text[start:end], text[max(0, start - 32) : start]
    digits = re.sub(rb"\D", b"", found)
    if text[start - 1 : start] in (b"-", b"_", b".", b"/", b"+") or text[end : end + 1] in (b"-", b"_", b"/"):
        return False
    if found[:1] == b"+":
        return 9 <= len(digits) <= 15 and (len(digits) < len(found) - 1 or not digits.startswith((b"19", b"20")))
    return found[:1] == b"(" or PHONE_CUES.search(before) is not None


CHECKS: dict[Type, Callable[[bytes, int, int], bool]] = {
    "key": _is_key,
    "email": _is_email,
    "iban": _is_iban,
    "ip": _is_ip,
    "card": _is_card,
    "phone": _is_phone,
}
