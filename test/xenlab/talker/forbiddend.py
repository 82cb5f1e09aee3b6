#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forbidden host: receives what the talkers send (see talker.c) and writes down each record.

--records FILE   JSON lines {"t", "guest", "kind", "boot", "conn", "seq", "mac", "ip"}; TCP also "event": open, close
--summary FILE   written at the end (SIGTERM): the summary below
--control SOCK   a UNIX socket: whoever connects gets the summary up to now

Summary: {"guests": {NAME: {"kinds": {KIND: [STREAM, ...]}, "tcp": [CONNECTION, ...]}}}. A STREAM is one boot of the
talker: boot, received, first, last (sequence numbers), lost, reordered, duplicated, first_t, last_t, silence (the
longest, in seconds) and silence_t (its begin). A CONNECTION has boot, conn, open_t, last_t, close_t (null while open),
received, lost, silence, peer. Times are epoch seconds of this machine, the same clock as in the captures.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import struct
import time

TCP_PORT, UDP_PORT = 7700, 7701
ETH_P_ALL = 3


class Stream:
    def __init__(self, boot, t, seq):
        self.boot, self.first, self.last, self.first_t, self.last_t = boot, seq, seq, t, t
        self.received, self.reordered, self.duplicated, self.silence, self.silence_t = 0, 0, 0, 0.0, t
        self.missing = set()

    def add(self, t, seq):
        self.received += 1
        if t - self.last_t > self.silence:
            self.silence, self.silence_t = t - self.last_t, self.last_t
        self.last_t = t
        if self.received == 1:
            return
        if seq > self.last:
            self.missing.update(range(self.last + 1, min(seq, self.last + 100000)))
            self.last = seq
        elif seq in self.missing:
            self.missing.discard(seq)
            self.reordered += 1
        else:
            self.duplicated += 1

    def json(self):
        return {"boot": self.boot, "received": self.received, "first": self.first, "last": self.last,
                "lost": len(self.missing), "reordered": self.reordered, "duplicated": self.duplicated,
                "first_t": self.first_t, "last_t": self.last_t, "silence": round(self.silence, 3),
                "silence_t": self.silence_t}


class Connection:
    def __init__(self, t, sock, peer):
        self.open_t, self.sock, self.peer, self.buffer = t, sock, peer, b""
        self.guest = self.boot = self.conn = self.close_t = self.stream = None

    def json(self):
        s = self.stream.json() if self.stream else {"received": 0, "lost": 0, "silence": 0, "last_t": None, "last": 0}
        return {"boot": self.boot, "conn": self.conn, "peer": self.peer, "open_t": self.open_t, "close_t": self.close_t,
                "last_t": s["last_t"], "received": s["received"], "last": s["last"], "lost": s["lost"],
                "silence": s["silence"]}


