"""The namespace lab: real tools attack real servers, ``wardround watch`` looks on. Needs root; all traffic stays inside.

    python deploy/netlab/netlab.py --model runs/ID/model/model.safetensors [--calm 600] [--json FILE]

Six hosts and a sensor hang on one bridge in a network namespace of its own that floods every frame (a hub), so the sensor sees
all. No interface of the machine takes part, and everything is taken down at the end. Steps: a calm time that the detector
learns from (``wardround calibrate``), then each attack once with a rest after it. Written: when each was found, and by what.

Tools: mosquitto, dcmtk, libcoap, nmap, hping3, slowhttptest, arpspoof (dsniff). Not a test of the product's own generator: the
model was trained on that; these packets come from programs it has never seen.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOOLS = "ip ethtool mosquitto mosquitto_pub nmap hping3 slowhttptest arpspoof storescp storescu dump2dcm coap-client-notls coap-server-notls"
HOSTS = {"srv": 10, "mon": 11, "pump": 12, "mri": 13, "wear": 14, "tab": 15, "sen": 250}
SERVER = "10.77.0.10"
PREFIX = "wrnet"
POLICY = """
[detector]
false_alarm_rate = {rate:.3f}
[incidents]
quiet_s = 15
reopen_s = 0
"""
"""A short lab cannot count rare alarms: a rate that its calm windows can tell, and incidents that close at once."""
MODEL_SHARE, ENOUGH, WINDOW_S = 0.3, 12, 5


@dataclass
class Attack:
    """``command`` runs for ``seconds`` in host ``at``; ``victims``: hosts besides it that an incident may name."""

    name: str
    family: str
    command: list[str]
    at: str = "tab"
    seconds: float = 15.0
    victims: tuple[str, ...] = ("srv",)
    started: float = 0.0
    ended: float = 0.0
    told: list[dict[str, Any]] = field(default_factory=list)


def attacks(python: str) -> list[Attack]:
    """Each family of CICIoMT2024, and slow HTTP, as real programs do them."""
    everyone = tuple(h for h in HOSTS if h != "sen")
    actor = [python, str(HERE / "actors.py")]
    hping = ["hping3", "-q", "-i", "u2000"]
    return [
        Attack("ping sweep", "Recon", ["nmap", "-sn", "-n", "--max-rate", "20", "10.77.0.0/24"], victims=everyone),
        Attack("port scan", "Recon", ["nmap", "-sS", "-n", "-Pn", "-p1-2000", "--max-rate", "150", SERVER]),
        Attack("OS scan", "Recon", ["nmap", "-O", "-n", "-Pn", "-p22,80,502,1883", "--osscan-guess", SERVER]),
        Attack("vulnerability scan", "Recon", ["nmap", "-sV", "-n", "-Pn", "-p80,502,1883,2575,11112", SERVER]),
        Attack("SYN flood", "DoS", [*hping, "-S", "-p", "80", SERVER]),
        Attack("TCP flood", "DoS", [*hping, "-A", "-p", "1883", "-d", "120", SERVER]),
        Attack("UDP flood", "DoS", [*hping, "--udp", "-p", "5683", "-d", "64", SERVER]),
        Attack("ICMP flood", "DoS", [*hping, "-1", SERVER]),
        Attack("SYN flood, forged sources", "DDoS", [*hping, "-S", "-p", "80", "--rand-source", SERVER]),
        Attack("MQTT connect flood", "MQTT", [*actor, "flood-connect"]),
        Attack(
            "MQTT publish flood",
            "MQTT",
            ["sh", "-c", f"while :; do echo '{{\"hr\":71}}'; sleep 0.003; done | mosquitto_pub -h {SERVER} -t w/x -l"],
        ),
        Attack("MQTT malformed", "MQTT", [*actor, "malformed"]),
        Attack(
            "ARP spoofing", "Spoofing", ["arpspoof", "-i", "eth0", "-t", "10.77.0.11", SERVER], victims=("mon", "srv")
        ),
        Attack(
            "slow HTTP",
            "DoS",
            ["slowhttptest", "-c", "100", "-H", "-i", "2", "-r", "50", "-u", f"http://{SERVER}/", "-l", "15"],
        ),
    ]


class Net:
    """The namespaces; processes started in them end with it."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Net:
        self.__exit__()
        switch = f"{PREFIX}-sw"
        _sh("ip", "netns", "add", switch)
        _in(switch, "ip", "link", "add", "br0", "type", "bridge", "ageing_time", "0", "mcast_snooping", "0")
        _in(switch, "ip", "link", "set", "br0", "up")
        for host, last in HOSTS.items():
            space, cable = f"{PREFIX}-{host}", f"wr{host}"
            _sh("ip", "netns", "add", space)
            _in(switch, "ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            _in(space, "ip", "addr", "add", f"10.77.0.{last}/24", "dev", "eth0")
            for name in ("lo", "eth0"):
                _in(space, "ip", "link", "set", name, "up")
            _in(space, "ethtool", "-K", "eth0", "tx", "off", "gso", "off", "tso", "off", "gro", "off")
            _in(switch, "ip", "link", "set", cable, "master", "br0")
            _in(switch, "ip", "link", "set", cable, "up")
            _in(switch, "bridge", "link", "set", "dev", cable, "learning", "off", "flood", "on")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            end(process)
        self.running = []
        for host in (*HOSTS, "sw"):
            subprocess.run(["ip", "netns", "del", f"{PREFIX}-{host}"], capture_output=True, check=False)

    def start(self, host: str, *command: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """A process of its own group in a host's namespace."""
        with contextlib.ExitStack() as stack:
            out: Any = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
            process = subprocess.Popen(
                ["ip", "netns", "exec", f"{PREFIX}-{host}", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if log else subprocess.DEVNULL,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def mac(self, host: str) -> str:
        """Its address on the wire."""
        found = _in(f"{PREFIX}-{host}", "cat", "/sys/class/net/eth0/address")
        return found.strip()


def end(process: subprocess.Popen[bytes], signal_: int = signal.SIGTERM, wait_s: float = 3.0) -> None:
    """Stop a process and its children (its own group alone)."""
    for number in (signal_, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
            return


def _sh(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _in(space: str, *command: str) -> str:
    return _sh("ip", "netns", "exec", space, *command)


def benign(net: Net, work: Path, python: str) -> None:
    """Everyday life: servers, a monitor, a pump, wearables, a sensor, images."""
    (work / "mosquitto.conf").write_text(
        "listener 1883 0.0.0.0\nallow_anonymous true\nuser root\npersistence false\nlog_dest none\n"
    )
    (work / "images").mkdir()
    actor = (python, str(HERE / "actors.py"))
    net.start("srv", "mosquitto", "-c", str(work / "mosquitto.conf"))
    net.start("srv", *actor, "serve")
    net.start("srv", "storescp", "-od", str(work / "images"), "11112")
    net.start("srv", "coap-server-notls", "-A", SERVER)
    time.sleep(1.5)
    net.start("mon", *actor, "monitor")
    net.start("pump", *actor, "pump")
    for number, gap in ((1, 1.0), (2, 0.6)):
        line = f'while :; do echo \'{{"hr":70,"n":{number}}}\'; sleep {gap}; done | mosquitto_pub -h {SERVER} -t w/{number} -l -q {number % 2}'
        net.start("wear", "sh", "-c", line)
    net.start("wear", "sh", "-c", f"while :; do coap-client-notls -B 2 -m get coap://{SERVER}/time; sleep 5; done")
    image = _image(work)
    net.start("mri", "sh", "-c", f"while :; do storescu {SERVER} 11112 {image}; sleep 20; done")
    net.start(
        "tab",
        "sh",
        "-c",
        f"while :; do nc -z -w1 {SERVER} 80 2>/dev/null; {python} -c \"import urllib.request as u; u.urlopen('http://{SERVER}/').read()\"; sleep 7; done",
    )


def _image(work: Path) -> Path:
    """A secondary capture image of noise, 512 x 512."""
    (work / "pixels").write_bytes(os.urandom(512 * 512))
    dump = (
        "(0008,0016) UI =SecondaryCaptureImageStorage\n(0008,0018) UI [1.2.276.0.7230010.3.1.4.1]\n"
        "(0010,0010) PN [LAB]\n(0010,0020) LO [1]\n(0020,000d) UI [1.2.276.0.7230010.3.1.2.1]\n"
        "(0020,000e) UI [1.2.276.0.7230010.3.1.3.1]\n(0008,0060) CS [OT]\n(0028,0002) US 1\n(0028,0004) CS [MONOCHROME2]\n"
        "(0028,0010) US 512\n(0028,0011) US 512\n(0028,0100) US 8\n(0028,0101) US 8\n(0028,0102) US 7\n(0028,0103) US 0\n"
        f"(7fe0,0010) OB ={work / 'pixels'}\n"
    )
    (work / "image.dump").write_text(dump)
    _sh("dump2dcm", "+te", str(work / "image.dump"), str(work / "image.dcm"))
    return work / "image.dcm"


class Alerts:
    """Lines of the detector's alert file as they appear, each with the wall clock of its reading."""

    def __init__(self, path: Path) -> None:
        self.path, self._at = path, 0

    def new(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                record = json.loads(line)["fl_ids"]
                if record["kind"] in ("opened", "reopened", "changed"):
                    yield {
                        "at": time.time(),
                        "device": record["device"]["name"],
                        "address": record["device"]["address"],
                        "detector": record["detector"],
                        "peers": record["peers"],
                    }


def wait(seconds: float, alerts: Alerts, into: list[dict[str, Any]], watcher: subprocess.Popen[bytes]) -> None:
    """Let time pass and take in alerts.

    Raises:
        RuntimeError: the detector ended.
    """
    until = time.time() + seconds
    while time.time() < until:
        if watcher.poll() is not None:
            raise RuntimeError(f"wardround watch ended with status {watcher.returncode}")
        into.extend(alerts.new())
        time.sleep(0.1)


def watch(net: Net, work: Path, wardround: str, model: Path) -> subprocess.Popen[bytes]:
    """``wardround watch`` on the sensor's interface."""
    command = [
        wardround,
        "watch",
        "--iface",
        "eth0",
        "--site",
        str(work / "site"),
        "--policy",
        str(work / "policy.toml"),
    ]
    shelf = work / "site" / "netlab.put"
    if not shelf.exists():
        (work / "site").mkdir(mode=0o700, exist_ok=True)
        shelf.touch()
        command += ["--model", str(model)]
    return net.start("sen", *command, log=work / "watch.log")


def trial(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Calm, calibration, a second calm time, attacks; the result."""
    windows = options.calm / WINDOW_S * (len(HOSTS) - 1)
    policy = POLICY.format(rate=min(0.2, max(0.02, ENOUGH / (MODEL_SHARE * windows))))
    (work / "policy.toml").write_text(policy)
    python, plan = sys.executable, attacks(sys.executable)
    quiet: list[dict[str, Any]] = []
    with Net() as net:
        macs = {host: net.mac(host) for host in HOSTS}
        benign(net, work, python)
        watcher = watch(net, work, options.wardround, options.model)
        alerts = Alerts(work / "site" / "alerts.jsonl")
        wait(options.calm, alerts, [], watcher)
        end(watcher, signal.SIGTERM, 20)
        site = ["--site", str(work / "site"), "--policy", str(work / "policy.toml")]
        expected = label_calm(options.wardround, work / "site")
        calibrated = subprocess.run(
            [options.wardround, "calibrate", *site], capture_output=True, text=True, check=False
        )
        list(alerts.new())
        watcher = watch(net, work, options.wardround, options.model)
        time.sleep(3)
        wait(0.3 * options.calm, alerts, quiet, watcher)
        for attack in plan:
            attack.started = time.time()
            process = net.start(attack.at, *attack.command, log=work / f"{attack.name.replace(' ', '-')}.log")
            wait(min(attack.seconds, options.attack), alerts, attack.told, watcher)
            end(process, signal.SIGINT)
            attack.ended = time.time()
            wait(options.rest, alerts, attack.told, watcher)
        end(watcher, signal.SIGTERM, 20)
    return _result(options, plan, quiet, macs, calibrated) | {"policy": policy, "labelled_expected": expected}


def label_calm(wardround: str, site: Path) -> int:
    """An operator's work: what came up in the calm time is called expected, so that it counts as normal. How many."""
    listed = subprocess.run(
        [wardround, "incidents", "list", "--site", str(site), "--json"], capture_output=True, text=True, check=True
    )
    numbers = [record["fl_ids"]["incident_id"].rsplit("-", 1)[-1] for record in json.loads(listed.stdout)]
    for number in numbers:
        _sh(wardround, "incidents", "label", number, "expected", "--site", str(site))
    return len(numbers)


def _result(
    options: argparse.Namespace,
    plan: list[Attack],
    quiet: list[dict[str, Any]],
    macs: dict[str, str],
    calibrated: subprocess.CompletedProcess[str],
) -> dict[str, Any]:
    rows = []
    for attack in plan:
        names = {macs[h] for h in (attack.at, *attack.victims)} | {
            f"10.77.0.{HOSTS[h]}" for h in (attack.at, *attack.victims)
        }
        mine = [t for t in attack.told if {t["device"], t["address"], *t["peers"]} & names]
        found = (
            {"delay_s": round(mine[0]["at"] - attack.started, 2), "by": mine[0]["detector"]}
            if mine
            else {"delay_s": None, "by": ""}
        )
        others = len(attack.told) - len(mine)
        rows.append(
            {"name": attack.name, "family": attack.family, **found, "incidents": len(mine), "about_others": others}
        )
    days = 0.3 * options.calm * (len(HOSTS) - 1) / 86400
    return {
        "attacks": rows,
        "found": sum(row["delay_s"] is not None for row in rows),
        "within_10_s": sum(row["delay_s"] is not None and row["delay_s"] <= 10 for row in rows),
        "calm_s": options.calm,
        "calm_watch": {"seconds": 0.3 * options.calm, "device_days": days, "incidents": quiet},
        "calibrated": calibrated.stdout.splitlines()[-6:] if calibrated.returncode == 0 else calibrated.stderr.strip(),
        "kernel": os.uname().release,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", type=Path, required=True, help="model.safetensors of a run on the lab")
    parser.add_argument("--wardround", default=str(Path(sys.executable).with_name("wardround")))
    parser.add_argument("--calm", type=float, default=600.0, help="seconds of calm to learn from")
    parser.add_argument("--attack", type=float, default=15.0, help="seconds that an attack lasts at most")
    parser.add_argument("--rest", type=float, default=30.0, help="seconds after each attack")
    parser.add_argument("--json", type=Path, help="where the result goes")
    parser.add_argument("--keep", type=Path, help="folder for logs, kept")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS.split() if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        sys.exit(
            f"netlab needs root{' and the tools ' + ', '.join(missing) if missing else ''}: see deploy/netlab/README.md"
        )
    options.model = options.model.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the namespaces are taken down
    with tempfile.TemporaryDirectory() as folder:
        work = options.keep.resolve() if options.keep else Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        found = trial(options, work)
    for row in found["attacks"]:
        delay = "not found" if row["delay_s"] is None else f"{row['delay_s']:6.1f} s  {row['by']}"
        print(f"{row['name']:28} {delay}")
    print(
        f"found {found['found']} of {len(found['attacks'])}, {found['within_10_s']} within 10 s; "
        f"{len(found['calm_watch']['incidents'])} incidents in {found['calm_watch']['device_days']:.3f} calm device-days"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
