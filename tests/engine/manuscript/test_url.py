"""Addresses of manuscripts that are accepted, and others that are refused."""

from __future__ import annotations

import pytest

from builds.engine.manuscript.url import InvalidManuscriptUrl, ManuscriptUrl, Split, commit_link, file_link

ACCEPTED = [
    ("https://github.com/a/b/blob/main/myst.yml", "a/b", "main/myst.yml"),
    ("http://github.com/a/b/blob/main/myst.yml", "a/b", "main/myst.yml"),
    ("https://www.github.com/a/b/blob/main/myst.yml", "a/b", "main/myst.yml"),
    ("https://GitHub.com/a/b/blob/main/myst.yml", "a/b", "main/myst.yml"),
    ("https://github.com:443/a/b/blob/main/myst.yml", "a/b", "main/myst.yml"),
    ("https://github.com/a/b/blob/main/myst.yaml", "a/b", "main/myst.yaml"),
    ("https://github.com/a/b/blob/main/MYST.YML", "a/b", "main/MYST.YML"),
    ("https://github.com/a/b/blob/main/curvenote.yml", "a/b", "main/curvenote.yml"),
    ("https://github.com/a/b/blob/main/paper/deep/er/myst.yml", "a/b", "main/paper/deep/er/myst.yml"),
    ("https://github.com/a/b/blob/feature/x/paper/myst.yml", "a/b", "feature/x/paper/myst.yml"),
    ("https://github.com/a/b/blob/v1.0.2/myst.yml", "a/b", "v1.0.2/myst.yml"),
    ("https://github.com/a/b/blob/release-1.x/myst.yml", "a/b", "release-1.x/myst.yml"),
    ("https://github.com/a/b/blob/0123456789abcdef0123456789abcdef01234567/myst.yml", "a/b", None),
    ("https://github.com/a/b/blob/0123456/myst.yml", "a/b", "0123456/myst.yml"),
    ("https://github.com/a/b/blob/HEAD/myst.yml", "a/b", "HEAD/myst.yml"),
    ("https://github.com/a/b.c/blob/main/myst.yml", "a/b.c", "main/myst.yml"),
    ("https://github.com/a/.github/blob/main/myst.yml", "a/.github", "main/myst.yml"),
    ("https://github.com/a/b.git/blob/main/myst.yml", "a/b.git", "main/myst.yml"),
    ("https://github.com/a-b-c/d_e-f.g/blob/main/myst.yml", "a-b-c/d_e-f.g", "main/myst.yml"),
    ("https://github.com/a/b/blob/main/myst.yml?raw=true", "a/b", "main/myst.yml"),
    ("https://github.com/a/b/blob/main/myst.yml#L10", "a/b", "main/myst.yml"),
    ("https://github.com/a/b/blob/main/my%20paper/myst.yml", "a/b", "main/my paper/myst.yml"),
    ("https://github.com/a/b/blob/main/my paper/myst.yml", "a/b", "main/my paper/myst.yml"),
    ("https://github.com/a/b/blob/feature%2Fx/myst.yml", "a/b", "feature/x/myst.yml"),
    ("https://github.com/a/b/blob/main/d%C3%BCnn/myst.yml", "a/b", "main/dünn/myst.yml"),
    ("https://github.com/a/b/blob/main/dünn/myst.yml", "a/b", "main/dünn/myst.yml"),
    ("https://github.com/a/b/blob/main/100%25/myst.yml", "a/b", "main/100%/myst.yml"),
    ("https://github.com/a/b/blob/fix-%23123/myst.yml", "a/b", "fix-#123/myst.yml"),
    ("https://github.com/a/b/blob/main/blob/blob/myst.yml", "a/b", "main/blob/blob/myst.yml"),
    ("https://github.com/a/b/blob/main/.hidden/.myst.yml", "a/b", "main/.hidden/.myst.yml"),
]


@pytest.mark.parametrize(("text", "slug", "tail"), ACCEPTED)
def test_the_address_of_a_project_file_is_accepted(text: str, slug: str, tail: str | None) -> None:
    url = ManuscriptUrl.parse(text)
    assert url.slug == slug
    assert "/".join(url.tail) == (tail or text.split("/blob/")[1])


