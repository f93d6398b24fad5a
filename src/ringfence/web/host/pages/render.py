"""Templates to answers. Everything in a template is escaped; strangers' text also goes through `shown`."""

from functools import lru_cache
from pathlib import Path

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ringfence.web.host.pages.text import ago, markdown, plain, shown, stamp

_HERE = Path(__file__).parent
STYLE = _HERE / "static" / "host.css"
_TITLES = {401: "Not logged in", 403: "Not allowed", 404: "Not found", 405: "Not merged", 409: "It has changed"}


@lru_cache(maxsize=1)
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(shown=shown, markdown=markdown, plain=plain, stamp=stamp)
    found.globals.update(ago=ago)
    return found


def page(template: str, code: int = 200, **values: object) -> HTMLResponse:
    """One page."""
    return HTMLResponse(_templates().get_template(template).render(**{"visitor": None, **values}), code)


def error_page(status: int, message: str, headers: dict[str, str]) -> HTMLResponse:
    """A page that says what is wrong, and leads back."""
    answer = page("error.html", status, title=_TITLES.get(status, "That did not work"), message=message, status=status)
    for name, value in headers.items():
        if name.lower() != "www-authenticate":  # a browser would ask for a password that the pages do not take
            answer.headers[name] = value
    return answer
