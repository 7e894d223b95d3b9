"""Is everything masked that any of the three readers must not show, and nothing else?"""

import pytest

from cluster.redaction import redact

SECRETS = ["api_key", "apiKey", "auth_token", "secret", "sasl.password", "aws_secret_access_key", "password", "token"]
SECRETS += ["hf_token", "sasl_password", "AUTH", "private_key", "credentials", "db.passwd", "signing_key", "sas"]


@pytest.mark.parametrize("key", SECRETS)
def test_what_stands_under_the_name_of_a_secret_is_masked_at_any_depth(key: str) -> None:
    hidden = redact({"a": [{key: "hunter2"}], "b": {"c": {key: ["hunter2"]}}, "lr": 1.0})
    assert "hunter2" not in str(hidden) and hidden["lr"] == 1.0 and hidden["a"] == [{key: "***"}]


def test_a_number_may_be_a_password_and_a_token_s_number_is_none() -> None:
    assert redact({"password": 1234, "pin_secret": 5.5, "document_token": 256, "token": 3}) == {
        "password": "***",
        "pin_secret": "***",
        "document_token": 256,
        "token": 3,
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://me:pw@host/a?sig=1&x=1", "s3://***@host/a?sig=***&x=1"),
        ("kafka://me:pw@host", "kafka://***@host"),
        ("https://h/a?X-Amz-Security-Token=abc", "https://h/a?X-Amz-Security-Token=***"),
        ("s3://bucket/lake", "s3://bucket/lake"),
        ("write to me@host", "write to me@host"),
    ],
)
def test_logins_and_signatures_within_an_address_are_masked(url: str, shown: str) -> None:
    assert redact({"store": url})["store"] == shown


def test_what_only_sounds_secret_stays() -> None:
    plain = {"row_tokens": 256, "tokenizer": {"kind": "bpe"}, "batch_tokens": "8k", "key": "wire", "secret": None}
    assert redact(plain | {"is_private": False}) == plain | {"is_private": False}
