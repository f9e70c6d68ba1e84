"""The page of all settings and the file to begin with are made from the class, and are as it is now."""

from pathlib import Path
from typing import Final

import pytest

from infra.settings import Settings
from infra.settings.reference import entries, example, form_of, markdown

ROOT: Final = Path(__file__).parents[3]
FIELDS: Final = list(Settings.model_fields)


@pytest.mark.parametrize(("file", "made"), [("docs/settings.md", markdown), (".env.example", example)])
def test_what_is_made_from_the_class_is_as_the_class_says(file: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / file).read_text() == made(), "make settings"


@pytest.mark.parametrize("field", FIELDS)
def test_every_setting_says_in_whole_sentences_what_it_does_and_what_it_must_be(field: str) -> None:
    told = Settings.model_fields[field].description or ""
    assert told[:1].isupper()
    assert told.endswith(".")
    assert form_of(field)


def test_the_page_names_every_setting_once_with_its_default_and_whether_it_is_secret() -> None:
    listed = {entry.field: entry for section in entries().values() for entry in section}
    assert list(listed) == FIELDS
    assert (listed["database_url"].secret, listed["port"].secret) == (True, False)
    assert (listed["mail_days"].unit, listed["append_timeout"].unit, listed["stream_bytes"].unit) == (
        "days",
        "seconds",
        "bytes",
    )
    assert listed["port"].default == "8000"


def test_the_file_to_begin_with_can_be_read_and_says_nothing_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every line of it could be set as it stands."""
    before = Settings()
    for text in (example(), example().replace("\n#WEIR_", "\nWEIR_").replace("URL=\n", "URL=\n#")):
        (tmp_path / "env").write_text(text)
        monkeypatch.setenv("WEIR_ENV_FILE", str(tmp_path / "env"))
        assert Settings() == before
