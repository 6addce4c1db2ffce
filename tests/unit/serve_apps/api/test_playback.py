"""Who may play what, and for how long."""

import dataclasses

from serve_apps.api.playback import LIFETIME_S, Signer


def test_a_proof_opens_one_item_for_an_hour() -> None:
    signer = Signer()
    expires, proof = signer.sign("an_1", 0, 1000.5)
    assert expires == 1000 + LIFETIME_S
    assert signer.is_valid("an_1", 0, expires, proof, expires - 0.1)
    assert not signer.is_valid("an_1", 0, expires, proof, expires)
    assert not signer.is_valid("an_1", 1, expires, proof, 1000)
    assert not signer.is_valid("an_2", 0, expires, proof, 1000)
    assert not signer.is_valid("an_1", 0, expires + 1, proof, 1000)
    assert not signer.is_valid("an_1", 0, expires, "é" * 64, 1000)
    assert not dataclasses.replace(signer, secret=b"another").is_valid("an_1", 0, expires, proof, 1000)
