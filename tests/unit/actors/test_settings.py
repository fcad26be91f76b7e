"""Settings: which source wins, and that nothing misspelt is dropped."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from actors.runtime.settings import RuntimeSettings, installed_sections, read_settings
from schemas.errors import Misconfigured


class Lock(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str | None = None
    pins: int = 5
    doors: dict[str, str] = {}


class Shop(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "default"
    password: SecretStr | None = None
    limit: int = 3
    names: tuple[str, ...] = ()
    lock: Lock = Lock()


SECTIONS = {"shop": lambda: Shop}


def config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "aion.toml"
    path.write_text(text)
    return str(path)


def test_the_environment_wins_over_the_secret_file_over_the_document_over_the_default(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("from-secret\n")
    document = {"AION_CONFIG": config(tmp_path, '[shop]\nurl = "from-toml"\n')}
    by_secret = document | {"AION_SHOP__URL_FILE": str(secret)}
    by_variable = by_secret | {"AION_SHOP__URL": "from-variable"}
    found = [
        read_settings(environ, SECTIONS).load("shop", Shop).url for environ in ({}, document, by_secret, by_variable)
    ]
    assert found == ["default", "from-toml", "from-secret", "from-variable"]


def test_numbers_and_lists_are_read_from_text() -> None:
    settings = read_settings({"AION_SHOP__LIMIT": "7", "AION_SHOP__NAMES": '["a", "b"]'}, SECTIONS)
    assert settings.load("shop", Shop) == Shop(limit=7, names=("a", "b"))


def test_a_field_that_is_a_model_is_read_field_by_field_from_every_source(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("from-secret\n")
    document = '[shop.lock]\nkey = "from-toml"\npins = 6\n[shop.lock.doors]\nback = "b"\n'
    environ = {"AION_CONFIG": config(tmp_path, document), "AION_SHOP__LOCK__KEY_FILE": str(secret)}
    assert read_settings(environ, SECTIONS).load("shop", Shop).lock == Lock(
        key="from-secret", pins=6, doors={"back": "b"}
    )
    whole = {"AION_SHOP__LOCK": '{"pins": 8}', "AION_SHOP__LOCK__KEY": "k"}
    assert read_settings(whole, SECTIONS).load("shop", Shop).lock == Lock(key="k", pins=8)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AION_SHOP__LOCK__PINS": "hunter2"}, "AION_SHOP__LOCK__PINS:"),
        ({"AION_SHOP__LOCK": "hunter2"}, "AION_SHOP__LOCK:"),
        ({"AION_SHOP__LOCK": '{"pins": "hunter2"}'}, "AION_SHOP__LOCK:"),
    ],
)
def test_a_wrong_value_of_an_inner_model_is_named_by_its_own_key(environ: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named) as caught:
        read_settings(environ, SECTIONS).load("shop", Shop)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("AION_SHOP__LOCK__PNIS", "pins"),
        ("AION_SHOP__LOKC__PINS", "lock"),
        ("AION_SHOP__LIMTI", "limit"),
        ("AION_SHPO__LIMIT", "shop"),
        ("AION_SHOP__PASWORD_FILE", "password"),
    ],
)
def test_a_misspelt_variable_is_an_error_that_says_what_was_meant(variable: str, meant: str) -> None:
    with pytest.raises(Misconfigured, match=f"{variable}.*did you mean '{meant}'"):
        read_settings({variable: "1"}, SECTIONS)


def test_a_variable_without_a_section_is_an_error() -> None:
    with pytest.raises(Misconfigured, match=r"AION_CONFG.*did you mean 'AION_CONFIG'"):
        read_settings({"AION_CONFG": "x"}, SECTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "[shop]\nlimti = 1\n",
        "[shop.lock]\npnis = 1\n",
        "[shop]\nlock = 1\n",
        "[shpo]\nlimit = 1\n",
        "shop = 1\n",
        "[shop\n",
    ],
)
def test_what_the_document_misspells_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(Misconfigured):
        read_settings({"AION_CONFIG": config(tmp_path, text)}, SECTIONS)


def test_a_secret_file_is_no_key_of_the_document(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="password_file"):
        read_settings({"AION_CONFIG": config(tmp_path, '[shop]\npassword_file = "/x"\n')}, SECTIONS)


def test_a_wrong_value_is_named_by_its_key_and_never_shown() -> None:
    settings = read_settings({"AION_SHOP__LIMIT": "hunter2"}, SECTIONS)
    with pytest.raises(Misconfigured, match="AION_SHOP__LIMIT") as caught:
        settings.load("shop", Shop)
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    settings = read_settings({"AION_SHOP__PASSWORD_FILE": "/nowhere/password"}, SECTIONS)
    with pytest.raises(Misconfigured, match="AION_SHOP__PASSWORD_FILE=/nowhere/password"):
        settings.load("shop", Shop)
    with pytest.raises(Misconfigured, match=r"/nowhere/aion\.toml"):
        read_settings({"AION_CONFIG": "/nowhere/aion.toml"}, SECTIONS)


def test_a_section_whose_room_is_not_installed_is_not_judged() -> None:
    def absent() -> type[BaseModel]:
        raise ModuleNotFoundError("aiokafka")

    assert (
        read_settings({"AION_KAFKA__ANYTHING": "1"}, {"kafka": absent}).load("runtime", RuntimeSettings).grace_s == 20
    )


def test_every_declared_section_is_a_frozen_model_that_forbids_extras() -> None:
    sections = installed_sections()
    assert {"nats", "runtime", "edge", "kafka", "postgres", "redis"} <= sections.keys()
    for find in sections.values():
        assert find().model_config.get("extra") == "forbid"
        assert find().model_config.get("frozen") is True
