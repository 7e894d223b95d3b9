"""A real browser, driven by its own protocol over a pipe: Chromium without a window, network or another package."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: No way out: every host name resolves to nothing.
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
FLAGS += ("--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--disable-extensions")


class Browser:
    """One page at a time; what it says of errors and of what it was refused stands in `complaints`."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.number, self.complaints = 0, list[str]()
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={self.folder.name}", "about:blank"]
        script = f'exec "$@" 3<&{read} 4>&{write}'
        command = ["bash", "-c", script, "bash", str(CHROMIUM), *flags]
        self.process = subprocess.Popen(command, pass_fds=(read, write), stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self.rest, self.session = b"", None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def open(self, page: Path, fragment: str = "", width: int = 1200, *, dark: bool = False) -> None:
        """Show a file anew, on a screen of this width."""
        self.complaints.clear()
        self.ask("Page.navigate", url="about:blank")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=page.as_uri() + fragment)
        while not self.value("location.protocol === 'file:' && document.readyState === 'complete'"):
            time.sleep(0.02)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *ending: object) -> None:
        self.session = None
        with suppress(RuntimeError, OSError):
            self.ask("Browser.close")
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        os.close(self._read)
        os.close(self._write)
        self.folder.cleanup()

    def ask(self, method: str, **params: Any) -> Any:
        """One command of the protocol, and its answer."""
        self.number += 1
        number, message = self.number, {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda each: each.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def value(self, expression: str) -> Any:
        """What an expression is on the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element."""
        box = self.value(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); "
            f"return [b.x + b.width / 2, b.y + b.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Put a text into a field as somebody who types."""
        self.value(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.ask("Input.insertText", text=text)

    def _until(self, is_it: Any) -> Any:
        while True:
            while b"\0" not in self.rest:
                piece = os.read(self._read, 1 << 20)
                if not piece:
                    raise RuntimeError("the browser has gone")
                self.rest += piece
            line, _, self.rest = self.rest.partition(b"\0")
            message = json.loads(line)
            self._listen(message)
            if is_it(message):
                return message

    def _listen(self, message: Any) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(params))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "about:")):
            self.complaints.append(f"asks for {params['request']['url']}")
