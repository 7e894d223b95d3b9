"""What can be configured of a source in Kafka, and where do its secrets come from?

A password has no key: it stands in the environment or in a file of every node that reads, and is read only when a
client is made, so that no plan, log or page of configuration can hold it.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from cluster.redaction import SECRET
from cluster.storage.uri import expanded_path
from cluster.units import Settings, Size
from data_ops.sources.kafka.registered.config import RegistryConfig
from data_ops.sources.login import read_login, refuse_secrets
from data_ops.sources.objective import ObjectiveConfig

PLACES = ("kafka.key", "kafka.offset", "kafka.timestamp")  # of a message, beside its headers
HEADER = "kafka.header."
#: Settings of the client that decide what is read, or that have keys of their own.
OURS = {
    "bootstrap.servers": "servers",
    "group.id": "group",
    "security.protocol": "security.protocol",
    "sasl.mechanism": "security.mechanism",
    "sasl.mechanisms": "security.mechanism",
    "sasl.username": "security.username",
    "ssl.ca.location": "security.ca",
    "ssl.certificate.location": "security.certificate",
    "ssl.key.location": "security.certificate",
}
FIXED = (
    "auto.offset.reset",
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
)


def _as_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class SecurityConfig(Settings):
    """How brokers are reached and who we are; the password is in the environment or in a file."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Encrypted (SSL) and with a login (SASL), or not."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(None, description="Of the login.")
    username: str | None = Field(None, description="Of the login; the password is not here.")
    login_env: str = Field("KAFKA_PASSWORD", min_length=1, description="The variable that holds the password.")
    login_file: str | None = Field(None, description="A file that holds the password, instead of the variable.")
    ca: str | None = Field(None, description="PEM file of who signed the brokers; none: the system's.")
    certificate: str | None = Field(None, description="PEM file with our own certificate and its key, not encrypted.")

    @model_validator(mode="before")
    @classmethod
    def _no_secret_stands_here(cls, values: Any) -> Any:
        refuse_secrets("security", "KAFKA_PASSWORD", values, cls.model_fields)
        return values

    @model_validator(mode="after")
    def _a_login_is_whole(self) -> "SecurityConfig":
        has_login = self.protocol.startswith("SASL")
        if has_login and not (self.mechanism and self.username):
            raise ValueError(
                f"protocol={self.protocol} needs security.mechanism (PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512) and "
                "security.username"
            )
        if not has_login and (self.mechanism or self.username):
            raise ValueError(
                f"protocol={self.protocol} has no login; use SASL_SSL, or leave mechanism and username out"
            )
        return self

    def password(self) -> str:
        """Read the password. OSError, in a sentence, where it is not there."""
        return read_login("security", self.login_env, self.login_file)

    def client_settings(self) -> dict[str, str]:
        """Return the settings of a client, with the secrets. OSError where one is not there."""
        given = {
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password() if self.mechanism else None,
            "ssl.ca.location": self.ca and str(expanded_path(self.ca)),
            "ssl.certificate.location": self.certificate and str(expanded_path(self.certificate)),
            "ssl.key.location": self.certificate and str(expanded_path(self.certificate)),
        }
        return {key: value for key, value in given.items() if value}


class KafkaConfig(ObjectiveConfig):
    """Topics of a Kafka cluster, or of what speaks its protocol."""

    FINDS: ClassVar[frozenset[str]] = frozenset(
        {"servers", "topics", "group", "on_loss", "wait", "security", "options", "weight", "registry"}
    )

    kind: Literal["kafka"] = Field("kafka", description="Topics of Kafka.")
    servers: Names = Field(description="Some brokers, host:port; the others are found through them.")
    topics: Names = Field(description="The topics to read, all partitions, also those that are added later.")
    format: Literal["json", "text", "bytes", "avro", "protobuf"] = Field(
        "json",
        description="Of a value: an object; a text; a text in which what is no UTF-8 is replaced; a record by a schema "
        "of the registry.",
    )
    registry: RegistryConfig | None = Field(
        None, description="Of avro and protobuf: the schema registry, as its URL or with its login."
    )
    text: str = Field("text", min_length=1, description="The field of the object that holds the text.")
    time: str = Field(
        "kafka.timestamp",
        min_length=1,
        description="The field of the event time, or kafka.timestamp, kafka.header.NAME.",
    )
    id: str = Field(
        "kafka.offset",
        min_length=1,
        description="The field of the record's own id, or kafka.offset (topic/partition/offset), kafka.key, "
        "kafka.header.NAME.",
    )
    group: str | None = Field(None, min_length=1, description="The group that is told how far we are, as a hint.")
    on_loss: Literal["stop", "continue"] = Field(
        "stop", description="Where the log was trimmed, cut off or created again before it was read: go on, or stop."
    )
    wait: bool = Field(False, description="Start even if a topic or its first message is not there yet.")
    max_record_bytes: Size = Field(16 << 20, ge=64, le=256 << 20, description="A longer value is quarantined.")
    security: SecurityConfig = Field(SecurityConfig(), description="Encryption and login.")
    options: dict[str, str] = Field({}, description="Further settings of the client (librdkafka), none of them secret.")

    @field_validator("servers", "topics")
    @classmethod
    def _are_named(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not all(names):
            raise ValueError(f"{', '.join(names)!r} names nothing, or an empty name; write them with commas between")
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)!r} names one twice; leave it out")
        return names

    @field_validator("options")
    @classmethod
    def _options_are_free(cls, options: dict[str, str]) -> dict[str, str]:
        for name in options:
            if name in OURS:
                raise ValueError(f"{name} has a key of its own: {OURS[name]}")
            if name in FIXED:
                raise ValueError(f"{name} decides what is read exactly once and is fixed; leave it out")
            if SECRET.search(name):
                raise ValueError(
                    f"{name} may be a secret, which has no place in a configuration; use security.login_env or "
                    "security.login_file"
                )
        return options

    @model_validator(mode="after")
    def _fields_are_of_the_format(self) -> "KafkaConfig":
        for key, name in (("time", self.time), ("id", self.id)):
            if self.format in ("text", "bytes") and not is_of_the_message(name):
                raise ValueError(
                    f"{key}={name} is a field of an object, and format={self.format} has none; use one of "
                    f"{', '.join(PLACES)}, {HEADER}NAME"
                )
            if name.startswith("kafka.") and not is_of_the_message(name):
                raise ValueError(f"{key}={name} is no part of a message; use one of {', '.join(PLACES)}, {HEADER}NAME")
        if self.is_registered and self.registry is None:
            raise ValueError(f"format={self.format} needs the registry of its schemas; set registry=https://HOST:8081")
        if self.registry is not None and not self.is_registered:
            raise ValueError(
                f"registry={self.registry.url} is for format=avro or protobuf, and this is format={self.format}; leave "
                "it out, or set the format"
            )
        return self

    @property
    def is_registered(self) -> bool:
        """Whether the schema of a value lies in a registry."""
        return self.format in ("avro", "protobuf")

    @property
    def waits(self) -> bool:
        """Whether a run starts though nothing is there yet."""
        return self.wait

    def describe(self) -> str:
        """Tell which topics are read."""
        return f"topics={','.join(self.topics)}"


def is_of_the_message(name: str) -> bool:
    """Say whether a time or id is taken from the message around the value."""
    return name in PLACES or (name.startswith(HEADER) and len(name) > len(HEADER))
