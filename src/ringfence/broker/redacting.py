"""Redaction that learns: what is opened or minted while the worker runs is taken out of text from that moment on."""

from collections import deque
from collections.abc import Iterable
from threading import Lock

from ringfence.domain.redaction import Finding, Redactor
from ringfence.ports.broker import Secret

#: Dead tokens need not be known for ever; the format of the local host's is known anyway.
_REMEMBERED = 256


class LearningRedactor:
    """A `Redactor` whose known values grow. `kept` are values that stay known, `patterns` as for `Redactor`."""

    def __init__(self, kept: Iterable[Secret], patterns: Iterable[tuple[str, str]]) -> None:
        self._kept = frozenset(secret.reveal().encode() for secret in kept)
        self._learned: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._lock = Lock()
        self._redactor = Redactor(self._kept, patterns)

    def learn(self, secret: Secret) -> None:
        """Know one more value, before anybody can write it anywhere."""
        value = secret.reveal().encode()
        with self._lock:
            if value not in self._kept and value not in self._learned:
                self._learned.append(value)
                self._redactor = self._redactor.knowing((*self._kept, *self._learned))

    @property
    def too_short(self) -> tuple[str, ...]:
        """In words, which known values cannot be redacted."""
        return self._redactor.too_short

    def redact(self, content: bytes) -> bytes:
        """The content without secrets."""
        return self._redactor.redact(content)

    def redact_text(self, text: str) -> str:
        """The text without secrets."""
        return self._redactor.redact_text(text)

    def withhold(self, content: bytes) -> tuple[bytes, dict[str, int]]:
        """The content without what the precise rules find, and of each kind how much that was."""
        return self._redactor.withhold(content)

    def find(self, content: bytes) -> tuple[Finding, ...]:
        """Secrets in something that is to be published."""
        return self._redactor.find(content)
