#!/usr/bin/python3
"""Sends what is on standard input to a port of the host, and receives it in a namespace."""

import ctypes

import socket
import sys

KINDS = {
    "--tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "--udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "--sctp": (socket.SOCK_STREAM, 132),
}


def enter(path):
    with open(path) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), path)


flag, netns, to, port = sys.argv[1:]
kind, protocol = KINDS[flag]
host, _, host_port = to.rpartition(":")
host = host.strip("[]")
family = socket.AF_INET6 if ":" in host else socket.AF_INET
here = open("/proc/self/ns/net")
enter(netns)
inside = socket.socket(family, kind, protocol)
inside.settimeout(5)
inside.bind(("", int(port)))
enter(f"/proc/self/fd/{here.fileno()}")
outside = socket.socket(family, kind, protocol)
outside.settimeout(5)
data = sys.stdin.buffer.read()
if kind == socket.SOCK_STREAM:
    inside.listen(5)
    outside.connect((host, int(host_port)))
    inside, peer = inside.accept()
    outside.send(data)
    received = inside.recv(len(data))
else:
    outside.sendto(data, (host, int(host_port)))
    received, peer = inside.recvfrom(len(data))
print("Peer address:", peer[0])
print("Message:", received.decode())
