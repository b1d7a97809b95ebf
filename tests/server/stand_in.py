"""The main.py of a stand-in for ComfyUI."""

_ANSWERS = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Ready).serve_forever()
"""


def main_file(first: str) -> str:
    """Runs the code `first`, then answers as ComfyUI does once it is ready."""
    return first + _ANSWERS
