"""Credential, enrolment, handshake, session, record."""
