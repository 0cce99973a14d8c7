"""Messages and descriptors arrive whole; a closed socket is end of file."""

import os
import socket
import threading

import pytest

from mschedx.measure import channel


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


@pytest.mark.parametrize("message", [None, {"a": [1, 2]}, b"x" * 3_000_000])
def test_messages_arrive(ends, message):
    left, right = ends
    sender = threading.Thread(target=channel.send, args=(left, message))
    sender.start()
    assert channel.receive(right) == message
    sender.join()


def test_descriptors_travel(ends, tmp_path):
    left, right = ends
    with open(tmp_path / "f", "w") as file:
        channel.send(left, "take", (file.fileno(), file.fileno()))
        message, fds = channel.receive_with_fds(right, 2)
    assert message == "take"
    assert len(fds) == 2
    os.write(fds[0], b"hello")
    for fd in fds:
        os.close(fd)
    assert (tmp_path / "f").read_text() == "hello"


def test_a_closed_end_is_end_of_file(ends):
    left, right = ends
    left.close()
    with pytest.raises(EOFError):
        channel.receive(right)
    with pytest.raises(EOFError):
        channel.receive_with_fds(right, 2)


def test_a_message_cut_short_is_end_of_file(ends):
    left, right = ends
    left.sendall(channel._HEADER.pack(100) + b"only this")
    left.close()
    with pytest.raises(EOFError):
        channel.receive(right)
