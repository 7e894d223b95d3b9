"""Is a registry asked for each schema once, and is every way in which it does not answer told as what it is?"""

import pytest
from pydantic import ValidationError

from cluster.storage.retry import is_transient
from data_ops.sources.kafka.config import KafkaConfig
from data_ops.sources.kafka.registered.config import RegistryConfig
from data_ops.sources.kafka.registered.registry import SchemaRegistry
from data_ops.sources.kafka.registered.wire import UnreadableError
from tests.support.kafka.registry import FakeRegistry

pytestmark = pytest.mark.slow


@pytest.fixture
def registry():
    registry = FakeRegistry()
    yield registry
    registry.close()


def once(act):
    """Do what may be repeated, and do not."""
    return act()


def asking(registry, **keys) -> SchemaRegistry:
    return SchemaRegistry(RegistryConfig(url=registry.url, **keys), once)


def test_a_schema_is_asked_for_once_with_what_it_refers_to(registry):
    registry.register("a", subject="one/two")
    registry.register("b", subject="two", references=(("A", "one/two"),))
    registry.register("c", references=(("B", "two"), ("A", "one/two")))
    asked = asking(registry)
    schema = asked.schema(3, compiled=False)
    assert (schema.kind, schema.text, list(schema.references.items())) == (
        "AVRO",
        "c",
        [("A", "a"), ("B", "b")],
    )
    before = len(registry.asked)
    assert asked.schema(3, compiled=False) is schema and len(registry.asked) == before


def test_references_in_a_circle_are_refused(registry):
    registry.register("a", subject="one", references=(("B", "two"),))
    registry.register("b", subject="two", references=(("A", "one"),))
    with pytest.raises(UnreadableError, match="in a circle"):
        asking(registry).schema(1, compiled=False)
    registry.register("c", references=(("X", "absent"),))
    with pytest.raises(UnreadableError, match="'X', which is not there any more"):
        asking(registry).schema(3, compiled=False)


def test_an_unknown_id_is_asked_for_again_for_a_while_but_not_each_of_many(registry):
    asked = SchemaRegistry(RegistryConfig(url=registry.url), once, behind_s=0.6)
    for number in (7, 8, 7, 8):
        with pytest.raises(UnreadableError, match=f"knows no schema {number}") as caught:
            asked.schema(number, compiled=False)
        assert caught.value.reason == "unknown_schema"
    assert registry.asked.count("/schemas/ids/7") > 1 and registry.asked.count("/schemas/ids/8") == 1


def test_a_registry_that_fails_for_a_while_is_asked_again(registry):
    registry.register("a")
    registry.fails = 2
    assert SchemaRegistry(RegistryConfig(url=registry.url)).schema(1, compiled=False).text == "a"
    registry.fails = 1
    with pytest.raises(OSError, match=r"no schema registry answers at http://127.* \(HTTP 503\)") as caught:
        asking(registry).check()
    assert is_transient(caught.value)


def test_a_login_comes_from_the_environment_or_a_file_and_is_never_told(registry, monkeypatch, tmp_path):
    registry.login = "key:s3cret"
    monkeypatch.setenv("SCHEMA_REGISTRY_PASSWORD", "s3cret")
    asking(registry, username="key").check()
    (tmp_path / "login").write_text("s3cret\n")
    asking(registry, username="key", login_file=str(tmp_path / "login"), login_env="OTHER").check()
    monkeypatch.setenv("OTHER", "wr0ng")
    for keys, sentence in (
        ({}, r"refuses us \(HTTP 401\); check registry.username"),
        ({"username": "key", "login_env": "OTHER"}, r"check registry.username and its password \(OTHER\)"),
        ({"username": "key", "login_env": "NONE"}, "the environment holds no NONE"),
        ({"username": "key", "login_file": str(tmp_path / "absent")}, "absent cannot be read .No such file"),
    ):
        with pytest.raises(OSError, match=sentence) as caught:
            asking(registry, **keys).check()
        said = str(caught.value)
        assert type(caught.value) is OSError and "cret" not in said and "wr0ng" not in said and not is_transient(said)


def test_what_is_no_registry_is_told(registry, tmp_path):
    for url, sentence in (
        (f"{registry.url}/else", "is no schema registry .it answers HTTP 404.; give the address below which"),
        ("http://127.0.0.1:1", "no schema registry answers at http://127.0.0.1:1 .*refused"),
        (registry.url.replace("http:", "https:"), "no schema registry answers"),
    ):
        with pytest.raises(OSError, match=sentence):
            SchemaRegistry(RegistryConfig(url=url), once).check()
    with pytest.raises(OSError, match=r"registry.ca=.*cannot be read"):
        SchemaRegistry(RegistryConfig(url=registry.url, ca=str(tmp_path / "absent")), once)


GIVEN = {"servers": "a:9092", "topics": "docs"}


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"format": "avro"}, "format=avro needs the registry of its schemas; set registry=https://HOST:8081"),
        ({"registry": "https://r"}, "registry=https://r is for format=avro or protobuf, and this is format=json"),
        ({"format": "avro", "registry": "r:8081"}, "is no address of a registry; write https://HOST:PORT"),
        ({"format": "avro", "registry": "file:///etc"}, "is no address of a registry"),
        ({"format": "avro", "registry": "https://u:hunter2@r"}, "a login has no place in a URL; set registry.username"),
        (
            {"format": "avro", "registry": {"url": "https://r", "password": "hunter2"}},
            "password is a secret and has no",
        ),
    ],
)
def test_a_mistake_is_a_sentence_that_never_holds_the_secret(keys, sentence):
    with pytest.raises(ValidationError) as caught:
        KafkaConfig.model_validate({**GIVEN, **keys})
    told = "; ".join(error["msg"] for error in caught.value.errors())
    assert sentence in told and "hunter2" not in told


def test_a_registry_is_written_as_its_url_or_with_its_login():
    config = KafkaConfig.model_validate({**GIVEN, "format": "avro", "registry": "https://r:8081/"})
    assert config.registry == RegistryConfig(url="https://r:8081")
    assert "registry" in KafkaConfig.FINDS
