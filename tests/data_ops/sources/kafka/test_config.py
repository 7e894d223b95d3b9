"""Is what can be configured of Kafka checked before a broker is asked, and does no secret find a place in it?"""

from pathlib import Path

import pytest
from pydantic import ValidationError

from data_ops.sources.kafka.config import KafkaConfig, SecurityConfig
from data_ops.sources.kafka.source import KafkaSource
from ray_jobs.config.reading import read_config
from ray_jobs.outcome import ConfigError

LOGIN = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512", "username": "reader"}
GIVEN = ("sources.live.kind=kafka", "sources.live.servers=a:9092,b:9092", "sources.live.topics=docs,news")


def test_names_are_lists_or_texts_with_commas():
    config = read_config([], GIVEN).sources["live"]
    assert isinstance(config, KafkaConfig)
    assert (config.servers, config.topics) == (("a:9092", "b:9092"), ("docs", "news"))
    assert config.describe() == "topics=docs,news"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("topics=a,,b", "sources.live.topics: 'a, , b' names nothing, or an empty name"),
        ("topics=a,a", "names one twice"),
        (
            "security.password=hunter2",
            "password is a secret and has no place in a configuration; put the password into",
        ),
        ('options={"sasl.password":"hunter2"}', "sasl.password may be a secret, which has no place in a configuration"),
        ('options={"isolation.level":"read_uncommitted"}', "isolation.level decides what is read exactly once"),
        ('options={"group.id":"a"}', "group.id has a key of its own: group"),
        ("security.protocol=SASL_SSL", "protocol=SASL_SSL needs security.mechanism"),
        ("security.username=me", "protocol=PLAINTEXT has no login; use SASL_SSL"),
        ("format=text sources.live.id=url", "id=url is a field of an object, and format=text has none"),
        ("time=kafka.when", "time=kafka.when is no part of a message; use one of kafka.key"),
    ],
)
def test_a_mistake_is_a_sentence_that_never_holds_the_secret(given: str, sentence: str):
    with pytest.raises(ConfigError) as caught:
        read_config([], [*GIVEN, *f"sources.live.{given}".split(" ")])
    assert sentence in str(caught.value) and "hunter2" not in str(caught.value)


def test_a_password_comes_from_the_environment_or_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    security = SecurityConfig.model_validate(LOGIN)
    with pytest.raises(OSError, match="the environment holds no KAFKA_PASSWORD; set it"):
        security.client_settings()
    monkeypatch.setenv("KAFKA_PASSWORD", "from the environment")
    assert security.client_settings()["sasl.password"] == "from the environment"
    (tmp_path / "secret").write_text("from a file\n")
    given = SecurityConfig.model_validate({**LOGIN, "login_file": str(tmp_path / "secret")})
    assert given.client_settings()["sasl.password"] == "from a file"
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(OSError, match="secret is empty"):
        given.client_settings()


def test_a_missing_password_and_a_setting_that_is_not_understood_are_told_before_a_broker_is_asked(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("KAFKA_PASSWORD", raising=False)
    config = KafkaConfig(servers="a:1", topics="docs", security=LOGIN)
    assert "the environment holds no KAFKA_PASSWORD" in (KafkaSource("live", config).missing() or "")
    config = KafkaConfig(servers="a:1", topics="docs", options={"fetch.maximum": "1"})
    assert "a setting is not understood (No such configuration property" in (
        KafkaSource("live", config).missing() or ""
    )


def test_what_decides_no_records_text_may_change_while_a_window_is_open():
    with pytest.raises(ValidationError):
        KafkaConfig(servers="a:1", topics="docs", password="x")  # type: ignore[call-arg]
    assert {"servers", "security", "on_loss", "group"} <= KafkaConfig.FINDS and "format" not in KafkaConfig.FINDS
