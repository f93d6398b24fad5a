"""The models: single values, their schema for editors, and the reference made from them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from ringfence.cli.boundary_reference import reference
from ringfence.domain.boundary import Boundary, Repository, Seconds, Section, Size
from ringfence.domain.measures import duration_text, size_text
from ringfence.domain.parse.shape import field_at, section_at

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("2KiB", 2048), ("512MiB", 512 << 20), ("3 GiB", 3 << 30)])
def test_sizes_are_written_with_a_unit(text, size):
    assert TypeAdapter(Size).validate_python(text, strict=True) == size
    assert size_text(size) == text.replace(" ", "")


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("10m", 600), ("3h", 10800), ("90d", 7776000)])
def test_durations_are_written_with_a_unit(text, seconds):
    assert TypeAdapter(Seconds).validate_python(text, strict=True) == seconds
    assert duration_text(seconds) == text


@pytest.mark.parametrize("text", ["", "5", 5, "5MB", "-1MiB", "1.5GiB", "٣MiB", "1MiB\n", "9" * 5000 + "B", None, True])
def test_no_other_size_is_taken(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Size).validate_python(text, strict=True)


def test_a_section_cannot_be_changed_and_knows_its_keys():
    repository = Repository(name="a/b", access="read", data_class="public")
    with pytest.raises(ValidationError):
        repository.stage = "branch"
    with pytest.raises(ValidationError):
        Repository(name="a/b", access="read", data_class="public", branch="x")


def sections(section: type[Section] = Boundary) -> Iterator[type[Section]]:
    yield section
    for definition in section.__subclasses__():
        yield from sections(definition)


def test_every_key_has_a_sentence():
    models = set(sections(Section)) - {Section}
    assert len(models) > 20
    for model in models:
        assert model.__doc__
        for key, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{key} has no sentence"
            assert field.description.endswith((".", "…")), f"{model.__name__}.{key}"


def test_the_reference_page_is_in_step_with_the_models():
    assert (ROOT / "docs" / "boundary.md").read_text() == reference(), (
        "run `ringfence boundary schema --markdown > docs/boundary.md`"
    )


def test_the_schema_says_how_values_are_written():
    schema = Boundary.model_json_schema()
    size = schema["$defs"]["SandboxLimits"]["properties"]["memory"]
    assert (size["type"], size["pattern"]) == ("string", "^([0-9]{1,12}) ?(B|KiB|MiB|GiB)$")
    assert schema["$defs"]["Check"]["properties"]["timeout"]["default"] == "10m"
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_steps_lead_to_fields_and_sections():
    assert section_at(("commands", "repositories", "a/b", "checks", 0)).__name__ == "Check"
    assert field_at(("commands", "repositories", "a/b", "checks", 0, "run")).description.startswith("The command")
    assert field_at(("tickets", "types", 3)).description == "Allowed ticket types."
    assert section_at(("nothing", "here")) is None
