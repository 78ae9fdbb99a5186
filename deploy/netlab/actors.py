"""The devices of the namespace lab: plain sockets on real TCP stacks, standard library only.

    python actors.py serve | monitor | pump | flood-connect | malformed   (inside a namespace; SERVER below)

Run by netlab.py. Nothing here is part of the product.
"""

from __future__ import annotations

import http.server
import itertools
import random
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Callable

SERVER = "10.77.0.10"
MLLP, MODBUS, HTTP, MQTT = 2575, 502, 80, 1883


class Mllp(socketserver.StreamRequestHandler):
    """HL7 over MLLP: every message is acknowledged."""

    def handle(self) -> None:
        block = b""
        while data := self.request.recv(4096):
            block += data
            while b"\x1c\r" in block:
                _, _, block = block.partition(b"\x1c\r")
                self.request.sendall(b"\x0bMSH|^~\\&|EMR|H|MON|W|2026||ACK^R01|1|P|2.5\rMSA|AA|1\r\x1c\r")


class Modbus(socketserver.StreamRequestHandler):
    """Modbus/TCP: reads of holding registers are answered with zeros."""

    def handle(self) -> None:
        while len(head := self.rfile.read(7)) == 7:
            number, _, length, unit = struct.unpack(">HHHB", head)
            body = self.rfile.read(length - 1)
            count = struct.unpack(">H", body[3:5])[0] if len(body) >= 5 else 1
            answer = struct.pack(">BB", body[0], 2 * count) + bytes(2 * count)
            self.wfile.write(struct.pack(">HHHB", number, 0, len(answer) + 1, unit) + answer)


class Web(http.server.BaseHTTPRequestHandler):
    """A pump's status page."""

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        body = b'{"rate":12.5,"volume":101,"state":"RUN"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve() -> None:
    """All servers but those that are tools of their own (broker, image archive, CoAP)."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    for port, handler in ((MLLP, Mllp), (MODBUS, Modbus)):
        threading.Thread(target=socketserver.ThreadingTCPServer(("", port), handler).serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("", HTTP), Web).serve_forever()


def monitor() -> None:
    """A bedside monitor: one HL7 result a second."""
    link = socket.create_connection((SERVER, MLLP))
    for number in itertools.count():
        values = "".join(
            f"OBX|{i}|NM|{n}||{random.gauss(80, 5):.1f}|||||F\r" for i, n in enumerate(("HR", "SPO2", "RR"))
        )
        link.sendall(f"\x0bMSH|^~\\&|MON|ICU|EMR|H|2026||ORU^R01|{number}|P|2.5\rPID|1||BED7\r{values}\x1c\r".encode())
        link.recv(4096)
        time.sleep(random.uniform(0.8, 1.2))


def pump() -> None:
    """An infusion pump: read over Modbus twice a second, its page once in three."""
    link = socket.create_connection((SERVER, MODBUS))
    for number in itertools.count():
        link.sendall(struct.pack(">HHHBBHH", number & 0xFFFF, 0, 6, 1, 3, 0, 10))
        link.recv(300)
        if number % 6 == 0:
            urllib.request.urlopen(f"http://{SERVER}/status", timeout=5).read()  # noqa: S310 - our own server
        time.sleep(random.uniform(0.4, 0.6))


def _connect(client: bytes) -> bytes:
    body = b"\0\4MQTT\4\2\0\x3c" + struct.pack(">H", len(client)) + client
    return bytes([0x10, len(body)]) + body


def _repeat(act: Callable[[int], None], pause_s: float) -> None:
    for number in itertools.count():
        try:
            act(number)
        except OSError:
            pass
        time.sleep(pause_s)


def flood_connect() -> None:
    """MQTT sessions opened and dropped."""

    def act(number: int) -> None:
        with socket.create_connection((SERVER, MQTT), timeout=2) as link:
            link.sendall(_connect(b"c%d" % number))
            link.recv(4)

    _repeat(act, 0.005)


def malformed() -> None:
    """MQTT packets the broker must refuse."""
    broken = (
        b"\xf0\x05abcde",
        b"\x10\xff\xff\xff\xff" + bytes(30),
        b"\x36\x10\x00\xff" + bytes(14),
        b"\x00\x08" + bytes(8),
    )

    def act(number: int) -> None:
        with socket.create_connection((SERVER, MQTT), timeout=2) as link:
            if number % 2:
                link.sendall(_connect(b"m%d" % number))
                link.recv(4)
            link.sendall(broken[number % len(broken)])
            link.settimeout(0.2)
            link.recv(4)

    _repeat(act, 0.05)


if __name__ == "__main__":
    {
        "serve": serve,
        "monitor": monitor,
        "pump": pump,
        "flood-connect": flood_connect,
        "malformed": malformed,
    }[sys.argv[1]]()
