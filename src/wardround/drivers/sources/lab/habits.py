"""What a ward's devices do all day: one function per kind of device, and the services that all of them use.

Gaps are renewal processes of the vendor's mean and jitter, thinned by the hour; long connections break and come back.
What it does not do: anything unusual (offences.py, oddities.py).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wardround.arrays import F64, I64
from wardround.drivers.sources.lab import payloads as say
from wardround.drivers.sources.lab.profiles import Kind
from wardround.drivers.sources.lab.stage import FIN_CLIENT, FIN_SERVER, OPEN, RST_CLIENT, Stage
from wardround.drivers.sources.lab.ward import Device, Ward

Span = tuple[float, float]
VARIANTS = 6
MULTICAST = 0xE00000FB, 0x01005E0000FB


def renewal(rng: np.random.Generator, span: Span, gap_s: float, jitter: float) -> F64:
    """Times within ``span`` with gamma gaps of mean ``gap_s`` and coefficient of variation ``jitter``."""
    shape = 1 / max(jitter, 0.02) ** 2
    count = int((span[1] - span[0]) / gap_s * 1.2 + 8 * (1 + jitter))
    times = span[0] + np.cumsum(rng.gamma(shape, gap_s / shape, count)) - rng.random() * gap_s
    return times[(times > span[0]) & (times < span[1])]


def busy(stage: Stage, ward: Ward, device: Device, span: Span, **rate: float) -> F64:
    """Times of a device's habit: its renewals (``gap_s`` and ``jitter`` where not its own), thinned by hour and load."""
    most = 1.8 * ward.load
    gap_s, jitter = rate.get("gap_s", device.gap_s), rate.get("jitter", device.vendor.jitter)
    times = renewal(stage.rng, span, gap_s / most, jitter)
    return times[stage.rng.random(len(times)) < ward.level(times, device.kind) / most]


class Lasting:
    """A connection that stays open for ``life_s`` on average and is then opened again, over one span.

    ``ends``: client, server, port.
    """

    def __init__(self, stage: Stage, ends: tuple[int, int, int], span: Span, life_s: float) -> None:
        cuts = renewal(stage.rng, span, life_s, 1.0)
        self.begin = np.concatenate([[span[0] - 5.0], cuts])
        self.end = np.concatenate([cuts - stage.rng.uniform(0.5, 6.0, len(cuts)), [np.inf]])
        ending = np.append(stage.rng.choice([FIN_CLIENT, RST_CLIENT, FIN_SERVER], len(cuts), p=[0.6, 0.25, 0.15]), OPEN)
        opens = np.append(False, np.ones(len(cuts), bool))
        self.number = stage.connect(*ends, self.begin, self.end, ending=ending, opens=opens)
        self.opened = self.number[1:], cuts + 0.1
        self._stage = stage

    def say(self, times: F64, up: bool, payload: I64 | int) -> None:
        """Messages at ``times``; those that fall where the connection is down are lost."""
        at = np.searchsorted(self.begin, times, side="right") - 1
        alive = (times > self.begin[at] + 0.4) & (times < self.end[at] - 0.2)
        chosen = np.broadcast_to(payload, times.shape)[alive]
        self._stage.say(self.number[at[alive]], times[alive], up, chosen)


def variants(stage: Stage, make: Callable[[int], bytes], count: int = VARIANTS) -> I64:
    """Numbers [count] of payloads."""
    return np.array([stage.payloads.add(make(i)) for i in range(count)])


def one_of(stage: Stage, numbers: I64, n: int) -> I64:
    """``n`` payloads drawn from ``numbers``."""
    return numbers[stage.rng.integers(0, len(numbers), n)]


def mqtt_session(stage: Stage, device: Device, link: Lasting, subscribes: bool) -> None:
    """CONNECT, CONNACK (and SUBSCRIBE) where the connection opens, keep-alives meanwhile."""
    number, at = link.opened
    add = stage.payloads.add
    stage.say(number, at, True, add(say.mqtt_connect(device.name.replace(" ", "-"))))
    stage.say(number, at + 0.03, False, add(say.CONNACK))
    if subscribes:
        stage.say(number, at + 0.08, True, add(say.mqtt_subscribe("ward/#")))
        stage.say(number, at + 0.1, False, add(say.SUBACK))


