"""What does OpenAI's own client see of a replica that dies? It repeats a request whose connection broke, by itself.

It does not repeat a stream that broke after its first event, because its caller has read a part: an application asks
again, as this one does, and counts it.
"""

import httpx
import openai

from tests.chaos.swaps.load import Given, Tally

MOST_TIMES = 5  # that a stream is asked for again


class OpenAiClient:
    """Asks as an application does; what was repeated is counted in the tally."""

    def __init__(self, url: str, tally: Tally) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", timeout=600)  # max_retries: its own, 2
        self._tally = tally

    def ask(self, prompt: str, is_streamed: bool) -> Given:
        """Ask once; ValueError where a stream breaks again and again, or names two checkpoints."""
        for _ in range(MOST_TIMES):
            try:
                return self._stream(prompt) if is_streamed else self._whole(prompt)
            except (openai.APIConnectionError, httpx.TransportError):
                if not is_streamed:
                    raise
                self._tally.broken_streams += 1
        raise ValueError(f"a stream broke {MOST_TIMES} times: {prompt!r}")

    def _whole(self, prompt: str) -> Given:
        raw = self._client.completions.with_raw_response.create(
            model="champion", prompt=prompt, max_tokens=8 + len(prompt) % 9, temperature=0
        )
        self._tally.retried += raw.retries_taken
        answer = raw.parse()
        return Given(answer.model, str(answer.system_fingerprint), answer.choices[0].text)

    def _stream(self, prompt: str) -> Given:
        raw = self._client.completions.with_raw_response.create(
            model="champion", prompt=prompt, max_tokens=8 + len(prompt) % 9, temperature=0, stream=True
        )
        self._tally.retried += raw.retries_taken
        chunks = list(raw.parse())
        heads = {(chunk.model, str(chunk.system_fingerprint)) for chunk in chunks}
        if len(heads) != 1:
            raise ValueError(f"one answer names {heads}")
        return Given(*heads.pop(), "".join(choice.text for chunk in chunks for choice in chunk.choices))
