"""What stands beside the code of a release agrees with it, and has the form of its kind."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.citation-file-format", ["CITATION.cff"]),
        ("vendor.github-issue-forms", [FORMS / "bug.yml", FORMS / "idea.yml"]),
        ("vendor.github-issue-config", [FORMS / "config.yml"]),
    ],
)
def test_a_file_has_the_form_of_its_kind(schema, files):
    check = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*check, *files], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_newest_release_in_the_changelog_is_this_version_with_its_day():
    version, day = re.search(
        r"^## (\S+), (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    ).groups()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version == PROJECT["version"] == citation["version"]
    assert day == str(citation["date-released"])


def test_the_licence_is_the_same_wherever_it_is_named():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
