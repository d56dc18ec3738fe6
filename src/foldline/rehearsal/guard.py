"""What a rehearsed program finds in place of the network: every connection fails, in words.

Its text is `sitecustomize.py` of the program, so it imports nothing of foldline; imported under its own name it does
nothing. Unix sockets stay: processes of one machine talk through them.
"""

import socket
from typing import Any, NoReturn


def _refuse(*arguments: Any, **_: Any) -> NoReturn:
    where = next((part for part in arguments if isinstance(part, str | tuple)), "")
    raise OSError(f"no network in a rehearsal, as in a notebook without internet: something wanted to reach {where}")


class _Socket(socket.socket):
    def connect(self, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse(address)
        super().connect(address)

    def connect_ex(self, address: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse(address)
        return super().connect_ex(address)

    def sendto(self, data: Any, *rest: Any) -> int:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse(rest[-1])
        return super().sendto(data, *rest)


if __name__ == "sitecustomize":
    socket.socket = _Socket  # type: ignore[misc]
    socket.getaddrinfo = socket.gethostbyname = _refuse