class Forbidden:
    def __init__(self, records):
        self.records = open(records, "w", encoding="ascii", buffering=1 << 16)
        self.streams = {}       # (guest, kind) -> [Stream], the newest last
        self.connections = []

    def record(self, t, guest, kind, boot, conn, seq, mac=None, ip=None, event=None):
        line = {"t": round(t, 6), "guest": guest, "kind": kind, "boot": boot, "conn": conn, "seq": seq, "mac": mac, "ip": ip}
        if event:
            line["event"] = event
        self.records.write(json.dumps(line) + "\n")

    def datagram(self, t, text, mac, ip):
        guest, kind, boot, conn, seq = parse(text)
        streams = self.streams.setdefault((guest, kind), [])
        if not streams or streams[-1].boot != boot:
            streams.append(Stream(boot, t, seq))
        streams[-1].add(t, seq)
        self.record(t, guest, kind, boot, conn, seq, mac, ip)

    def frame(self, t, data, kind_of_packet):
        if kind_of_packet == socket.PACKET_OUTGOING or len(data) < 34:
            return
        mac = ":".join(f"{b:02x}" for b in data[6:12])
        ethertype = struct.unpack("!H", data[12:14])[0]
        if ethertype == 0x0800 and data[14] >> 4 == 4:
            ip, body, proto = socket.inet_ntoa(data[26:30]), data[14 + (data[14] & 15) * 4:], data[23]
        elif ethertype == 0x86DD and len(data) > 54:
            ip, body, proto = socket.inet_ntop(socket.AF_INET6, data[22:38]), data[54:], data[20]
        else:
            return
        if proto == 17 and len(body) > 8 and struct.unpack("!H", body[2:4])[0] == UDP_PORT:
            pass
        elif not (proto == 1 and body[:1] == b"\x08" or proto == 58 and body[:1] == b"\x80"):
            return
        try:
            self.datagram(t, body[8:], mac, ip)
        except ValueError:
            pass

    def stream_data(self, t, connection, data):
        *lines, connection.buffer = (connection.buffer + data).split(b"\n")
        for text in lines:
            try:
                guest, kind, boot, conn, seq = parse(text)
            except ValueError:
                continue
            if connection.stream is None:
                connection.guest, connection.boot, connection.conn = guest, boot, conn
                connection.stream = Stream(boot, t, seq)
                self.record(connection.open_t, guest, kind, boot, conn, 0, None, connection.peer, "open")
            connection.stream.add(t, seq)
            self.record(t, guest, kind, boot, conn, seq, None, connection.peer)

    def closed(self, t, connection):
        connection.close_t = t
        if connection.guest:
            self.record(t, connection.guest, "tcp", connection.boot, connection.conn,
                        connection.stream.last, None, connection.peer, "close")

    def summary(self):
        self.records.flush()
        guests = {}
        for (guest, kind), streams in self.streams.items():
            guests.setdefault(guest, {"kinds": {}, "tcp": []})["kinds"][kind] = [s.json() for s in streams]
        for connection in self.connections:
            if connection.guest:
                guests.setdefault(connection.guest, {"kinds": {}, "tcp": []})["tcp"].append(connection.json())
        return {"t": time.time(), "guests": guests}


def parse(data):
    """(guest, kind, boot, conn, seq) of a talker's line; ValueError if it is none."""
    words = data.decode("ascii").split()
    if len(words) != 6 or words[0] != "FG":
        raise ValueError("not a talker's line")
    return words[1], words[2], words[3], int(words[4]), int(words[5])


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--records", "--summary", "--control"):
        args.add_argument(name, required=True)
    args = args.parse_args()
    forbidden = Forbidden(args.records)
    selector = selectors.DefaultSelector()
    wake, woken = socket.socketpair()
    woken.setblocking(False)
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    stop = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))
    selector.register(woken, selectors.EVENT_READ, "wake")
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    packets.setblocking(False)
    selector.register(packets, selectors.EVENT_READ, "packet")
    # Bound, so that the kernel answers no "port unreachable"; what arrives is read from the packet socket.
    sinks = []
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sink = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sink.bind((address, UDP_PORT))
        sinks.append(sink)
    listener = socket.create_server(("", TCP_PORT), backlog=64)
    selector.register(listener, selectors.EVENT_READ, "listen")
    control = socket.socket(socket.AF_UNIX)
    if os.path.exists(args.control):
        os.unlink(args.control)
    control.bind(args.control)
    control.listen(8)
    selector.register(control, selectors.EVENT_READ, "control")
    print("ready", flush=True)
    while not stop:
        for key, _ in selector.select():
            t = time.time()
            if key.data == "packet":
                try:
                    while True:
                        data, address = packets.recvfrom(65535)
                        forbidden.frame(time.time(), data, address[2])
                except BlockingIOError:
                    pass
            elif key.data == "listen":
                sock, peer = listener.accept()
                connection = Connection(t, sock, peer[0])
                forbidden.connections.append(connection)
                selector.register(sock, selectors.EVENT_READ, connection)
            elif key.data == "control":
                sock, _ = control.accept()
                try:
                    sock.settimeout(5)
                    sock.sendall(json.dumps(forbidden.summary()).encode())
                except OSError:
                    pass        # the asker is gone
                sock.close()
            elif isinstance(key.data, Connection):
                try:
                    data = key.data.sock.recv(65536)
                except OSError:
                    data = b""
                if data:
                    forbidden.stream_data(t, key.data, data)
                else:
                    selector.unregister(key.data.sock)
                    key.data.sock.close()
                    forbidden.closed(t, key.data)
            else:
                woken.recv(64)
    with open(args.summary, "w", encoding="ascii") as f:
        json.dump(forbidden.summary(), f, indent=1)
    forbidden.records.close()


if __name__ == "__main__":
    main()
