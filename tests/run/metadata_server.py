"""What Google's metadata server tells a host of a TPU slice about itself and the others, on loopback."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def metadata_server(attributes):
    """Answers as the host whose attributes these are is answered; yields "ADDRESS:PORT"."""
    paths = {f"/computeMetadata/v1/instance/attributes/{name}": value for name, value in attributes.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path in paths and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(paths[self.path].encode() if known else b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
