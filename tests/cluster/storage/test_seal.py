"""Is every bit of a sealed text guarded, those of the seal's own name too?"""

import pytest

from cluster.storage.seal import DamagedError, seal, unseal

TEXT = '{"fresh": 3, "reservoir": "526c580d8d45a65a-059cc11ed1f9c616", "name": "Wörter"}'


def test_no_flipped_bit_of_a_sealed_text_is_taken_for_one_of_an_older_version():
    sealed = seal(TEXT, "news", 7).encode()
    assert unseal(sealed.decode(), "a plan", "news", 7) == TEXT
    for place in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises((DamagedError, UnicodeDecodeError)):
            unseal(flipped.decode(), "a plan", "news", 7)


def test_a_text_of_an_older_version_is_taken_as_it_is():
    assert unseal(TEXT, "a plan", "news", 7) == TEXT
    with pytest.raises(DamagedError, match="a plan is damaged: it is no JSON"):
        unseal(TEXT[:-1], "a plan", "news", 7)


def test_what_is_gone_is_damage_with_its_name():
    with pytest.raises(DamagedError, match=r"^a plan is damaged: it is gone$"):
        unseal(None, "a plan", "news", 7)
