"""Do conversations of a source reach the lake with the answers alone to be learnt, and is what is unfit told?"""

import json
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.runtime.actors import Local
from data_ops.conversations.template import default_template
from data_ops.curation.config import CurateConfig
from data_ops.documents.tokenizer import byte_tokenizer
from data_ops.ingest import pipeline
from data_ops.ingest.config import IngestSettings, WindowConfig
from data_ops.sources.kinds import FilesConfig, open_source

TOKENIZER = byte_tokenizer()
QUESTION, ANSWER = "What does a headrace do for the wheel?", "It brings the water from the reservoir."


def said(*contents, **others):
    roles = ("user", "assistant") * len(contents)
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    return {"messages": messages, **others}


def rows_of(path, curate=None, **config):
    """The rows of a file, as a task of ingest gives them."""
    source = FilesConfig(path=str(path), **{"objective": "instruct", "settle": 0, **config})
    rules = CurateConfig(**(curate or {"rules": ["too_short"]}))
    chat = default_template(TOKENIZER)
    settings = IngestSettings({"chat": source}, WindowConfig(), rules, 0, 0.0, chat)
    (span,) = open_source("chat", source).discover({}, 999).spans
    seen = Local(SimpleNamespace(look=lambda window, ids, sketches: pa.nulls(len(ids), pa.string())))
    batch = pa.Table.from_pylist([{"piece": 0, "source": "chat", "span": json.dumps(span.__dict__)}])
    found = pipeline._read_spans(batch, settings, TOKENIZER.to_json(), seen, 0, time.time())
    return pa.concat_tables(found).to_pylist()


def ingested(tmp_path, *records, **config):
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in records))
    return rows_of(path, **config)


def learnt(row):
    return TOKENIZER.decode([token for token in row["tokens"] if token >= 0])


def whole(row):
    ids = np.array(row["tokens"])
    return TOKENIZER.decode(np.where(ids < 0, ~ids, ids))


@pytest.mark.parametrize(
    "record",
    [
        said(QUESTION, ANSWER),
        {"prompt": QUESTION, "completion": ANSWER},
        {"prompt": said(QUESTION)["messages"], "completion": [{"role": "assistant", "content": ANSWER}]},
        {"messages": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
        {"messages": json.dumps(said(QUESTION, ANSWER)["messages"])},
    ],
)
def test_every_form_of_a_conversation_becomes_the_same_document(tmp_path, record):
    (row,) = ingested(tmp_path, record)
    assert (row["fate"], row["text"]) == ("kept", f"▶ {QUESTION}\n◀ {ANSWER}")
    assert learnt(row) == ANSWER and row["num_bytes"] == len(ANSWER)
    assert whole(row) == f"User:\n{QUESTION}\n\nAssistant:\n{ANSWER}\n\n"
    assert row["tokens"][-3] == TOKENIZER.document_token, "that an answer ends is learnt"


def test_fields_may_have_any_name_and_a_table_may_hold_questions_and_answers(tmp_path):
    (row,) = ingested(tmp_path, {"said": {"all": said(QUESTION, ANSWER)["messages"]}}, messages="said.all")
    assert learnt(row) == ANSWER
    (row,) = ingested(tmp_path, f"q,a\n{QUESTION},{ANSWER}\n", prompt="q", completion="a", format="csv")
    assert learnt(row) == ANSWER and row["id"] is not None


def test_parquet_holds_lists_of_messages_or_columns_of_questions_and_answers(tmp_path):
    path = tmp_path / "chat.parquet"
    messages = [{**message, "tool_calls": None, "weight": None} for message in said(QUESTION, ANSWER)["messages"]]
    days = pa.array([20000, 20001], pa.date32())
    pq.write_table(pa.table({"messages": [messages, None], "prompt": [None, QUESTION], "day": days}), path)
    first, second = rows_of(path, time="day")
    assert learnt(first) == ANSWER and first["event_time"].isoformat() == "2024-10-04T00:00:00+00:00"
    assert (second["fate"], second["reason"]) == ("quarantined", "missing_messages")
    pq.write_table(pa.table({"q": [QUESTION], "a": [ANSWER], "messages": ["no list"]}), path)
    assert [row["reason"] for row in rows_of(path)] == ["bad_message"]
    pq.write_table(pa.table({"q": [QUESTION], "a": [ANSWER]}), path)
    assert learnt(*rows_of(path, prompt="q", completion="a")) == ANSWER


UNFIT = {
    "missing_messages": {"text": QUESTION},
    "bad_message": {"messages": ["hello"]},
    "unknown_role": {"messages": [{"role": "critic", "content": QUESTION}]},
    "no_answer": said(QUESTION),
    "special_token": said(QUESTION, "It says <|document|> and more."),
    "bad_json": '{"messages": [\n',
    "not_an_object": "[1, 2]\n",
    "bad_utf8": '{"messages": [{"role": "user", "content": "\\ud800"}]}\n',
    "long_conversation": said(QUESTION, ANSWER * 40),
}


def test_what_is_unfit_is_quarantined_with_its_place_and_reason_and_the_rest_is_kept(tmp_path):
    good = said(QUESTION, ANSWER)
    rows = ingested(tmp_path, good, *UNFIT.values(), said(ANSWER, QUESTION), max_tokens=500)
    assert [row["offset"] for row in rows] == list(range(len(UNFIT) + 2))
    assert rows[0]["fate"] == rows[-1]["fate"] == "kept"
    assert {(row["fate"], row["reason"]) for row in rows[1:-1]} == {("quarantined", reason) for reason in UNFIT}
    assert [row["reason"] for row in rows[1:-1]] == list(UNFIT)
    for row in rows[1:-1]:
        assert row["id"] is None and row["tokens"] is None and row["text"], row


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "are empty, not a list"),
        ("no json", "a text that is no JSON"),
        ([{"role": "user", "content": None}], "message 0 has nothing as its content"),
        ([{"role": "user", "content": [{"type": "image"}]}], "message 0 has a part that is no text"),
        ([{"role": "assistant", "content": "", "tool_calls": [1]}], "message 0 calls tools"),
        ([{"role": "assistant", "content": "a", "weight": 0}], "message 0 has a weight of its own"),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": " \n "}],
            "message 1, an answer, is empty",
        ),
        ([{"role": "critic", "content": "a"}], "message 0 has role critic, which is none of system"),
    ],
)
def test_the_sample_of_a_quarantined_conversation_says_what_is_wrong_with_it(tmp_path, messages, words):
    (row,) = ingested(tmp_path, {"messages": messages})
    assert row["fate"] == "quarantined" and words in row["text"]


def test_a_rule_that_takes_the_beginning_of_a_message_away_costs_the_conversation(tmp_path):
    record = said("Short?\nIt was.", " ".join([ANSWER] * 6), "And a question that ends in a mark of one?", ANSWER)
    (row,) = ingested(tmp_path, record, curate={"rules": ["c4"]})
    assert (row["fate"], row["reason"]) == ("quarantined", "turns_changed")


def test_what_a_rule_rewrites_is_what_is_learnt(tmp_path):
    pytest.importorskip("re2")
    record = said(QUESTION, f"{ANSWER} Write to miller@example.org for more.")
    (row,) = ingested(tmp_path, record, curate={"rules": ["personal_data"]})
    assert "miller" not in whole(row) and ANSWER in learnt(row)
    assert row["num_bytes"] == len(learnt(row).encode())
