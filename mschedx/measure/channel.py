"""Length-prefixed pickles over a Unix socket: how a session and its worker processes talk."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_HEADER = struct.Struct("!Q")
_LARGEST_BYTES = 1 << 34


def send(sock: socket.socket, message: Any, fds: tuple[int, ...] = ()) -> None:
    """Send `message`; open file descriptors `fds` travel with it."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    header = _HEADER.pack(len(data))
    if fds:
        socket.send_fds(sock, [header], list(fds))
    else:
        sock.sendall(header)
    sock.sendall(data)


def receive(sock: socket.socket) -> Any:
    """Wait for one message.

    Raises
    ------
    EOFError
        If the other side has closed the socket or died, or sends what is no message.
    """
    return receive_with_fds(sock, 0)[0]


def receive_with_fds(sock: socket.socket, count: int) -> tuple[Any, list[int]]:
    """Wait for one message and up to `count` file descriptors that came with it."""
    fds: list[int] = []
    try:
        if count:
            header, fds, _, _ = socket.recv_fds(sock, _HEADER.size, count)
            header += _exactly(sock, _HEADER.size - len(header)) if header else b""
        else:
            header = _exactly(sock, _HEADER.size)
        if not header:
            raise EOFError("the other side has closed the connection")
        (size,) = _HEADER.unpack(header)
        if size > _LARGEST_BYTES:
            raise EOFError(f"the other side talks nonsense: a message of {size} bytes")
        return pickle.loads(_exactly(sock, size)), fds
    except ConnectionError as error:
        raise EOFError(str(error)) from error


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = sock.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError("the other side has closed the connection")
        data += part
    return bytes(data)
