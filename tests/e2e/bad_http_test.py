"""Every row of tests/data/http/bad_requests.json gets its typed error, and a stream that runs beside them is undisturbed.

A row sends `body` to `path`, or `raw` bytes. Either is a list of texts, one byte a character, and of [text, times].
"""

import json
import pathlib
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402


def bytes_of(parts):
    texts = (part if isinstance(part, str) else part[0] * part[1] for part in parts)
    return b"".join(text.encode("latin-1") for text in texts)


def request_of(row):
    if "raw" in row:
        return bytes_of(row["raw"])
    body = bytes_of(row["body"])
    return (f"POST {row['path']} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def send(connection, row):
    """Sends what the server takes of it: it may refuse a request before it has read it."""
    sent = request_of(row)
    try:
        if row.get("slow"):
            for byte in sent:
                connection.sendall(bytes([byte]))
                time.sleep(0.2)
        else:
            connection.sendall(sent)
            if row.get("half_close"):
                connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def response_of(connection):
    """(status, headers, body) of the first response."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise AssertionError(f"no response; received {received!r}")
        received += piece
    head, body = received.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


class BadHttpTest(serving.HttpServingTest):
    def ask(self, row):
        host, port = self.http.split(":")
        with socket.create_connection((host, int(port)), timeout=40) as connection:
            sender = threading.Thread(target=send, args=(connection, row))
            sender.start()
            try:
                return response_of(connection)
            finally:
                connection.close()
                sender.join()

    def check(self, row, failures):
        try:
            status, headers, body = self.ask(row)
            expected = row["status"] if isinstance(row["status"], list) else [row["status"]]
            error = json.loads(body)["error"]
            if status not in expected or row.get("code", error["code"]) != error["code"]:
                failures.append(f"{row['name']}: {status} {error}")
            if not {"message", "type", "param", "code"} <= set(error):
                failures.append(f"{row['name']}: not OpenAI's shape: {error}")
            if status in (429, 503) and "retry-after" not in headers:
                failures.append(f"{row['name']}: no Retry-After")
        except Exception as error:  # pylint: disable=broad-except
            failures.append(f"{row['name']}: {type(error).__name__} {error}")

    def stream(self, pieces):
        """A long completion, as it comes."""
        request = self.generate_request("The history of rowing begins", 200)
        request.ignore_eos = True
        for piece in self.stub.Generate(request, timeout=120):
            pieces.append(piece.text)

    def test_each_gets_its_error_and_a_running_request_its_answer(self):
        rows = json.loads((trireme.source / "tests/data/http/bad_requests.json").read_text(encoding="utf-8"))
        self.assertGreater(len(rows), 100)
        alone, beside, failures = [], [], []
        self.stream(alone)
        running = threading.Thread(target=self.stream, args=(beside,))
        running.start()
        slow = [threading.Thread(target=self.check, args=(row, failures)) for row in rows if row.get("slow")]
        for thread in slow:
            thread.start()
        for row in rows:
            if not row.get("slow"):
                self.check(row, failures)
        for thread in slow:
            thread.join(60)
        running.join(120)
        self.assertEqual(failures, [])
        self.assertEqual("".join(beside), "".join(alone))
        trireme.wait_until(lambda: self.running() == 0, "nothing runs any more", 20)


if __name__ == "__main__":
    trireme.main()
