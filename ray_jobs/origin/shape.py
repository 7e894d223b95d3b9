"""Which shape has a run that begins with weights of others? Theirs: it is read, and a key that contradicts is refused.

Only what does not change the weights is still to be chosen: the length of a row, recomputation, and a scaling of
positions where rows are to be longer than the model's context.
"""

from cluster.storage.store import Store
from data_ops.documents.config import TokenizerConfig
from data_ops.documents.tokenizer import Tokenizer
from models.config import ModelConfig
from models.kinds.kinds import model_config, part_that_trains
from ray_jobs.checkpoints import manifest as commits
from ray_jobs.config.reading import check
from ray_jobs.config.schema import Config
from ray_jobs.origin.place import Checkpoint, Folder, Place, place_of
from ray_jobs.origin.record import read_origin
from ray_jobs.outcome import ConfigError
from ray_jobs.store.frozen import read_frozen

FREE = {"kind", "start", "row_tokens", "recompute", "init_std", "rope", "lora", "freeze", "mtp"}
USUAL_ROW = 1024  # tokens of a row where nothing is said and the context is longer


def begun(config: Config) -> Config:
    """Return the configuration with shape and tokenizer of what `model.from` names; as it is where nothing is named.

    Of a run that has begun, what it began with. ConfigError, in one sentence, where something does not fit.
    """
    if config.model.start is None:
        return config
    store = Store.open(config.store)
    origin = read_origin(store, config.name)
    try:
        if origin is not None and origin.named == config.model.start:
            kept = commits.by_name(store, origin.checkpoint)
            return _shaped(config, Checkpoint(store, kept, is_ours=True), brings_tokenizer=origin.brings_tokenizer)
        place = place_of(config.model.start, store)
        return _shaped(config, place, brings_tokenizer=isinstance(place, Folder) or not place.is_ours)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def context_of(config: Config, place: Place) -> tuple[ModelConfig, int | None]:
    """The shape of what a run begins with, and the longest row that it was trained at, where that is known."""
    if isinstance(place, Folder):
        theirs = place.look(config.model).config
        return theirs, theirs.row_tokens
    return place.shape(), None


def _shaped(config: Config, place: Place, *, brings_tokenizer: bool) -> Config:
    theirs, context = context_of(config, place)
    mine, named = config.model, config.model.start
    if theirs.kind != mine.kind:
        raise ConfigError(f"model.kind={mine.kind} differs from {theirs.kind}, which {named} is; leave it out")
    values = theirs.model_dump(mode="json")
    rows = _rows(mine, theirs)
    for key in sorted(mine.model_fields_set - FREE - {*mine.choices} - ({"vocabulary"} if rows else set())):
        if getattr(mine, key) != getattr(theirs, key):
            raise ConfigError(
                f"model.{key}={getattr(mine, key)} differs from {getattr(theirs, key)}, which {named} has; leave it out"
            )
    length = mine.row_tokens if "row_tokens" in mine.model_fields_set else min(theirs.row_tokens, USUAL_ROW)
    if context is not None and length > context and mine.rope is None:
        scaling = f"{{kind: yarn, factor: {-(-length // context)}, original_tokens: {context}}}"
        more = f", or scale its positions: model.rope={scaling}" if mine.kind == "decoder" else ""
        raise ConfigError(
            f"model.row_tokens={length} is longer than the context of {context} that {named} was trained at; use at "
            f"most {context}{more}"
        )
    values |= {"from": named, "row_tokens": length, "recompute": mine.recompute}
    chosen = mine.model_dump(mode="json", include={*mine.choices} & mine.model_fields_set)
    values |= chosen | ({"vocabulary": rows} if rows else {})
    values |= {"rope": mine.rope.model_dump(mode="json")} if mine.rope is not None else {}
    if "mtp" in mine.model_fields_set:  # else as theirs: a checkpoint may have heads, which go on
        values["mtp"] = mine.mtp and mine.mtp.model_dump(mode="json")
    values |= {"lora": mine.lora and mine.lora.model_dump(mode="json"), "freeze": mine.freeze}
    tokenizer = _tokenizer(config, place, rows or theirs.vocabulary, brings_tokenizer=brings_tokenizer)
    found = config.model_copy(update={"model": model_config(values), "tokenizer": tokenizer})
    check(found.model_dump(mode="json"))  # do the parts fit together, now that the shape is known?
    try:
        part_that_trains(found.model, found.model.tokens_of(1))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return found


def _rows(mine: ModelConfig, theirs: ModelConfig) -> int | None:
    """Rows to which the token tables of a decoder are to grow; None: they stay."""
    known, wanted = theirs.vocabulary, mine.vocabulary
    grows = known is not None and wanted is not None and wanted > known and mine.kind == "decoder"
    return wanted if grows else None


def _tokenizer(config: Config, place: Place, rows: int | None, *, brings_tokenizer: bool) -> TokenizerConfig:
    """The tokenizer that comes with the weights; another one would make them worthless. rows: of the token tables."""
    mine = config.tokenizer
    if isinstance(place, Checkpoint) and not brings_tokenizer:  # the store's own, which `open_store` compares
        frozen = read_frozen(place.store)
        is_model = frozen is not None and frozen.tokenizer["kind"] == "model" and "kind" not in mine.model_fields_set
        return mine.model_copy(update={"kind": "model"}) if is_model else mine
    if "kind" in mine.model_fields_set and mine.kind != "model":
        raise ConfigError(
            f"tokenizer.kind={mine.kind} is not the tokenizer that {config.model.start} was trained with; leave it out"
        )
    tokenizer = Tokenizer.from_json(place.tokenizer_json())
    if rows is not None and tokenizer.vocab_size > rows:
        raise ConfigError(
            f"the tokenizer of {config.model.start} has {tokenizer.vocab_size} tokens, its tables have {rows} rows; "
            f"fetch its own tokenizer.json, or let them grow: model.vocabulary={tokenizer.vocab_size}"
        )
    return mine.model_copy(update={"kind": "model"})
