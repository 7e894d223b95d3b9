"""Is personal data found where it is, and not where something only looks like it?"""

import random
import sys

import pyarrow as pa
import pytest
from pydantic import ValidationError

from data_ops.curation.config import CurateConfig
from data_ops.curation.rules.personal import TYPES, PersonalData
from tests.data_ops.curation.rules.test_rule import texts_of

TOKEN = "abcdefghijklmnopqrstuvwxyz0123456789"
FOUND = [
    ("Write to anna.o+x@mail.example.org, please.", "Write to <EMAIL>, please."),
    ("<j_doe@uni-x.ac.uk>", "<<EMAIL>>"),
    ("Müller schreibt an müller@example.de.", "Müller schreibt an mü<EMAIL>."),
    ("Call (415) 555-0132 now", "Call <PHONE> now"),
    ("Tel. +49 30 901820-0", "Tel. <PHONE>"),
    ("phone: 415-555-0132", "phone: <PHONE>"),
    ("from 93.184.216.34 at night", "from <IP> at night"),
    ("host 185.1.2.88:53", "host <IP>:53"),
    ("ping 2606:2800:220:1:248:1893:25c8:1946 works", "ping <IP> works"),
    ("card 4111 1111 1111 1111, thanks", "card 4111 1111 1111 1111, thanks"),  # only two digits: of a manual
    ("card 4539 1488 0343 6467, thanks", "card <CARD>, thanks"),
    ("5555555555554444 or 378282246310005", "5555555555554444 or <CARD>"),
    ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN <IBAN>."),
    ("GB29NWBK60161331926819", "<IBAN>"),
    (f"token ghp_{TOKEN} leaked", "token <KEY> leaked"),
    ("AKIAIOSFODNN7EXAMPLE is one", "<KEY> is one"),
    ("api_key = 'q9Zx7Lk2Pw8Rt5Vy1Nb4'", "<KEY>"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpQIBAAKC\n-----END RSA PRIVATE KEY-----", "<KEY>"),
    ("a@b.example and c@d.example", "<EMAIL> and <EMAIL>"),
]
LEFT = [
    "version 11.1.7.188 and section 12.13.14.155 of it",
    "1.3.6.1.4.1.311, release 10.20.30.40 and 192.168.100.200",
    "logo@2x.png beside icon@3x.webp",
    "DFARS 252.227-7013 and ISBN 978-3-16-148410-0",
    "4539 1488 0343 6468 has a wrong digit, 1234567890123 is nothing",
    "DE89 3704 0044 0532 0130 01 has a wrong digit; AB12 CDEF GHIJ KLMN is none",
    "password = 'correcthorsebatterystaple' and token = 'aaaaaaaaaaaaaaaa1'",
    "on 2024-11-29 at 12:34:56, build 20241129123456",
    "10:20:30:40:50:60 is a hardware address, 555-0132 is short",
    "415-555-0132 might be a part number",
    "user@localhost, @name, a@b and f(x)@y.T(z)",
]


@pytest.mark.parametrize(("text", "said"), FOUND)
def test_what_is_personal_becomes_its_type(text: str, said: str) -> None:
    verdict = PersonalData().judge(texts_of([text, "nothing here"]))
    assert not verdict.drop.any()
    assert (verdict.text or texts_of([text]).text)[0].as_py() == said


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert PersonalData().judge(texts_of([text])).text is None


def test_only_what_is_chosen_is_replaced() -> None:
    verdict = PersonalData(types=("card", "ip")).judge(texts_of(["a@b.example from 93.184.216.34"]))
    assert verdict.text.to_pylist() == ["a@b.example from <IP>"]


def test_any_bytes_of_any_script_take_linear_time_and_lose_nothing() -> None:
    chance = random.Random(1)
    alphabet = "ab@.- :1234567890+()ÄÖ水🙂\n<>'\"=keytokenAKIA"
    texts = texts_of(["".join(chance.choices(alphabet, k=3_000)) for _ in range(40)] + ["1-" * 50_000, "a@" * 50_000])
    verdict = PersonalData().judge(texts)
    again = PersonalData().judge(texts_of((verdict.text or texts.text).to_pylist()))
    assert again.text is None or again.text.equals(verdict.text)
    for text, said in zip(texts.text.to_pylist(), (verdict.text or texts.text).to_pylist(), strict=True):
        assert sum(map(text.count, "水🙂")) == sum(map(said.count, "水🙂"))


def test_without_its_library_it_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(ValidationError, match=r"personal_data needs google-re2.*pip install 'headrace\[pii\]'"):
        CurateConfig(rules=("personal_data",))


def test_each_type_can_be_named() -> None:
    assert set(TYPES) == set(PersonalData.model_fields["types"].default)
    assert pa.types.is_string(PersonalData().judge(texts_of(["a@b.example"])).text.type)