def values(stage: Stage, size: int) -> bytes:
    """A JSON-like text of about ``size`` bytes."""
    rng = stage.rng
    text = f'{{"t":{rng.integers(10**9)},"hr":{rng.integers(50, 120)},"spo2":{rng.integers(88, 100)}'
    while len(text) < size - 8:
        text += f',"{rng.choice(list("abcdefgh"))}{rng.integers(10)}":{rng.normal():.3f}'
    return (text + "}").encode()[: max(size, 6)]


def wearable(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """MQTT publishes to the ward's broker, QoS 0 or 1; sleepy makes open a session for each."""
    times = busy(stage, ward, device, span)
    qos, topic = int("qos1" in device.vendor.style), f"ward/{device.host}/{device.name.split()[0]}"
    texts = variants(
        stage, lambda i: say.mqtt_publish(topic, values(stage, round(device.size * (0.8 + 0.1 * i))), qos, i + 1)
    )
    if "sleepy" in device.vendor.style:
        sleepy(stage, ward, device, times, texts)
        return
    link = Lasting(stage, (device.host, ward.broker.host, 1883), span, life_s=1500.0)
    mqtt_session(stage, device, link, subscribes=False)
    link.say(times, True, one_of(stage, texts, len(times)))
    if qos:
        link.say(times + stage.rng.uniform(0.003, 0.03, len(times)), False, stage.payloads.add(say.mqtt_puback()))
    pings = renewal(stage.rng, span, 60.0, 0.05)
    link.say(pings, True, stage.payloads.add(say.PINGREQ))
    link.say(pings + 0.01, False, stage.payloads.add(say.PINGRESP))


def sleepy(stage: Stage, ward: Ward, device: Device, times: F64, texts: I64) -> None:
    """A session of a second or less for every message."""
    n, add = len(times), stage.payloads.add
    ending = stage.rng.choice([FIN_CLIENT, RST_CLIENT], n, p=[0.8, 0.2])
    end = times + stage.rng.uniform(0.2, 1.0, n)
    link = stage.connect(device.host, ward.broker.host, 1883, times - 0.15, end, ending=ending)
    stage.say(link, times - 0.1, True, add(say.mqtt_connect(device.name.replace(" ", "-"))))
    stage.say(link, times - 0.07, False, add(say.CONNACK))
    stage.say(link, times, True, one_of(stage, texts, n))
    stage.say(link, end - 0.1, True, add(say.DISCONNECT))


def monitor(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """HL7 results to the record system, each acknowledged; some makes stream waveforms over UDP."""
    rng, server = stage.rng, ward.outside("emr")
    times = busy(stage, ward, device, span)
    names = ("HR", "SPO2", "RR", "NIBP", "TEMP", "ETCO2", "CVP", "PVC", "ST")
    asked = variants(
        stage,
        lambda i: say.hl7_result(
            i, str(device.host), [(n, float(rng.normal(80, 9))) for n in names[: device.size + i % 2]]
        ),
    )
    answers = variants(stage, say.hl7_ack)
    later = times + rng.gamma(2.0, 0.015, len(times))
    if device.vendor.style == "each":
        link = stage.connect(device.host, server, 2575, times - 0.1, later + 0.1)
        stage.say(link, times, True, one_of(stage, asked, len(times)))
        stage.say(link, later, False, one_of(stage, answers, len(times)))
    else:
        held = Lasting(stage, (device.host, server, 2575), span, life_s=2400.0)
        held.say(times, True, one_of(stage, asked, len(times)))
        held.say(later, False, one_of(stage, answers, len(times)))
    if "waveform" in device.vendor.style:
        waves = renewal(rng, span, 0.5 * device.pace, 0.1)
        texts = variants(stage, lambda i: rng.bytes(180 + 20 * i))
        stage.add(
            stage.datagrams(
                device.host, ward.outside("telehealth"), (24105, 24105), waves, one_of(stage, texts, len(waves))
            )
        )


def pump(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """Read by the pump manager over Modbus, or posting its state over HTTP."""
    rng, manager = stage.rng, ward.outside("pump manager")
    times = busy(stage, ward, device, span)
    later = times + rng.gamma(2.0, 0.008, len(times))
    if device.vendor.style == "modbus":
        held = Lasting(stage, (manager, device.host, 502), span, life_s=2000.0)
        asked = variants(stage, lambda i: say.modbus_read(i, 1, 40 * (i % 3), device.size // 2))
        told = variants(stage, lambda i: say.modbus_values(i, 1, rng.bytes(device.size // 2 * 2)[:250]))
        held.say(times, True, one_of(stage, asked, len(times)))
        held.say(later, False, one_of(stage, told, len(times)))
        return
    rude = rng.random(len(times)) < 0.1
    link = stage.connect(
        device.host, manager, 80, times - 0.08, later + 0.05, ending=np.where(rude, RST_CLIENT, FIN_CLIENT)
    )
    posted = variants(
        stage, lambda i: say.http_request("POST", "/state", "pumps", "pump/2", values(stage, device.size + 30 * i))
    )
    stage.say(link, times, True, one_of(stage, posted, len(times)))
    stage.say(link, later, False, stage.payloads.add(say.http_answer("200 OK", b'{"ok":true}')))


def imaging(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """Studies: one association, some images, sent in bursts to the ward's image server or the hospital's archive."""
    servers = ward.of("image server")
    server = servers[0].host if servers else ward.outside("pacs")
    studies(
        stage,
        device.host,
        server,
        busy(stage, ward, device, span),
        device.size,
    )


def studies(stage: Stage, client: int, server: int, times: F64, size: int) -> None:
    """DICOM associations at ``times``, each storing one to four images of about ``size`` bytes."""
    rng, add = stage.rng, stage.payloads.add
    block, rate = 16_000, rng.uniform(1.5e6, 8e6, len(times))
    texts = variants(stage, lambda i: say.dicom_data(1, False, False, rng.bytes(block - 26 * i)), 2)
    last = add(say.dicom_data(1, False, True, rng.bytes(4_000)))
    command, answer = (
        add(say.dicom_data(1, True, True, rng.bytes(140))),
        add(say.dicom_data(1, True, True, rng.bytes(90))),
    )
    for start, speed in zip(times, rate, strict=True):
        pieces = [max(1, round(size * np.exp(rng.normal(0, 0.3)) / block)) for _ in range(int(rng.integers(1, 5)))]
        at = start + 0.2
        message: list[tuple[float, bool, int]] = []
        for count in pieces:
            message.append((at, True, command))
            body = at + 0.005 + np.arange(count) * block / speed
            message += [(float(t), True, int(texts[i % 2])) for i, t in enumerate(body)]
            at = float(body[-1]) + block / speed
            message += [(at, True, last), (at + rng.uniform(0.01, 0.2), False, answer)]
            at += 0.25
        message += [(at, True, add(say.dicom_release(False))), (at + 0.02, False, add(say.dicom_release(True)))]
        contexts = int(rng.integers(1, 8))
        message.append((start + 0.05, True, add(say.dicom_associate(False, "PACS", "CT", contexts))))
        message.append((start + 0.1, False, add(say.dicom_associate(True, "PACS", "CT", contexts))))
        when, up, text = (np.array(column) for column in zip(*message, strict=True))
        link = stage.connect(client, server, 11112, [start], [at + 0.1])
        stage.say(link[0], when, up, text)


def sensor(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """CoAP posts to the broker's host, confirmable or not."""
    rng = stage.rng
    times = busy(stage, ward, device, span)
    kind = 0 if device.vendor.style == "con" else 1
    texts = variants(
        stage,
        lambda i: say.coap(kind, 2, 100 + i, rng.bytes(2), path="room/climate", content=rng.bytes(device.size + i)),
    )
    port = int(rng.integers(40000, 60000))
    stage.add(stage.datagrams(device.host, ward.broker.host, (port, 5683), times, one_of(stage, texts, len(times))))
    if kind == 0:
        answers = variants(stage, lambda i: say.coap(2, 68, 100 + i, b""))
        later = times + rng.gamma(2.0, 0.004, len(times))
        stage.add(
            stage.datagrams(ward.broker.host, device.host, (5683, port), later, one_of(stage, answers, len(times)))
        )


def tablet(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """Web pages over TLS, each after a name look-up; some also listen to the broker."""
    times = busy(stage, ward, device, span)
    servers = [ward.outside("portal"), ward.outside("emr"), *(s.host for s in ward.of("image server"))]
    browse(stage, ward, device.host, stage.rng.choice(servers, len(times)), times, size=device.size)
    if "mqtt" in device.vendor.style:
        link = Lasting(stage, (device.host, ward.broker.host, 1883), span, life_s=900.0)
        mqtt_session(stage, device, link, subscribes=True)
        heard = busy(stage, ward, device, span, gap_s=3.0, jitter=1.0)
        texts = variants(stage, lambda i: say.mqtt_publish(f"ward/{i}/note", values(stage, 60 + 40 * i)))
        link.say(heard, False, one_of(stage, texts, len(heard)))


def browse(stage: Stage, ward: Ward, client: int, server: I64, times: F64, *, size: int) -> None:
    """TLS conversations with one to three answers of about ``size`` bytes."""
    rng, n = stage.rng, len(times)
    lookup(stage, ward, client, times[rng.random(n) < 0.5] - 0.15)
    pages = rng.integers(1, 4, n)
    ends = times + 0.5 + pages * rng.uniform(0.3, 2.0, n)
    ending = rng.choice([FIN_CLIENT, FIN_SERVER, RST_CLIENT], n, p=[0.6, 0.2, 0.2])
    link = stage.connect(client, server, 443, times - 0.1, ends, ending=ending)
    hello = stage.payloads.add(say.tls(22, rng.bytes(512)))
    certificate = variants(stage, lambda i: say.tls(22, rng.bytes(2200 + 400 * i)), 2)
    asked = variants(stage, lambda i: say.tls(23, rng.bytes(250 + 120 * i)), 4)
    told = variants(stage, lambda i: say.tls(23, rng.bytes(max(40, round(size * 0.15 * (i + 1) ** 2)))), 4)
    stage.say(link, times, True, hello)
    stage.say(link, times + 0.03, False, one_of(stage, certificate, n))
    for page in range(3):
        some = pages > page
        at = times[some] + 0.12 + page * (ends[some] - times[some]) / 4
        stage.say(link[some], at, True, one_of(stage, asked, int(some.sum())))
        stage.say(link[some], at + rng.gamma(2.0, 0.03, len(at)), False, one_of(stage, told, int(some.sum())))


def image_server(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """Studies it passes on to the archive, and people who look at images."""
    times = busy(stage, ward, device, span, gap_s=6 * device.gap_s, jitter=device.vendor.jitter)
    studies(stage, device.host, ward.outside("pacs"), times, device.size)
    views = busy(stage, ward, device, span, gap_s=device.gap_s, jitter=1.0)
    browse(stage, ward, ward.outside("laboratory"), np.full(len(views), device.host), views, size=device.size // 4)


def broker(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """It passes summaries on, and asks whether its peer is there."""
    rng = stage.rng
    times = busy(stage, ward, device, span)
    browse(stage, ward, device.host, np.full(len(times), ward.outside("telehealth")), times, size=600)
    pings = renewal(rng, span, 15.0, 0.1)
    text = stage.payloads.add(rng.bytes(56))
    stage.add(stage.pings(device.host, ward.outside("telehealth"), (8 << 8, 77), pings, text))
    stage.add(stage.pings(ward.outside("telehealth"), device.host, (0, 77), pings + 0.004, text))


def watched(stage: Stage, ward: Ward, host: int, times: F64) -> None:
    """Echoes, one to four in a row, asked from beyond the router; some hosts refuse a datagram now and then."""
    rng, asker = stage.rng, ward.outside("portal")
    at = (times[:, None] + np.arange(int(rng.integers(1, 5)))).ravel()
    text = stage.payloads.add(rng.bytes(int(rng.choice([0, 32, 56, 120]))))
    stage.add(stage.pings(asker, host, (8 << 8, 5), at, text))
    stage.add(stage.pings(host, asker, (0, 5), at + 0.001, text))
    refused = renewal(rng, (float(at[0]), float(at[-1])), 40.0, 1.0) if len(at) > 1 else at[:0]
    stage.add(stage.pings(host, ward.router, (3 << 8 | 3, 0), refused, stage.payloads.add(rng.bytes(28))))


def lookup(stage: Stage, ward: Ward, host: int, times: F64) -> None:
    """Name look-ups with their answers."""
    rng, server = stage.rng, ward.outside("name server")
    names = ("portal.hospital", "emr.hospital", "updates.vendor.example", "time.hospital")
    number = rng.integers(0, len(names), len(times))
    asked = np.array([stage.payloads.add(say.dns_query(i, name)) for i, name in enumerate(names)])
    told = np.array([stage.payloads.add(say.dns_answer(i, name, 0x0A010005 + i)) for i, name in enumerate(names)])
    port = rng.integers(32768, 61000, len(times))
    stage.add(stage.datagrams(host, server, (port, 53), times, asked[number]))
    stage.add(stage.datagrams(server, host, (53, port), times + rng.gamma(2.0, 0.004, len(times)), told[number]))


def services(stage: Stage, ward: Ward, device: Device, span: Span) -> None:
    """Names, time, addresses: what every device does beside its work."""
    rng, host, clock = stage.rng, device.host, ward.outside("clock")
    lookup(stage, ward, host, renewal(rng, span, 150.0 * device.pace, 1.0))
    if rng.random() < 0.7:  # the hospital's monitoring asks whether it is there
        watched(stage, ward, host, renewal(rng, span, float(rng.choice([10.0, 20.0, 60.0])), 0.2))
    ticks = renewal(rng, span, 90.0 * device.pace, 0.3)
    stage.add(stage.datagrams(host, clock, (123, 123), ticks, stage.payloads.add(say.ntp(False, 1))))
    stage.add(stage.datagrams(clock, host, (123, 123), ticks + 0.004, stage.payloads.add(say.ntp(True, 1))))
    for asker, asked, gap in ((host, ward.router, 45.0), (ward.router, host, 70.0), (host, ward.broker.host, 60.0)):
        if asker != asked:
            times = renewal(rng, span, gap * device.pace, 0.7)
            stage.add(stage.arps(asker, asked, 1, times))
            stage.add(stage.arps(asked, asker, 2, times + rng.uniform(0.0003, 0.004, len(times))))
    claims = renewal(rng, span, 400.0, 1.0)
    stage.add(stage.arps(host, host, 1, claims))
    if rng.random() < 0.5:
        spoken = renewal(rng, span, 120.0, 0.8)
        name = stage.payloads.add(say.mdns(device.name.replace(" ", "-"), int(ward.hosts["ip"][host])))
        frames = stage.datagrams(host, host, (5353, 5353), spoken, name)
        frames["dip"], frames["dmac"], frames["ttl"] = MULTICAST[0], MULTICAST[1], 255
        stage.add(frames)
    renew = renewal(rng, span, 1800.0, 1.0)
    mac, ip = int(ward.hosts["mac"][host]), int(ward.hosts["ip"][host])
    stage.add(stage.datagrams(host, ward.router, (68, 67), renew, stage.payloads.add(say.dhcp(False, mac, ip))))
    stage.add(stage.datagrams(ward.router, host, (67, 68), renew + 0.01, stage.payloads.add(say.dhcp(True, mac, ip))))


_BY_KIND: dict[Kind, Callable[[Stage, Ward, Device, Span], None]] = {
    "wearable": wearable,
    "patient monitor": monitor,
    "infusion pump": pump,
    "imaging": imaging,
    "room sensor": sensor,
    "nurse tablet": tablet,
    "image server": image_server,
    "broker": broker,
}


def everyday(stage: Stage, ward: Ward, span: Span) -> None:
    """All usual traffic of a ward within ``span``."""
    for device in ward.devices:
        _BY_KIND[device.kind](stage, ward, device, span)
        services(stage, ward, device, span)
