"""Why is a record not trained on? Every reason that the house itself gives, with its fate and meaning: one table.

A rule of curation brings its own reason (its name) and meaning (`data_ops.curation.reasons` puts both together). A
reason is written into the lake and never renamed.
"""

from typing import Literal, NamedTuple

Fate = Literal["quarantined", "dropped", "shed", "skipped"]


class Reason(NamedTuple):
    """What became of a record for this reason, and what the reason means to a person."""

    fate: Fate
    meaning: str


REASONS = {
    "bad_json": Reason("quarantined", "the line is not JSON"),
    "not_an_object": Reason("quarantined", "the JSON is not an object"),
    "bad_utf8": Reason("quarantined", "the bytes are not UTF-8, or the text holds half a surrogate pair"),
    "missing_text": Reason("quarantined", "the text field is missing or null"),
    "wrong_type": Reason("quarantined", "the text field is not a string"),
    "oversized": Reason("quarantined", "the record is longer than max_record_bytes"),
    "nul_bytes": Reason("quarantined", "the line holds NUL bytes, as a crash of its writer leaves them"),
    "too_deep": Reason("quarantined", "the JSON is nested too deeply"),
    "torn_gzip": Reason("quarantined", "the gzip stream is damaged here, or its checksum is wrong"),
    "torn_zstd": Reason("quarantined", "the Zstandard stream is damaged here, or its checksum is wrong"),
    "torn_bzip2": Reason("quarantined", "the bzip2 stream is damaged here"),
    "torn_xz": Reason("quarantined", "the xz stream is damaged here, or its checksum is wrong"),
    "over_limit": Reason("quarantined", "reading on would take more than a setting allows; the sample names it"),
    "bad_row": Reason("quarantined", "the row has more or fewer fields than the header"),
    "duplicate_column": Reason("quarantined", "several columns have the name of the text"),
    "kills_reader": Reason("quarantined", "the reader fails on this record; the sample says how"),
    "bad_parquet": Reason("quarantined", "the Parquet file, or these rows of it, cannot be read"),
    "bad_arrow": Reason("quarantined", "the Arrow file, or these rows of it, cannot be read"),
    "changed_before_read": Reason("quarantined", "the file or log changed or went after its records were planned"),
    "unreadable": Reason("quarantined", "the file may not be read, or is no file any more"),
    "missing_messages": Reason("quarantined", "the record has neither messages nor a prompt with its completion"),
    "bad_message": Reason("quarantined", "a message is none that can be trained; the sample says which, and why"),
    "unknown_role": Reason("quarantined", "a message is of a role that is none of system, user, assistant and tool"),
    "no_answer": Reason("quarantined", "no message of the conversation is the assistant's, or one of those is empty"),
    "special_token": Reason("quarantined", "a message spells a special token, and could speak in another's name"),
    "template_refuses": Reason("quarantined", "the chat template does not take these messages; the sample says why"),
    "unclear_answer": Reason("quarantined", "which tokens are of an answer is not certain; the sample says where"),
    "turns_changed": Reason("quarantined", "a rule has taken away the beginning of a message"),
    "long_conversation": Reason("quarantined", "the conversation has more tokens than max_tokens, or a row, takes"),
    "bad_notification": Reason("quarantined", "no notification of S3, but a message of its queue, whose id this is"),
    "no_schema_id": Reason("quarantined", "the value does not begin with a zero byte and the id of a schema"),
    "unknown_schema": Reason("quarantined", "the registry has no schema of this id, or none that is read"),
    "bad_avro": Reason("quarantined", "the value is not what its Avro schema says"),
    "bad_protobuf": Reason("quarantined", "the value is not what its Protobuf schema says"),
    "source_removed": Reason("quarantined", "its source is no longer in the configuration"),
    "tombstone": Reason("dropped", "a message without a value, by which a log says that its key is deleted"),
    "no_record": Reason(
        "dropped",
        "a place without a record: a marker, an aborted or compacted message, a row deleted before it was read",
    ),
    "empty": Reason("dropped", "nothing is left of the text once it is normalised"),
    "forgotten": Reason("dropped", "the text was forgotten on request and must never come again"),
    "shed": Reason(
        "shed", "more fresh text waited than round.max_backlog_tokens allows, or the mixture has removed its source"
    ),
    "skipped": Reason("skipped", "the update of its step was skipped: loss or gradient not finite, or a spike"),
}
#: What a source says of a place in its log that holds no document.
ABSENT = ("tombstone", "no_record")
#: Why a record is quarantined instead of read.
QUARANTINE = {name: reason.meaning for name, reason in REASONS.items() if reason.fate == "quarantined"}
