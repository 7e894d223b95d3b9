"""Are members of installed packages found, by name, and is a bad one named with its package?"""

from collections.abc import Iterator

import pytest

from cluster.extensions import ExtensionError, Members, members
from tests.support.packages import forget, install

GROUP = "headrace.tests"
NUMBERS = {"one": 1}


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    forget()


def numbers() -> Members[int]:
    return Members(GROUP, NUMBERS, lambda member: isinstance(member, int), "a number")


def test_without_packages_there_are_only_our_own_members():
    assert dict(numbers()) == NUMBERS and members(GROUP) == {}


def test_a_package_adds_a_member_which_is_imported_only_when_it_is_asked_for(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {GROUP: {"two": "twos:TWO", "three": "absent:X"}}, twos="TWO = 2")
    assert list(numbers()) == ["one", "three", "two"] and len(numbers()) == 3
    assert numbers()["two"] == numbers().named("two", "number") == 2


def test_our_own_member_is_never_replaced_by_a_package(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {GROUP: {"one": "twos:TWO"}}, twos="TWO = 2")
    assert dict(numbers()) == NUMBERS


def test_a_member_that_cannot_be_imported_is_told_with_its_package(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {GROUP: {"two": "twos:TWO"}}, twos="raise OSError('no disk')")
    with pytest.raises(ExtensionError, match=r"two = twos:TWO of stranger0 1\.0 .*OSError: no disk.*uninstall"):
        members(GROUP)


def test_a_member_of_another_kind_is_told_with_its_package(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {GROUP: {"two": "twos:TWO"}}, twos="TWO = 'two'")
    with pytest.raises(ExtensionError, match=r"stranger0 1\.0 is 'two', not a number"):
        numbers()["two"]


def test_two_packages_that_add_the_same_name_are_both_told(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {GROUP: {"two": "twos:TWO"}})
    install(tmp_path, monkeypatch, {GROUP: {"two": "pairs:TWO"}})
    with pytest.raises(ExtensionError, match=r"added by stranger1 1\.1 .* and by stranger0 1\.0"):
        list(numbers())


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="there is no number 'ones'; did you mean 'one'"):
        numbers().named("ones", "number")
    with pytest.raises(ValueError, match="use one of one"):
        numbers().named("xyz", "number")
