"""Who may take part: credential, enrolment, handshake, session, records, trust.

Protocol wardround-auth/1, normative in docs/protocol/handshake.md. Every machine is sans-IO: bytes, time and entropy are
arguments, the answer is a ``Step``, and its state goes to bytes and back.
"""
