"""What can be configured of a schema registry? Its address and the user's name; a password has no key (login.py)."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from cluster.units import Settings
from data_ops.sources.login import read_login, refuse_secrets

VARIABLE = "SCHEMA_REGISTRY_PASSWORD"


class RegistryConfig(Settings):
    """A registry that answers as Confluent's does; written as its URL alone where it wants no login."""

    url: str = Field(description="Where it answers: https://HOST:8081, with a path where its API has one.")
    username: str | None = Field(
        None, min_length=1, description="Of the login (Confluent Cloud: the API key); the password is not here."
    )
    login_env: str = Field(VARIABLE, min_length=1, description="The variable that holds the password.")
    login_file: str | None = Field(None, description="A file that holds the password, instead of the variable.")
    ca: str | None = Field(None, description="PEM file of who signed the registry; none: the system's.")

    @model_validator(mode="before")
    @classmethod
    def _no_secret_stands_here(cls, values: Any) -> Any:
        refuse_secrets("registry", VARIABLE, values, cls.model_fields)
        return {"url": values} if isinstance(values, str) else values

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            has_login, host = parts.username is not None or parts.password is not None, parts.hostname
        except ValueError:
            raise ValueError("it is no URL; write https://HOST:PORT") from None
        if has_login:
            raise ValueError(
                f"a login has no place in a URL; set registry.username, and put the password into the environment as "
                f"{VARIABLE} or into a file that registry.login_file names"
            )
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is no address of a registry; write https://HOST:PORT")
        return url.rstrip("/")

    def password(self) -> str:
        """Read the password. OSError, in a sentence, where it is not there."""
        return read_login("registry", self.login_env, self.login_file)
