"""Where the demo's repository gets its dependency from: this machine's package registry, or a copy made beforehand.

Which registry that is is read from pip's own configuration when the demo runs, and what it serves is tried the way
a sandbox will ask for it. Where a sandbox could not use it, the copy takes its place, and the demo says why.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Where sandboxes see the demo's own toolchain, with the copy of the dependency in it.
TOOLCHAIN = "/opt/toolchains/python"
COPY = "wheels"
_SECONDS = 60
_PIP = {"PYTHONPATH": "/workspace/.packages", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
#: pip's own reading of its files and of the environment, whatever they hold.
_ASK = """import json
from pip._internal.commands.download import DownloadCommand
options, _ = DownloadCommand("download", "").parse_args([])
print(json.dumps([[options.index_url, options.cert or ""], bool(options.no_index)]))
"""


@dataclass(frozen=True, slots=True)
class Registry:
    """What set-up may reach, and what pip is told inside; without an index, why there is none."""

    index: str = ""
    #: The index and where its files are: host, port, networks that the rule must open for it.
    hosts: Mapping[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    certificates: str = ""  # the bundle that pip trusts here, if one is configured
    why_none: str = ""

    @property
    def rules(self) -> str:
        """The rules of the set-up phase, as the boundary document has them."""
        found: list[dict[str, object]] = []
        for (host, port), cidrs in self.hosts.items():
            opened = {"cidrs": list(cidrs)} if cidrs else {}
            found.append({"host": host, "port": port, "purpose": "registry", **opened})
        return json.dumps(found)

    @property
    def variables(self) -> str:
        """What pip is told inside sandboxes, as the boundary document has it."""
        copy = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{TOOLCHAIN}/{COPY}"}
        return json.dumps(_PIP | ({"PIP_INDEX_URL": self.index} if self.index else copy))

    @property
    def line(self) -> str:
        """One line for a person."""
        if not self.index:
            return f"none: {self.why_none}; set-up installs from a copy and reaches nothing"
        places = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{places}: set-up alone may reach it, through the proxy"


def find_registry(python: Path, requirements: Path) -> Registry:
    """Ask the toolchain's pip for its index, and try it as a sandbox will: that index, no other source, no proxy."""
    import subprocess
    from urllib.parse import urlsplit

    try:
        asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=True)
        (index, certificates), forbidden = json.loads(asked.stdout)
    except (subprocess.SubprocessError, ValueError):
        return Registry(why_none="pip does not say which index it is configured with")
    if forbidden or not index or urlsplit(index).hostname is None:
        return Registry(why_none="pip is configured without an index on the network")
    if "@" in urlsplit(index).netloc:
        return Registry(why_none="pip's index needs a credential, and none enters a sandbox")
    urls = _files(python, requirements, index, certificates)
    if not urls:
        return Registry(why_none="pip's index does not serve the sample's dependency to this host directly")
    hosts: dict[tuple[str, int], tuple[str, ...]] = {}
    for url in (index, *urls):
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        cidrs = _exempt(host, port)
        if cidrs is None:
            return Registry(why_none=f"no rule can open {host or 'a registry without a host'}")
        hosts[host, port] = cidrs
    return Registry(index, hosts, certificates)


def _files(python: Path, requirements: Path, index: str, certificates: str) -> tuple[str, ...]:
    """The addresses of the files that pip would install from this index alone; empty when it cannot."""
    import subprocess

    trust = ["--cert", certificates] if certificates else []
    argv = ["env", "-i", "PATH=/usr/bin:/bin", str(python), "-m", "pip", "--isolated", "install", "-q", "--dry-run",
            "--report", "-", "--ignore-installed", "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--no-cache-dir", "--disable-pip-version-check", "--no-input", "--retries", "0", "--timeout", "15", *trust,
            "--index-url", index, "-r", str(requirements)]  # fmt: skip
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return tuple(one["download_info"]["url"] for one in json.loads(done.stdout)["install"])
    except (subprocess.SubprocessError, ValueError, KeyError):
        return ()


def _exempt(host: str, port: int) -> tuple[str, ...] | None:
    """The networks that a rule for this host must open, such as a company's own; None when no rule can."""
    import socket
    from ipaddress import ip_address

    from ringfence.domain.hosts import NEVER, name_fault, network_of

    if not port or name_fault(host) or host == "localhost":
        return None
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return None
    opened = []
    for address in map(ip_address, sorted(found)):
        if any(address in network for network in NEVER if network.version == address.version):
            return None
        if network_of(address) is not None:
            opened.append(f"{address}/{address.max_prefixlen}")
    return tuple(opened)
