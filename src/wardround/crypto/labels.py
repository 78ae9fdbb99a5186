"""Every domain-separation label of crypto/, auth/ and the key store, in one file (in rosenpass' manner).

A label says what a hash, MAC, key or signature is *for*, so that a value made for one purpose can never be taken for
another. Law: no label is a prefix of another label (tests/crypto/test_crypto_labels.py), so ``label || data`` is
unambiguous even where no length stands between them.

What it does not do: hold the labels of secure aggregation; secagg/labels.py does, all under "wardround secagg/1".
"""

from __future__ import annotations

# --- the handshake (auth/handshake): docs/protocol/handshake.md, section "Symmetric state"
PROTOCOL = b"wardround-auth/1 pqIKpsk "  # followed by the suite's name, hashed into h0 = ck0
DEVICE_ID = b"wardround id"
PSK_EARLY = b"wardround-auth/1 m1 early\x01"
MAC1 = b"wardround-auth/1 mac1"
COOKIE = b"wardround-auth/1 cookie"
EPHEMERAL = b"wardround-auth/1 eph"

# --- the session (auth/session, auth/record)
ROUND0 = b"wardround-auth/1 round0"
RATCHET = b"wardround-auth/1 ratchet"
HEAL = b"wardround-auth/1 heal"
RECORD_UP = b"wardround-auth/1 record up"
RECORD_DOWN = b"wardround-auth/1 record down"
RECEIPT = b"wardround-auth/1 receipt"
BODY = b"wardround-auth/1 sealed body"
COIN = b"wardround-auth/1 coin"  # who of those on probation is invited
BODY_KEY = b"wardround-auth/1 body key"

# --- enrolment (auth/enrolment)
ENROL = b"wardround enrol hpke"  # HPKE info, followed by the federation's id
ENROL_TOKEN = b"wardround enrol token"
ENROL_MAC = b"wardround enrol mac"
ENROL_REPLY = b"wardround enrol reply"
ENROL_MEMBER = b"wardround enrol member"  # a gateway's signing key proves possession of itself

# --- signed objects (auth/credential); at most 255 bytes each, they are ML-DSA contexts
SIGN_ISSUER = b"wardround sign issuer"
SIGN_CREDENTIAL = b"wardround sign credential"
SIGN_DESCRIPTOR = b"wardround sign descriptor"
SIGN_REVOCATION = b"wardround sign revocation"
SIGN_ROSTER = b"wardround sign roster"
SIGN_SIGNERS = b"wardround sign list of signers"
SIGN_AUDIT = b"wardround sign audit"
SIGN_UPDATE = b"wardround sign update"
DESCRIPTOR_HASH = b"wardround hash descriptor"
AUDIT_HASH = b"wardround hash audit"
FEDERATION_HASH = b"wardround hash federation"

# --- primitives with parts of their own
COMPOSITE_SEED = b"wardround composite seed"
KEY_FILE = b"wardround key file"

# --- the research suite (crypto/rlwe): off by default
RLWE_PUBLIC = b"wardround rlwe public"
RLWE_NOISE = b"wardround rlwe noise"
RLWE_EXPAND = b"wardround rlwe expand"
RLWE_HASH = b"wardround rlwe hash"
RLWE_COINS = b"wardround rlwe coins"
RLWE_REJECT = b"wardround rlwe reject"
RLWE_SECRET = b"wardround rlwe secret"
RLWE_HYBRID = b"wardround rlwe hybrid"
