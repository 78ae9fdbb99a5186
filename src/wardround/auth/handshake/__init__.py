"""The three-message handshake (pqIKpsk): symmetric state, message layouts, gate, and one file per role."""
