"""Do spans of a log follow one another whatever its broker trims, cuts off or creates again?"""

from hypothesis import given
from hypothesis import strategies as st

from data_ops.sources.kafka.logs import PIECE_RECORDS, Log, Lost, Reached, Start, shares_of, spans_of, start_of


@given(st.lists(st.integers(0, 50)), st.integers(0, 200))
def test_shares_are_even_and_nothing_is_left_over_while_something_waits(waiting, most):
    shares = shares_of(waiting, most)
    assert sum(shares) == min(most, sum(waiting))
    assert all(0 <= share <= there for share, there in zip(shares, waiting, strict=True))
    cut = [share for share, there in zip(shares, waiting, strict=True) if share < there]
    assert not cut or max(shares) - min(cut) <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.booleans(), st.integers(0, 40)), max_size=20))
def test_places_are_numbered_without_gap_whatever_happens_to_the_log(steps):
    """Each step trims, appends, or creates the topic anew, and plans some records of what there is."""
    begin = end = 0
    life, known, number = 0, None, 0
    for trimmed, appended, anew, most in steps:
        if anew:
            begin = end = 0
            life += 1
        end += appended
        begin = min(end, begin + trimmed)
        spans, after = spans_of({"t/0": start_of(known, Log(str(life), begin, end))}, most, 0.0)
        before, known = known, after["t/0"]
        for span in spans:
            assert span.first_record == number
            if span.loss:
                assert before is not None and span.num_records == 0 and span.start == before.next_offset
                assert span.end == (begin if span.loss == "trimmed" else before.end)
            else:
                assert begin <= span.start < span.end <= end and span.mark == str(life)
                assert 0 < span.num_records == span.end - span.start <= PIECE_RECORDS
            number += span.num_records
        assert known.num_records == number and known.next_offset <= known.end == end
        assert known.next_offset == end or sum(span.num_records for span in spans) == most


def test_a_log_that_was_trimmed_below_our_offset_is_a_loss_with_its_count():
    place = start_of(Reached("a", 10, 7, 20), Log("a", 15, 30))
    assert place == Start(Reached("a", 15, 7, 30), Lost("trimmed", 10, 15))
    loss, span = spans_of({"t/0": place}, 4, 1.0)[0]
    assert (loss.num_records, loss.start, loss.end, loss.loss, loss.first_record) == (0, 10, 15, "trimmed", 7)
    assert (span.start, span.end, span.first_record, span.loss) == (15, 19, 7, "")


def test_a_topic_that_was_created_again_is_known_by_its_id_also_where_its_log_is_longer_than_before():
    known = Reached("a", 10, 10, 12)
    assert start_of(known, Log("b", 0, 50)).loss == Lost("created_again", 10, 12)
    assert start_of(known, Log("b", 0, 50)).entry == Reached("b", 0, 10, 50)
    assert start_of(known, Log("a", 0, 50)).loss is None


def test_without_ids_a_log_that_ends_before_our_offset_was_created_again():
    assert start_of(Reached("", 10, 10, 10), Log("", 0, 4)) == Start(
        Reached("", 0, 10, 4), Lost("created_again", 10, 10)
    )
    assert start_of(Reached("", 10, 10, 10), Log("", 0, 40)).loss is None
    told_now = start_of(Reached("", 10, 10, 10), Log("b", 0, 40))
    assert told_now == Start(Reached("b", 10, 10, 40), None), "its id is known from now on"
    assert start_of(Reached("a", 10, 10, 10), Log("", 0, 40)).entry.topic_id == "a", "and stays known"


def test_a_log_of_the_same_topic_that_ends_before_our_offset_was_cut_off():
    assert start_of(Reached("a", 10, 10, 10), Log("a", 0, 4)) == Start(Reached("a", 4, 10, 4), Lost("cut_off", 4, 4))


def test_a_partition_that_is_new_begins_where_its_log_begins():
    assert start_of(None, Log("a", 5, 9)) == Start(Reached("a", 5, 0, 9), None)


def test_a_long_stretch_is_cut_so_that_several_workers_can_read_it():
    spans, _ = spans_of({"t/0": start_of(None, Log("", 0, 12_000))}, 10**6, 0.0)
    assert [(s.start, s.num_records) for s in spans] == [(0, 5000), (5000, 5000), (10_000, 2000)]