REFUSED = [
    ("", "like https://github.com"),
    ("myst.yml", "like https://github.com"),
    ("https://github.com", "like https://github.com"),
    ("https://github.com/a/b", "like https://github.com"),
    ("https://github.com/a/b.git", "like https://github.com"),
    ("https://github.com/a/b/tree/main/paper", "like https://github.com"),
    ("https://github.com/a/b/tree/main/paper/myst.yml", "like https://github.com"),
    ("https://github.com/a/b/blob/myst.yml", "like https://github.com"),
    ("https://github.com/a/b/raw/main/myst.yml", "like https://github.com"),
    ("https://gitlab.com/a/b/blob/main/myst.yml", "like https://github.com"),
    ("https://github.com.evil.example/a/b/blob/main/myst.yml", "like https://github.com"),
    ("https://evil.example/github.com/a/b/blob/main/myst.yml", "like https://github.com"),
    ("https://raw.githubusercontent.com/a/b/main/myst.yml", "like https://github.com"),
    ("git@github.com:a/b.git", "like https://github.com"),
    ("ftp://github.com/a/b/blob/main/myst.yml", "like https://github.com"),
    ("file:///a/b/blob/main/myst.yml", "like https://github.com"),
    ("//github.com/a/b/blob/main/myst.yml", "like https://github.com"),
    ("https://github.com:8080/a/b/blob/main/myst.yml", "like https://github.com"),
    ("https://github.com:x/a/b/blob/main/myst.yml", "not a valid address"),
    ("https://[github.com/a/b/blob/main/myst.yml", "not a valid address"),
    ("https://me@github.com/a/b/blob/main/myst.yml", "user name"),
    ("https://me:pw@github.com/a/b/blob/main/myst.yml", "user name"),
    ("https://github.com/a/b/blob/main/README.md", ".yml or .yaml"),
    ("https://github.com/a/b/blob/main/myst.yml.txt", ".yml or .yaml"),
    ("https://github.com/a/b/blob/main/paper", ".yml or .yaml"),
    ("https://github.com/a/b/blob/main/paper/", "empty segments"),
    ("https://github.com/a/b/blob/main//myst.yml", "empty segments"),
    ("https://github.com/a/b/blob/main/../myst.yml", "'..'"),
    ("https://github.com/a/b/blob/main/%2e%2e/myst.yml", "'..'"),
    ("https://github.com/a/b/blob/main/..%2f..%2fmyst.yml", "'..'"),
    ("https://github.com/a/b/blob/main/a\\b/myst.yml", "backslashes"),
    ("https://github.com/a/b/blob/main/%00/myst.yml", "control characters"),
    ("https://github.com/a/b/blob/main/%0d%0aX: y/myst.yml", "control characters"),
    ("https://github.com/a/b/blob/main/my\nst.yml", "control characters"),
    (" https://github.com/a/b/blob/main/myst.yml", "begins or ends with a space"),
    ("https://github.com/a b/c/blob/main/myst.yml", "owner"),
    ("https://github.com/-a/c/blob/main/myst.yml", "owner"),
    ("https://github.com//b/blob/main/myst.yml", "owner"),
    ("https://github.com/a/../blob/main/myst.yml", "repository"),
    ("https://github.com/a/b%20c/blob/main/myst.yml", "repository"),
    ("https://github.com/a/b/blob/main/" + "x" * 2000 + ".yml", "longer than 2000"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_any_other_address_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(InvalidManuscriptUrl) as refused:
        ManuscriptUrl.parse(text)
    assert words in str(refused.value)


def test_the_tail_is_split_in_every_way_longest_ref_first() -> None:
    url = ManuscriptUrl.parse("https://github.com/a/b/blob/feature/x/paper/myst.yml")
    assert list(url.splits()) == [
        Split("feature/x/paper", "myst.yml"),
        Split("feature/x", "paper/myst.yml"),
        Split("feature", "x/paper/myst.yml"),
    ]


def test_links_lead_to_github() -> None:
    assert commit_link("a/b", "0" * 40) == "https://github.com/a/b/commit/" + "0" * 40
    assert commit_link("a/b", "") == ""
    assert file_link("a/b", "c", "my paper/index.md", 7) == "https://github.com/a/b/blob/c/my%20paper/index.md#L7"
