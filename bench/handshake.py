"""Handshakes per second and core, bytes on the wire: every suite beside TLS 1.3 and Noise, then many gateways in one process.

    python bench/handshake.py [--handshakes 400] [--gateways 10000] [--suite 2]

All subjects take turns in blocks of 20 inside one run, so a busy machine is unfair to none of them. Times are process CPU time per
side, in ms, median and mean; a server's handshakes per second and core are 1000 / mean. TLS is pyOpenSSL in memory with mutual
certificates (leaf only, no tickets), Noise is ``noiseprotocol``; where they are not installed the result says so (pyOpenSSL 26.4.0,
noiseprotocol 0.3.1). Writes bench/results/handshake.json.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cryptography
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, x25519
from cryptography.x509.oid import NameOID

from wardround.auth.book import RoundToken
from wardround.auth.handshake.gate import Limits
from wardround.auth.in_memory import Seeded, World, world
from wardround.auth.record import Update, open_update, seal_update
from wardround.auth.research import research_suite
from wardround.auth.suites import SUITES, Suite
from wardround.errors import ProtocolError

RESULTS = Path(__file__).parent / "results" / "handshake.json"
BLOCK = 20
# one handshake: (client seconds, server seconds, bytes of each flight)
Subject = Callable[[], tuple[float, float, list[int]]]
cpu = time.process_time


def ours(suite: Suite) -> Subject:
    w = world(1, suite)

    def once() -> tuple[float, float, list[int]]:
        initiator = w.initiator()
        a = cpu()
        m1 = initiator.start(0.0, os.urandom).send or b""
        b = cpu()
        m2 = w.server.receive(m1, b"", 0.0, os.urandom).send or b""
        c = cpu()
        m3 = initiator.receive(m2).send or b""
        d = cpu()
        done = w.server.receive(m3, b"", 0.0, os.urandom).done
        e = cpu()
        assert done is not None
        return b - a + d - c, c - b + e - d, [len(m1), len(m2), len(m3)]

    return once


def noise(pattern: str) -> Subject:
    from noise.connection import Keypair, NoiseConnection

    keys = [x25519.X25519PrivateKey.generate() for _ in range(2)]
    name = f"Noise_{pattern}_25519_ChaChaPoly_SHA256".encode()

    def once() -> tuple[float, float, list[int]]:
        ends = [NoiseConnection.from_name(name) for _ in range(2)]
        ends[0].set_as_initiator()
        ends[1].set_as_responder()
        for end, key in zip(ends, keys, strict=True):
            end.set_keypair_from_private_bytes(Keypair.STATIC, key.private_bytes_raw())
        if pattern == "IK":
            ends[0].set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, keys[1].public_key().public_bytes_raw())
        for end in ends:
            end.start_handshake()
        spent, flights, side = [0.0, 0.0], [], 0
        while not all(end.handshake_finished for end in ends):
            a = cpu()
            data = bytes(ends[side].write_message())
            b = cpu()
            ends[1 - side].read_message(data)
            spent[side] += b - a
            spent[1 - side] += cpu() - b
            flights.append(len(data))
            side = 1 - side
        return spent[0], spent[1], flights

    return once


def tls(make: Callable[[], Any]) -> Subject:
    from OpenSSL import SSL

    authority = make()
    root = _certificate("authority", authority, None, authority)
    contexts = [
        _context(root, key, _certificate(name, key, root.subject, authority))
        for name, key in (("d", make()), ("s", make()))
    ]

    def once() -> tuple[float, float, list[int]]:
        ends = [SSL.Connection(context, None) for context in contexts]
        ends[0].set_connect_state()
        ends[1].set_accept_state()
        spent, flights, finished, side = [0.0, 0.0], [], [False, False], 0
        while not all(finished):
            a = cpu()
            try:
                ends[side].do_handshake()
                finished[side] = True
            except SSL.WantReadError:
                pass
            spent[side] += cpu() - a
            sent = _pump(ends[side], ends[1 - side])
            flights += [sent] if sent else []
            side = 1 - side
        assert ends[0].get_group_name() == "X25519MLKEM768", "TLS did not negotiate the hybrid group"
        assert ends[1].get_peer_certificate() is not None
        return spent[0], spent[1], flights

    return once


def _pump(source: Any, sink: Any) -> int:
    from OpenSSL import SSL

    total = 0
    while True:
        try:
            data = source.bio_read(65536)
        except SSL.WantReadError:
            return total
        sink.bio_write(data)
        total += len(data)


def _certificate(name: str, key: Any, issuer: Any, signer: Any) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
    )
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
    builder = builder.not_valid_after(now + dt.timedelta(days=30))
    return builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True).sign(
        signer, None
    )


def _context(root: x509.Certificate, key: Any, certificate: x509.Certificate) -> Any:
    from OpenSSL import SSL, crypto

    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    pem = serialization.Encoding.PEM
    with tempfile.TemporaryDirectory() as folder:  # pyOpenSSL takes ML-DSA keys from files only
        key_file, certificate_file = Path(folder) / "key", Path(folder) / "certificate"
        key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        certificate_file.write_bytes(certificate.public_bytes(pem))
        context.use_certificate_chain_file(str(certificate_file))
        context.use_privatekey_file(str(key_file))
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(root))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *a: a[-1] == 1)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_mode(0x8)  # SSL_MODE_NO_AUTO_CHAIN: the leaf only, the other end holds the authority
    return context


def subjects() -> tuple[dict[str, Subject], dict[str, str]]:
    """What can be measured here, and why the rest cannot."""
    ready: dict[str, Subject] = {f"wardround-auth {s.name}": ours(s) for s in SUITES.values()}
    ready["wardround-auth RLWE-1024+X25519 (research)"] = ours(research_suite(experimental=True))
    absent: dict[str, str] = {}
    peers: dict[str, Callable[[], Subject]] = {
        "TLS 1.3 X25519MLKEM768, mutual ML-DSA-65": lambda: tls(mldsa.MLDSA65PrivateKey.generate),
        "TLS 1.3 X25519MLKEM768, mutual Ed25519": lambda: tls(ed25519.Ed25519PrivateKey.generate),
        "Noise XX 25519 (classical)": lambda: noise("XX"),
        "Noise IK 25519 (classical)": lambda: noise("IK"),
    }
    for name, make in peers.items():
        try:
            ready[name] = make()
        except ImportError as error:
            absent[name] = str(error)
    return ready, absent


def compare(handshakes: int) -> dict[str, Any]:
    ready, absent = subjects()
    runs: dict[str, list[tuple[float, float, list[int]]]] = {name: [] for name in ready}
    for name, once in ready.items():
        for _ in range(BLOCK):
            runs[name][:] = [once()]  # warm-up, thrown away below
        runs[name].clear()
    for _ in range(-(-handshakes // BLOCK)):
        for name, once in ready.items():
            runs[name] += [once() for _ in range(BLOCK)]
    table: dict[str, Any] = {name: _row(found) for name, found in runs.items()}
    table |= {name: {"absent": why} for name, why in absent.items()}
    return table


def _row(found: list[tuple[float, float, list[int]]]) -> dict[str, Any]:
    client, server = [1e3 * r[0] for r in found], [1e3 * r[1] for r in found]
    flights = found[-1][2]
    return {
        "handshakes": len(found),
        "flights_bytes": flights,
        "bytes": sum(flights),
        "device_ms": {"median": round(statistics.median(client), 4), "mean": round(statistics.mean(client), 4)},
        "server_ms": {"median": round(statistics.median(server), 4), "mean": round(statistics.mean(server), 4)},
        "server_handshakes_per_s_core": round(1e3 / statistics.mean(server)),
    }


def refusals(repeats: int) -> dict[str, float]:
    """Median CPU microseconds until a bad M1 is refused or a cookie is sent (suite 1)."""
    w = world(2, SUITES[1])
    stranger = world(1, SUITES[1], Seeded("stranger")).devices[0]
    good = w.hello(w.initiator())
    unknown = type(stranger)(w.suite, stranger.federation, stranger.key, stranger.psk, w.devices[0].server_public)
    loaded = world(1, SUITES[1], limits=Limits(cookie_above=0))
    cases: dict[str, tuple[World, Callable[[], bytes]]] = {
        "garbage of the right length": (w, lambda: good[:50] + os.urandom(len(good) - 50)),
        "unknown device": (w, lambda: w.hello(w.initiator(unknown))),
        "cookie": (loaded, lambda: loaded.hello(loaded.initiator())),
    }
    out = {}
    for name, (target, make) in cases.items():
        spent = []
        for _ in range(repeats):
            data = make()
            begun = time.perf_counter()
            with contextlib.suppress(ProtocolError):
                target.server.receive(data, b"", 0.0, os.urandom)
            spent.append(1e6 * (time.perf_counter() - begun))
        out[name] = round(statistics.median(spent), 1)
    return out


def sessions(repeats: int) -> dict[str, float]:
    """Median CPU ms of a ratchet step and of records of 1 MB (suite 2)."""
    w = world(1)
    device, server, _ = w.handshake()
    data, model = os.urandom(1 << 20), bytes(32)
    spent: dict[str, list[float]] = {"ratchet_step": [], "seal_1_MB": [], "open_1_MB": []}
    for number in range(2, 2 + repeats):
        a = cpu()
        device.advance(number)
        b = cpu()
        record = seal_update(device, model, Update(data))
        c = cpu()
        server.advance(number)
        d = cpu()
        open_update(server, model, record)
        e = cpu()
        for name, value in zip(spent, (b - a, c - b, e - d), strict=True):
            spent[name].append(1e3 * value)
    return {name: round(statistics.median(values), 5) for name, values in spent.items()}


def many(gateways: int, suite: Suite) -> dict[str, Any]:
    """All gateways authenticate in one round, in memory, and each has one record counted."""
    begun, before = time.perf_counter(), _resident()
    w = world(gateways, suite, token=RoundToken(1, 1))
    made, after_keys = time.perf_counter(), _resident()
    start = cpu()
    for number in range(gateways):
        device, server, _ = w.handshake(number)
        w.book.accept(server.session_id, seal_update(device, bytes(32), Update(b"")))
    spent, wall, after = cpu() - start, time.perf_counter() - made, _resident()
    assert len(w.book) == gateways
    stored = time.perf_counter()
    size = len(w.server.to_bytes())
    thousand = gateways / 1000
    return {
        "suite": suite.name,
        "gateways": gateways,
        "making_keys_s": round(made - begun, 2),
        "cpu_s": round(spent, 2),
        "wall_s": round(wall, 2),
        "cpu_s_per_1000": round(spent / thousand, 3),
        "memory_MB_per_1000_keys": round((after_keys - before) / 1e6 / thousand, 2),
        "memory_MB_per_1000_sessions": round((after - after_keys) / 1e6 / thousand, 2),
        "server_state_bytes_per_1000": round(size / thousand),
        "server_state_to_bytes_s": round(time.perf_counter() - stored, 3),
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), platform.machine()
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "system": platform.system() + " " + platform.release(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--handshakes", type=int, default=400)
    parser.add_argument("--gateways", type=int, default=10_000)
    parser.add_argument("--suite", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    found: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seed": "keys from Seeded('world'); everything else from the operating system",
        "machine": machine(),
        "handshakes": compare(options.handshakes),
        "refusals_us": refusals(200),
        "session_ms": sessions(200),
        "many": many(options.gateways, SUITES[options.suite]),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    for name, row in found["handshakes"].items():
        print(
            f"{name:45s}",
            row.get("absent")
            or f"{row['bytes']:6d} B  device {row['device_ms']['mean']:.3f}  server {row['server_ms']['mean']:.3f} ms  {row['server_handshakes_per_s_core']}/s",
        )
    print(json.dumps({k: found[k] for k in ("refusals_us", "session_ms", "many")}, indent=1))


if __name__ == "__main__":
    main()
