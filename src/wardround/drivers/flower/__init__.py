"""Flower as the transport: the round's machines as ServerApp and ClientApp (extra ``wardround[flower]``); begin at apps.py."""
