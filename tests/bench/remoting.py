"""Requests over the remoting protocol, for what no command of ours does to a running broker."""

import json
import socket
import struct

UPDATE_AND_CREATE_TOPIC_LIST = 18
GET_BROKER_CLUSTER_INFO = 106
DELETE_EXPIRED_COMMIT_LOG = 329


class Connection:
    """One request at a time to a broker or namesrv."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 60)
        self.stream = self.socket.makefile("rb")
        self.opaque = 0

    def ask(self, code: int, body: bytes = b"") -> bytes:
        """The body of the answer; an answer that is not SUCCESS is an error."""
        self.opaque += 1
        header = json.dumps({"code": code, "language": "PYTHON", "version": 0, "flag": 0, "opaque": self.opaque,
                             "serializeTypeCurrentRPC": "JSON"}).encode()
        # The byte above the header's length says that it is JSON: 0.
        self.socket.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)
        length, mark = struct.unpack(">II", self.stream.read(8))
        header_length = mark & 0xFFFFFF
        answer = json.loads(self.stream.read(header_length))
        told = self.stream.read(length - 4 - header_length)
        if answer["code"] != 0:
            raise OSError(f"request {code} was answered with {answer['code']}: {answer.get('remark')}")
        return told

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()
