"""What is left of a run's model budget at one door: promised before a call, settled after it.

Pure and without waiting, so that requests in parallel cannot spend the same token twice. It counts from
what the worker gave the door; the audit log counts the run.
"""

from dataclasses import dataclass

from ringfence.gateway.refusal import Refusal, busy, spent

#: Output promised to a request that names no limit; a stream that grows beyond asks for more as it goes.
USUAL_OUTPUT = 4096
_BYTES_A_TOKEN = 3.5


def estimate(size: int) -> int:
    """Tokens of so many bytes, where nobody has counted them."""
    return -int(-size // _BYTES_A_TOKEN)


@dataclass(slots=True)
class Promise:
    """What one upstream attempt may use. Open until it is settled."""

    input_tokens: int
    output_tokens: int
    open: bool = True


class Ledger:
    """The budget of a door."""

    def __init__(self, requests: int, input_tokens: int, output_tokens: int) -> None:
        self._requests = requests
        self._input = input_tokens
        self._output = output_tokens
        self._promised_input = 0
        self._promised_output = 0

    @property
    def left(self) -> tuple[int, int, int]:
        """Requests, input tokens and output tokens that are neither spent nor promised."""
        return self._requests, self._input - self._promised_input, self._output - self._promised_output

    def promise(self, input_tokens: int, output_tokens: int | None) -> Promise | Refusal:
        """Take a request, its input and its output out of what is left, or say which limit forbids it."""
        if self._requests < 1:
            return spent("requests")
        if self._input < input_tokens:
            return spent("input_tokens")
        if self._output < 1:
            return spent("output_tokens")
        _, free_input, free_output = self.left
        if free_input < input_tokens:
            return busy("input_tokens")
        if free_output < 1:
            return busy("output_tokens")
        promise = Promise(input_tokens, min(output_tokens or USUAL_OUTPUT, free_output))
        self._requests -= 1
        self._promised_input += promise.input_tokens
        self._promised_output += promise.output_tokens
        return promise

    def grow(self, promise: Promise, output_tokens: int) -> bool:
        """Make a promise hold `output_tokens`; False when there is not so much left."""
        more = output_tokens - promise.output_tokens
        if more <= 0:
            return True
        if self._output - self._promised_output < more:
            return False
        # In steps, so that a long stream does not ask for every token alone.
        more = min(more + 512, self._output - self._promised_output)
        promise.output_tokens += more
        self._promised_output += more
        return True

    def settle(self, promise: Promise, input_tokens: int, output_tokens: int) -> None:
        """Put what was truly used in the place of what was promised; the request stays spent."""
        if not promise.open:
            raise ValueError("a promise is settled once")
        promise.open = False
        self._promised_input -= promise.input_tokens
        self._promised_output -= promise.output_tokens
        self._input -= input_tokens
        self._output -= output_tokens
