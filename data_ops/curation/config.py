"""Which rules and histories are there, and which of them does a store apply, with which settings?

`curate.rules` names rules, gives one its own settings, or the sources it is for: `[too_long, {kind: too_short,
min_chars: 50}, {kind: fineweb_quality, sources: [web]}]`. The flat keys beside it (`curate.min_chars`) are the settings
of the first six for an entry that does not say otherwise.
"""

from functools import cached_property

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from cluster.extensions import Members, configured
from cluster.units import Settings
from data_ops.curation.history.exact import ExactDuplicates
from data_ops.curation.history.history import HistoryRule
from data_ops.curation.history.near import NearDuplicates
from data_ops.curation.rules.c4 import C4
from data_ops.curation.rules.characters import (
    DigitShare,
    FewLetters,
    LetterShare,
    ManyDigits,
    ManySymbols,
    RepeatedCharacters,
    RepeatedShare,
    SymbolShare,
)
from data_ops.curation.rules.contaminated import Contaminated
from data_ops.curation.rules.fineweb import FineWebQuality
from data_ops.curation.rules.gopher import GopherQuality, GopherRepetition
from data_ops.curation.rules.language import Language
from data_ops.curation.rules.length import Fewest, Most, TooLong, TooShort
from data_ops.curation.rules.personal import PersonalData
from data_ops.curation.rules.rule import Rule

Entry = str | dict[str, JsonValue]

EXACT = "duplicate"  # always applies: a sample by id rests on it

#: The one place where a rule is made known; the key is the reason a dropped document carries.
RULES: Members[type[Rule]] = Members(
    "headrace.rules",
    {
        "too_short": TooShort,
        "too_long": TooLong,
        "few_letters": FewLetters,
        "many_digits": ManyDigits,
        "many_symbols": ManySymbols,
        "repeated_characters": RepeatedCharacters,
        "gopher_quality": GopherQuality,
        "gopher_repetition": GopherRepetition,
        "fineweb_quality": FineWebQuality,
        "c4": C4,
        "personal_data": PersonalData,
        "contaminated": Contaminated,
        "language": Language,
    },
    lambda member: isinstance(member, type) and issubclass(member, Rule),
    "a subclass of data_ops.curation.rules.rule.Rule",
)
#: The same for what compares with all of history.
HISTORIES: Members[type[HistoryRule]] = Members(
    "headrace.histories",
    {"duplicate": ExactDuplicates, "near_duplicate": NearDuplicates},
    lambda member: isinstance(member, type) and issubclass(member, HistoryRule),
    "a subclass of data_ops.curation.history.history.HistoryRule",
)
#: What applies where `curate.rules` is absent, and has its settings in the flat keys. No rule joins it by being made.
DEFAULT = ("too_short", "too_long", "few_letters", "many_digits", "many_symbols", "repeated_characters")


class CurateConfig(Settings):
    """What a text has to be like. The defaults pass prose and source code alike, and stop debris."""

    rules: tuple[Entry, ...] = Field(
        DEFAULT,
        description="The rules to apply, in this order: names, or {kind: name, ...} with settings of its own, and "
        "`sources`, if it is not for all of them.",
    )
    histories: tuple[Entry, ...] = Field(
        (), description="What is compared with all of history besides exact duplicates, which always go; as rules."
    )
    min_chars: Fewest = 20
    max_chars: Most = 2_000_000
    min_letter_share: LetterShare = 0.3
    max_digit_share: DigitShare = 0.5
    max_symbol_share: SymbolShare = 0.5
    max_repeated_char_share: RepeatedShare = 0.5

    @field_validator("rules", "histories")
    @classmethod
    def _exist(cls, entries: tuple[Entry, ...], info: ValidationInfo) -> tuple[Entry, ...]:
        is_rule = info.field_name == "rules"
        names = [] if is_rule else [EXACT]
        for entry in entries:
            if not is_rule and isinstance(entry, dict) and "sources" in entry:
                raise ValueError(
                    f"{entry} names sources; what was kept before is compared with all of them: leave it out"
                )
            name, settings, _ = _split(entry)
            member = RULES.named(name, "rule") if is_rule else HISTORIES.named(name, "history")
            configured(member, f"the rule {name}", settings)
            names.append(name)
        if len(set(names)) < len(names):
            raise ValueError(f"{info.field_name}={names} names a rule twice; name each once")
        return entries

    @cached_property
    def chain(self) -> dict[str, Rule]:
        """The rules to apply, in order, by the reason they give."""
        found = {}
        for name, settings, _ in map(_split, self.rules):
            flat = {key: getattr(self, key) for key in RULES[name].model_fields} if name in DEFAULT else {}
            found[name] = configured(RULES[name], f"the rule {name}", {**flat, **settings})
        return found

    @cached_property
    def only_for(self) -> dict[str, frozenset[str]]:
        """The sources that a rule is for, of the rules that are not for all."""
        entries = [_split(entry) for entry in self.rules]
        return {name: sources for name, _, sources in entries if sources is not None}

    def chain_of(self, source: str) -> dict[str, Rule]:
        """The rules to apply to one source, in order, by the reason they give."""
        return {name: rule for name, rule in self.chain.items() if source in self.only_for.get(name, {source})}

    @cached_property
    def remembered(self) -> dict[str, HistoryRule]:
        """What is compared with all of history, in order, by the reason it gives."""
        entries = map(_split, [EXACT, *self.histories])
        return {name: configured(HISTORIES[name], f"the rule {name}", settings) for name, settings, _ in entries}


def _split(entry: Entry) -> tuple[str, dict[str, JsonValue], frozenset[str] | None]:
    """Return the name and the settings of an entry, and the sources it is for; None: all."""
    if isinstance(entry, str):
        return entry, {}, None
    settings = dict(entry)
    name = settings.pop("kind", None)
    if not isinstance(name, str):
        raise ValueError(f"{entry} has no kind; write {{kind: too_short, min_chars: 20}}")
    if "sources" not in settings:
        return name, settings, None
    sources = settings.pop("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(source, str) for source in sources):
        raise ValueError(f"the rule {name} has sources={sources}; name some of the sources, as a list")
    return name, settings, frozenset(map(str, sources))
